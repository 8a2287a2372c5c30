"""The published EchoMimic weights to our components.

EchoMimic v1 (BadToBest/EchoMimic, Apache-2.0) attends to Whisper features, sees the
portrait in its self-attention, and the face's place as a rectangle. The facts are those of
antgroup/echomimic a53e970.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperFeatureExtractor

from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.state_dicts import StateDict, read_weights
from svp_diffusers.conversion.unets import (
    MOTION_NORM_GROUPS,
    find_weight,
    load_reference_unet,
    load_temporal_unet,
)
from svp_diffusers.conversion.whisper import convert_whisper
from svp_diffusers.conversion.writing import write_checkpoint
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

PUBLISHED = Published(
    "BadToBest/EchoMimic",
    "2f73bcaf22a24f3103524fc3e5f148f69536d584",
    {
        "denoising_unet": "denoising_unet.pth",
        "motion_module": "motion_module.pth",
        "reference_unet": "reference_unet.pth",
        "face_locator": "face_locator.pth",
        "whisper": "audio_processor/whisper_tiny.pt",
        "vae_config": "sd-vae-ft-mse/config.json",
        "vae": "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
    },
    "Apache-2.0 (EchoMimic; its README adds academic research), CreativeML OpenRAIL-M's use "
    "restrictions (Stable Diffusion, which it grew out of), MIT (Whisper and the VAE).",
)
PUBLISHED_ACCELERATED = replace(
    PUBLISHED,
    revision="main",  # the commit above does not have them yet
    files={
        **PUBLISHED.files,
        "denoising_unet": "denoising_unet_acc.pth",
        "motion_module": "motion_module_acc.pth",
    },
)
# Of the pipeline; the published inference's.
SETTINGS = {
    "fps": 24.0,
    "num_inference_steps": 30,
    "guidance_scale": 2.5,
    "context_length": 12,
    "context_overlap": 3,
    "cyclic_windows": True,
    "window_shift": 2,
    "noise_limit": 1.5,
}
SETTINGS_ACCELERATED = {**SETTINGS, "num_inference_steps": 6, "guidance_scale": 1.0}
FACE_RECTANGLE = "face"  # the guider's input
AUDIO_FACTOR = 3.0  # on what the audio attention adds: a constant of their code


@dataclass(frozen=True)
class EchoMimicFiles:
    """The published files of EchoMimic.

    Attributes:
        denoising_unet: `denoising_unet.pth`, or `denoising_unet_acc.pth`.
        motion_module: `motion_module.pth`, or `motion_module_acc.pth`.
        reference_unet: `reference_unet.pth`.
        face_locator: `face_locator.pth`.
        whisper: `whisper_tiny.pt`.
        vae: folder or Hub id of the VAE.
        unet_config: the configuration of another 2-D UNet than Stable Diffusion 1.5's.
        motion_heads: attention heads of the motion modules.
    """

    denoising_unet: Path
    motion_module: Path
    reference_unet: Path
    face_locator: Path
    whisper: Path
    vae: str
    unet_config: Path | None = None
    motion_heads: int = 8


def write_echomimic(
    files: EchoMimicFiles,
    output: Path,
    card: str,
    accelerated: bool = False,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a whole checkpoint; see `write_checkpoint`.

    Args:
        files: the published files.
        output: folder of the checkpoint, which appears when it is complete.
        card: the text of its README.md.
        accelerated: whether the files are those of the accelerated model, which needs 6 steps and
            no guidance.
        dtype: of the weights.

    Raises:
        CheckpointError: if a file is missing, damaged or does not fit.
        OutputError: if the folder cannot be written.
    """
    config = find_unet_config(files.unet_config)
    write_checkpoint(
        output,
        {
            "head_guider": lambda: convert_head_guider(
                read_weights(files.face_locator), str(files.face_locator), FACE_RECTANGLE
            ),
            "audio_encoder": lambda: convert_whisper(files.whisper),
            "feature_extractor": WhisperFeatureExtractor,
            "audio_projector": lambda: StateTokens(
                num_states=1 + convert_whisper(files.whisper).config.encoder_layers
            ),
        },
        files.vae,
        {
            "reference_unet": lambda: convert_reference_unet(
                read_weights(files.reference_unet), config, str(files.reference_unet), None
            ),
            "unet": lambda: convert_temporal_unet(
                read_weights(files.denoising_unet),
                config,
                read_weights(files.motion_module),
                files.motion_heads,
                f"{files.denoising_unet} with {files.motion_module}",
                dtype=None,  # as it is stored, not copied
            ),
        },
        card,
        dtype,
        **(SETTINGS_ACCELERATED if accelerated else SETTINGS),
    )


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
        options: further ones of `load_temporal_unet`, for instance `style_dim`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    audio = find_weight(weights, "attn2.to_k.weight", source, "EchoMimic's denoising UNet")
    amplified = {
        key: value.float() * AUDIO_FACTOR if ".attn2.to_out.0." in key else value
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
    weights: StateDict,
    unet_config: Mapping[str, Any],
    source: str = "the reference net",
    dtype: torch.dtype | None = torch.float32,
) -> ReferenceUNet:
    """Convert `reference_unet.pth`, which has no text attention.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(
        weights, unet_config, source, dtype, feature="self_attention", text_attention=False
    )
