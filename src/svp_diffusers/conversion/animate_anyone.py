"""The published Moore-AnimateAnyone weights to our components.

The portrait reaches the UNet through the self-attention and as one CLIP token through the
cross-attention, poses as pictures; nothing is heard. AniPortrait's two UNets have the same keys and
shapes. The facts are those of MooreThreads/Moore-AnimateAnyone a914ef3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, CLIPVisionModelWithProjection

from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.state_dicts import StateDict, read_weights
from svp_diffusers.conversion.unets import (
    MOTION_NORM_GROUPS,
    load_reference_unet,
    load_temporal_unet,
)
from svp_diffusers.conversion.writing import build_style_encoder, write_checkpoint
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

PUBLISHED = Published(
    "patrolli/AnimateAnyone",
    "main",  # no commit of it with the weights is known
    {
        "denoising_unet": "denoising_unet.pth",
        "motion_module": "motion_module.pth",
        "reference_unet": "reference_unet.pth",
        "pose_guider": "pose_guider.pth",
    },
    "Apache-2.0 (Moore-AnimateAnyone, as its page says), CreativeML OpenRAIL-M's use restrictions "
    "(Stable Diffusion, which it grew out of). VAE, image encoder and audio encoder come from "
    "repositories of their own.",
)
IMAGE_ENCODER = "lambdalabs/sd-image-variations-diffusers"  # its image_encoder
# Of the pipeline; the published inference's.
SETTINGS = {
    "num_inference_steps": 30,
    "guidance_scale": 3.5,
    "context_length": 24,
    "context_overlap": 4,
    "cyclic_windows": True,
}
POSE_PICTURES = "pose"  # the guider's input


@dataclass(frozen=True, kw_only=True)
class UNetFiles:
    """Published files of the two UNets, and what every checkpoint has beside them.

    Attributes:
        denoising_unet: `denoising_unet.pth`.
        motion_module: `motion_module.pth`.
        reference_unet: `reference_unet.pth`.
        vae: folder or Hub id of the VAE.
        audio_encoder: folder or Hub id of wav2vec 2.0.
        unet_config: the configuration of another 2-D UNet than Stable Diffusion 1.5's.
        motion_heads: attention heads of the motion modules.
    """

    denoising_unet: Path
    motion_module: Path
    reference_unet: Path
    vae: str
    audio_encoder: str
    unet_config: Path | None = None
    motion_heads: int = 8


@dataclass(frozen=True, kw_only=True)
class AnimateAnyoneFiles(UNetFiles):
    """The published files of Moore-AnimateAnyone.

    Attributes:
        pose_guider: `pose_guider.pth`.
        image_encoder: folder or Hub id of CLIP's image encoder, or of a pipeline that has it.
    """

    pose_guider: Path
    image_encoder: str


def write_animate_anyone(
    files: AnimateAnyoneFiles, output: Path, card: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write a whole checkpoint; see `write_checkpoint`.

    The audio projector is new and untrained, and its output is zero: speech changes nothing.

    Args:
        files: the published files.
        output: folder of the checkpoint, which appears when it is complete.
        card: the text of its README.md.
        dtype: of the weights.

    Raises:
        CheckpointError: if a file is missing, damaged or does not fit.
        OutputError: if the folder cannot be written.
    """
    config = find_unet_config(files.unet_config)
    token_dim = config["cross_attention_dim"]
    audio_dim = load_part(AutoConfig, files.audio_encoder).hidden_size
    write_checkpoint(
        output,
        {
            "head_guider": lambda: convert_head_guider(
                read_weights(files.pose_guider), str(files.pose_guider), POSE_PICTURES
            ),
            "audio_projector": lambda: build_new(
                lambda: _make_silent_projector(audio_dim, token_dim)
            ),
            "image_encoder": lambda: _load_image_encoder(files.image_encoder, token_dim),
            "audio_encoder": lambda: load_part(AutoModel, files.audio_encoder),
            "feature_extractor": lambda: load_part(AutoFeatureExtractor, files.audio_encoder),
            "style_encoder": lambda: build_style_encoder(audio_dim, "wav2vec2"),
        },
        files.vae,
        load_unets(files),
        card,
        dtype,
        **SETTINGS,
    )


def load_unets(files: UNetFiles) -> dict[str, Callable[[], nn.Module]]:
    """The two UNets, each made by a call, weights as they are stored."""
    config = find_unet_config(files.unet_config)
    return {
        "reference_unet": lambda: convert_reference_unet(
            read_weights(files.reference_unet), config, str(files.reference_unet), None
        ),
        "unet": lambda: convert_temporal_unet(
            read_weights(files.denoising_unet),
            config,
            read_weights(files.motion_module),
            files.motion_heads,
            f"{files.denoising_unet} with {files.motion_module}",
            dtype=None,
        ),
    }


def build_new(build: Callable[[], Any]) -> Any:
    """Build an untrained network, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def _make_silent_projector(audio_dim: int, token_dim: int) -> AudioProjector:
    """One token of zeros, whatever is heard, until it is trained."""
    projector = AudioProjector(audio_dim, token_dim, depth=1, num_queries=1)
    nn.init.zeros_(projector.resampler.norm_out.weight)
    return projector


def _load_image_encoder(source: str, token_dim: int) -> Any:
    own = (Path(source) / "config.json").is_file()
    encoder = load_part(CLIPVisionModelWithProjection, source, "" if own else "image_encoder")
    if encoder.config.projection_dim != token_dim:
        raise CheckpointError(
            f"The image encoder {source} gives {encoder.config.projection_dim} numbers, the UNets "
            f"take {token_dim}: give the one that they were trained with, {IMAGE_ENCODER}."
        )
    return encoder


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_weights: StateDict,
    motion_num_attention_heads: int = 8,
    source: str = "the denoising UNet",
    **options: Any,
) -> TemporalUNet:
    """Convert `denoising_unet.pth` with `motion_module.pth`.

    Args:
        weights: of `denoising_unet.pth`.
        unet_config: of Stable Diffusion 1.5's UNet.
        motion_weights: of `motion_module.pth`.
        motion_num_attention_heads: 8 as published.
        source: for messages.
        options: further ones of `load_temporal_unet`, for instance `style_dim`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_temporal_unet(
        weights,
        unet_config,
        source,
        motion_weights,
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
    """Convert `reference_unet.pth`; its text attention sees the portrait's CLIP token.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(weights, unet_config, source, dtype, feature="self_attention")
