"""The published LatentSync weights to our UNet.

LatentSync 1.5 and 1.6 (ByteDance, openrail++) are one architecture: it repaints the mouth of a
video, attends to Whisper features, and receives the picture of each frame, whole and
masked, as further channels. The facts are those of bytedance/LatentSync a229c39.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from transformers import WhisperFeatureExtractor

from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.state_dicts import StateDict, read_container
from svp_diffusers.conversion.unets import MOTION_NORM_GROUPS, find_weight, load_temporal_unet
from svp_diffusers.conversion.whisper import convert_whisper
from svp_diffusers.conversion.writing import write_components
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline

PUBLISHED = Published(
    "ByteDance/LatentSync-1.6",
    "main",  # no commit of it with the weights is known
    {"unet": "latentsync_unet.pt", "whisper": "whisper/tiny.pt"},
    "OpenRAIL++ (LatentSync, as its page is said to state) with CreativeML OpenRAIL-M's use "
    "restrictions (Stable Diffusion, which it grew out of), MIT (Whisper). The VAE comes from a "
    "repository of its own.",
)
RELEASES = {
    "1.6": PUBLISHED,
    "1.5": replace(PUBLISHED, repository="ByteDance/LatentSync-1.5"),
}
SIDES = {"1.6": 64, "1.5": 32}
"""Of what each release was trained on, in latents: 512 and 256 pixels."""
# Of the pipeline; the published inference's.
SETTINGS = {
    "num_inference_steps": 20,
    "guidance_scale": 1.5,
    "fps": 25.0,
    "context_length": 16,
}


@dataclass(frozen=True, kw_only=True)
class LatentSyncFiles:
    """The published files of LatentSync.

    Attributes:
        unet: `latentsync_unet.pt`.
        whisper: `whisper/tiny.pt`.
        vae: folder or Hub id of the VAE.
        unet_config: the configuration of another 2-D UNet than Stable Diffusion 1.5's.
        motion_heads: attention heads of the motion modules.
    """

    unet: Path
    whisper: Path
    vae: str
    unet_config: Path | None = None
    motion_heads: int = 8


def write_latentsync(
    files: LatentSyncFiles,
    output: Path,
    card: str,
    release: str = "1.6",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a whole checkpoint of `LipSyncPipeline`; see `write_components`.

    Args:
        files: the published files.
        output: folder of the checkpoint, which appears when it is complete.
        card: the text of its README.md.
        release: a name of `RELEASES`, which says the size of the faces, unless a configuration is
            given, which says it itself.
        dtype: of the weights.

    Raises:
        CheckpointError: if a file is missing, damaged or does not fit.
        OutputError: if the folder cannot be written.
    """
    config = dict(find_unet_config(files.unet_config))
    if files.unet_config is None:
        config["sample_size"] = SIDES[release]

    def convert_unet() -> TemporalUNet:
        weights, _ = read_container(files.unet, "state_dict")
        return convert_temporal_unet(
            weights, config, files.motion_heads, str(files.unet), dtype=None
        )

    write_components(
        output,
        LipSyncPipeline,
        {
            "scheduler": build_scheduler,
            "audio_encoder": lambda: convert_whisper(files.whisper),
            "feature_extractor": WhisperFeatureExtractor,
            "audio_projector": lambda: StateTokens(
                num_states=1 + convert_whisper(files.whisper).config.encoder_layers
            ),
            "vae": lambda: load_part(AutoencoderKL, files.vae),
            "unet": convert_unet,
        },
        card,
        dtype,
        **SETTINGS,
    )


def build_scheduler() -> DDIMScheduler:
    """The published scheduler."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )


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
