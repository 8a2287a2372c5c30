"""Putting a whole checkpoint together out of converted and published parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from transformers import AutoFeatureExtractor, AutoModel

from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.conversion.motion import convert_motion_adapter
from svp_diffusers.conversion.state_dicts import read_weights
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

DEFAULT_VAE = "stabilityai/sd-vae-ft-mse"
DEFAULT_AUDIO_ENCODER = "facebook/wav2vec2-base-960h"


def assemble_from_stable_diffusion(
    stable_diffusion: str,
    motion_adapter: str | None = None,
    audio_encoder: str = DEFAULT_AUDIO_ENCODER,
) -> SVPTalkingHeadPipeline:
    """Start a model to be trained from Stable Diffusion 1.5 and, if given, AnimateDiff.

    Args:
        stable_diffusion: folder or Hub id of the pipeline; its `unet` and `vae` are read.
        motion_adapter: folder or Hub id of a diffusers motion adapter, or an original `.ckpt`.
        audio_encoder: folder or Hub id of a wav2vec 2.0-like encoder.

    Raises:
        CheckpointError: if a part is missing, damaged or does not fit.
    """
    unet2d = load_part(UNet2DConditionModel, stable_diffusion, subfolder="unet")
    adapter = None if motion_adapter is None else _load_motion_adapter(motion_adapter)
    try:
        unet = TemporalUNet.from_unet2d(unet2d, adapter)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{motion_adapter} does not fit {stable_diffusion}: {error}"
        ) from error
    speech = load_part(AutoModel, audio_encoder)
    return SVPTalkingHeadPipeline(
        vae=load_part(AutoencoderKL, stable_diffusion, subfolder="vae"),
        reference_unet=ReferenceUNet.from_unet2d(unet2d),
        unet=unet,
        head_guider=HeadKeypointGuider(unet.config.block_out_channels[0]),
        audio_encoder=speech,
        feature_extractor=load_part(AutoFeatureExtractor, audio_encoder),
        audio_projector=AudioProjector(
            embed_dim=speech.config.hidden_size, output_dim=unet.config.cross_attention_dim
        ),
        style_encoder=StyleEncoder(
            audio_dim=speech.config.hidden_size, style_dim=unet.config.style_dim
        ),
        scheduler=default_scheduler(),
    )


def _load_motion_adapter(source: str) -> MotionAdapter:
    if Path(source).is_file():
        weights = read_weights(source)
        return convert_motion_adapter(weights, source)
    return load_part(MotionAdapter, source)


def load_part(kind: Any, source: str, subfolder: str = "") -> Any:
    """Load a diffusers or transformers model from a folder or the Hub.

    Raises:
        CheckpointError: if it is not there or damaged.
    """
    load: Callable[..., Any] = kind.from_pretrained
    try:
        return load(source, subfolder=subfolder)
    except Exception as error:
        raise CheckpointError(
            f"{kind.__name__} cannot be loaded from {source} {subfolder}: {error}"
        ) from error
