"""The published LatentSync weights to our UNet.

LatentSync 1.5 and 1.6 (ByteDance, openrail++) are one architecture: it repaints the mouth of a
video, attends to Whisper features, and receives the picture of each frame, whole and
masked, as further channels. The facts are those of bytedance/LatentSync a229c39.
"""

from collections.abc import Mapping
from typing import Any

from svp_diffusers.conversion.state_dicts import StateDict
from svp_diffusers.conversion.unets import MOTION_NORM_GROUPS, find_weight, load_temporal_unet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_num_attention_heads: int = 8,
    source: str = "latentsync_unet.pt",
    **options: Any,
) -> TemporalUNet:
    """Convert the `state_dict` of `latentsync_unet.pt`.

    Its further channels of `conv_in` are our `reference_latents`: mask, masked picture, picture.

    Args:
        weights: the motion modules are among them.
        unet_config: of Stable Diffusion 1.5's UNet, or theirs.
        motion_num_attention_heads: 8 as published.
        source: for messages.
        options: further ones of `TemporalUNet`, for instance `style_dim`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    kind = "LatentSync's UNet"
    audio = find_weight(weights, "attn2.to_k.weight", source, kind)
    channels = find_weight(weights, "conv_in.weight", source, kind).shape[1]
    latents = find_weight(weights, "conv_out.weight", source, kind).shape[0]
    return load_temporal_unet(
        weights,
        unet_config,
        source,
        in_channels=latents,
        reference_channels=channels - latents,
        cross_attention_dim=audio.shape[1],
        reference_attention="self",
        clip_group_norm=True,
        use_motion_mid_block=any(key.startswith("mid_block.motion_modules.") for key in weights),
        motion_num_attention_heads=motion_num_attention_heads,
        motion_norm_num_groups=MOTION_NORM_GROUPS,
        **options,
    )
