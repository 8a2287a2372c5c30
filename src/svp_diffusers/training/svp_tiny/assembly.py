"""The pipeline that svp-tiny is trained from: small networks with helpers that small ones need."""

import torch
from transformers import FeatureExtractionMixin, PreTrainedModel

from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

TOKEN_DIM = 128
CHANNELS = (64, 96, 128)
NUM_INFERENCE_STEPS, GUIDANCE_SCALE, SHARED_NOISE, DETAIL_SCALE = 2, 2.0, 1.0, 2
"""Defaults of a call: few steps are best for a small net, and one noise for all frames keeps the
picture still. Guidance is on audio and style; on the portrait it would distort colours."""


def assemble_svp_tiny(
    vae: SpaceToDepthAutoencoderKL,
    audio_encoder: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    style_encoder: StyleEncoder,
    seed: int,
) -> SVPTalkingHeadPipeline:
    """Put trained encoders and new denoising networks together; all sizes are our choice.

    Attention is left to the two coarser of three resolutions, where most of its use and little of
    its cost is. Beside the paper's attention to portrait, audio and style, the UNet has their
    helpers (`reference_channels`, `adaptive_norm`). The motion modules start without effect.

    Args:
        vae, audio_encoder, feature_extractor, style_encoder: trained.
        seed: of the new weights.
    """
    sizes = {
        "sample_size": vae.config.sample_size // 8,
        "in_channels": vae.config.latent_channels,
        "out_channels": vae.config.latent_channels,
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "norm_num_groups": 16,
        "cross_attention_dim": TOKEN_DIM,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = TemporalUNet(
            **sizes,
            down_block_types=(
                "DownBlockMotion",
                "CrossAttnDownBlockMotion",
                "CrossAttnDownBlockMotion",
            ),
            up_block_types=("CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion", "UpBlockMotion"),
            num_attention_heads=4,
            motion_num_attention_heads=4,
            style_dim=style_encoder.config.style_dim,
            num_style_tokens=2,
            reference_channels=vae.config.latent_channels,
            reference_skip=True,
            adaptive_norm=True,
            motion_modules_enabled=False,  # until they are trained
        )
        reference_unet = ReferenceUNet(
            **sizes,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
        )
        head_guider = HeadKeypointGuider(
            CHANNELS[0], block_out_channels=(8, 16, 32, 64), with_reference=True
        )
        audio_projector = AudioProjector(
            embed_dim=audio_encoder.config.hidden_size,
            output_dim=TOKEN_DIM,
            hidden_dim=TOKEN_DIM,
            depth=2,
            dim_head=32,
            heads=4,
            num_queries=4,
        )
    unet.silence_audio()
    unet.silence_motion()
    return SVPTalkingHeadPipeline(
        vae=vae,
        reference_unet=reference_unet,
        unet=unet,
        head_guider=head_guider,
        audio_encoder=audio_encoder,
        feature_extractor=feature_extractor,
        audio_projector=audio_projector,
        style_encoder=style_encoder,
        scheduler=default_scheduler(),
        face_landmarker=load_face_landmarker(),
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=1.0,
        detail_scale=DETAIL_SCALE,
        audio_guidance_scale=GUIDANCE_SCALE,
        style_guidance_scale=GUIDANCE_SCALE,
        shared_noise=SHARED_NOISE,
    )
