"""Putting a whole checkpoint together out of converted and published parts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from transformers import AutoFeatureExtractor, AutoModel

from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.conversion.configs import read_unet_config
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.motion import convert_motion_adapter
from svp_diffusers.conversion.state_dicts import read_weights
from svp_diffusers.conversion.v_express import (
    convert_audio_projector,
    convert_reference_unet,
    convert_temporal_unet,
)
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

DEFAULT_VAE = "stabilityai/sd-vae-ft-mse"
DEFAULT_AUDIO_ENCODER = "facebook/wav2vec2-base-960h"


@dataclass(frozen=True)
class VExpressFiles:
    """The published files of V-Express.

    Attributes:
        denoising_unet: `denoising_unet.bin`.
        reference_net: `reference_net.bin`.
        kps_guider: `v_kps_guider.bin`.
        audio_projection: `audio_projection.bin`.
        motion_module: `motion_module.bin`, if the motion modules are not in `denoising_unet`.
        sd_config: the UNet configuration of Stable Diffusion 1.5, or a folder that has it.
        motion_heads: attention heads of the motion modules.
        dim_head: size of an attention head of the audio projection.
    """

    denoising_unet: Path
    reference_net: Path
    kps_guider: Path
    audio_projection: Path
    sd_config: Path
    motion_module: Path | None = None
    motion_heads: int = 8
    dim_head: int = 64


def assemble_v_express(
    files: VExpressFiles, vae: str = DEFAULT_VAE, audio_encoder: str = DEFAULT_AUDIO_ENCODER
) -> SVPTalkingHeadPipeline:
    """Convert V-Express and add what its release leaves to others.

    Raises:
        CheckpointError: if a file is missing, damaged or does not fit.
    """
    config = read_unet_config(files.sd_config)
    motion = None if files.motion_module is None else read_weights(files.motion_module)
    return _assemble(
        reference_unet=convert_reference_unet(
            read_weights(files.reference_net), config, source=str(files.reference_net)
        ),
        unet=convert_temporal_unet(
            read_weights(files.denoising_unet),
            config,
            motion,
            files.motion_heads,
            source=str(files.denoising_unet),
        ),
        head_guider=convert_head_guider(
            read_weights(files.kps_guider), source=str(files.kps_guider)
        ),
        audio_projector=convert_audio_projector(
            read_weights(files.audio_projection), files.dim_head, source=str(files.audio_projection)
        ),
        vae=vae,
        audio_encoder=audio_encoder,
    )


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
    return _assemble(
        reference_unet=ReferenceUNet.from_unet2d(unet2d),
        unet=unet,
        head_guider=HeadKeypointGuider(unet.config.block_out_channels[0]),
        audio_projector=AudioProjector(
            embed_dim=speech.config.hidden_size, output_dim=unet.config.cross_attention_dim
        ),
        vae=stable_diffusion,
        vae_subfolder="vae",
        audio_encoder=audio_encoder,
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


def _assemble(
    *,
    reference_unet: ReferenceUNet,
    unet: TemporalUNet,
    head_guider: HeadKeypointGuider,
    audio_projector: AudioProjector,
    vae: str,
    audio_encoder: str,
    vae_subfolder: str = "",
) -> SVPTalkingHeadPipeline:
    speech = load_part(AutoModel, audio_encoder)
    heard, expected = speech.config.hidden_size, audio_projector.config.embed_dim
    if heard != expected:
        raise CheckpointError(
            f"The audio encoder {audio_encoder} gives {heard} numbers, the audio projector takes "
            f"{expected}: give the encoder that it was trained with."
        )
    return SVPTalkingHeadPipeline(
        vae=load_part(AutoencoderKL, vae, vae_subfolder),
        reference_unet=reference_unet,
        unet=unet,
        head_guider=head_guider,
        audio_encoder=speech,
        feature_extractor=load_part(AutoFeatureExtractor, audio_encoder),
        audio_projector=audio_projector,
        style_encoder=StyleEncoder(audio_dim=heard, style_dim=unet.config.style_dim),
        scheduler=default_scheduler(),
    )
