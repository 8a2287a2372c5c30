"""The published EchoMimic weights to our components.

EchoMimic v1 (BadToBest/EchoMimic, Apache-2.0) hears Whisper through the cross-attention, sees the
portrait in its self-attention, and the face's place as a rectangle. The facts are those of
antgroup/echomimic a53e970.
"""

from collections.abc import Mapping
from typing import Any

from svp_diffusers.conversion.state_dicts import StateDict
from svp_diffusers.conversion.unets import (
    MOTION_NORM_GROUPS,
    find_weight,
    load_reference_unet,
    load_temporal_unet,
)
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

AUDIO_FACTOR = 3.0  # on what the audio attention adds: a constant of their code


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_weights: StateDict,
    motion_num_attention_heads: int = 8,
    source: str = "the denoising UNet",
    **options: Any,
) -> TemporalUNet:
    """Convert `denoising_unet.pth` with `motion_module.pth`.

    Their factor on the audio attention goes into the weights of its output, so that an audio
    attention scale of 1 is theirs.

    Args:
        weights: of `denoising_unet.pth`.
        unet_config: of Stable Diffusion 1.5's UNet; the width of the audio is read off the weights.
        motion_weights: of `motion_module.pth`.
        motion_num_attention_heads: 8 as published.
        source: for messages.
        options: further ones of `TemporalUNet`, for instance `style_dim`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    audio = find_weight(weights, "attn2.to_k.weight", source, "EchoMimic's denoising UNet")
    amplified = {
        key: value * AUDIO_FACTOR if ".attn2.to_out.0." in key else value
        for key, value in weights.items()
    }
    return load_temporal_unet(
        amplified,
        unet_config,
        source,
        motion_weights,
        cross_attention_dim=audio.shape[1],
        reference_attention="self",
        motion_num_attention_heads=motion_num_attention_heads,
        motion_norm_num_groups=MOTION_NORM_GROUPS,
        **options,
    )


def convert_reference_unet(
    weights: StateDict, unet_config: Mapping[str, Any], source: str = "the reference net"
) -> ReferenceUNet:
    """Convert `reference_unet.pth`, which has no text attention.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(
        weights, unet_config, source, feature="self_attention", text_attention=False
    )
