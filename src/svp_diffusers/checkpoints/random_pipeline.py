"""A pipeline of a few million random weights: the shape of the real one, at a laptop's size."""

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

SIZE = 128  # pixels
_AUDIO_DIM, _TOKEN_DIM, _STYLE_DIM = 32, 32, 16
_CHANNELS = (16, 32)
_HEADS = 2
_GROUPS = 8


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight of a module from a generator, at the scale of its inputs.

    Gains of norms stay one, and biases become zero. Layers that start at zero are drawn too, so
    that every condition has an effect.
    """
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                inputs = weight[0].numel()
                weight.normal_(std=inputs**-0.5, generator=generator)
            elif not name.endswith("weight"):
                weight.zero_()


def build_random_pipeline(seed: int = 0) -> SVPTalkingHeadPipeline:
    """Build the pipeline with tiny random components, the same for the same seed.

    It makes noise, not faces: it serves tests, and the notebook on conversion.

    Args:
        seed: of all weights.
    """
    unet_sizes: dict[str, Any] = {
        "sample_size": SIZE // 8,
        "block_out_channels": _CHANNELS,
        "layers_per_block": 1,
        "norm_num_groups": _GROUPS,
        "cross_attention_dim": _TOKEN_DIM,
    }
    components: dict[str, Any] = {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=_GROUPS,
            sample_size=SIZE,
        ),
        "reference_unet": ReferenceUNet(
            **unet_sizes,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=_HEADS,
        ),
        "unet": TemporalUNet(
            **unet_sizes,
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=_HEADS,
            motion_num_attention_heads=_HEADS,
            style_dim=_STYLE_DIM,
            num_style_tokens=2,
        ),
        "head_guider": HeadKeypointGuider(_CHANNELS[0], block_out_channels=(8, 8, 16, 16)),
        "audio_encoder": Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=_AUDIO_DIM,
                num_hidden_layers=1,
                num_attention_heads=_HEADS,
                intermediate_size=2 * _AUDIO_DIM,
                conv_dim=(16,) * 7,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=4,
            )
        ),
        "audio_projector": AudioProjector(
            embed_dim=_AUDIO_DIM,
            output_dim=_TOKEN_DIM,
            hidden_dim=_TOKEN_DIM,
            depth=1,
            dim_head=16,
            heads=_HEADS,
        ),
        "style_encoder": StyleEncoder.tiny(audio_dim=_AUDIO_DIM, style_dim=_STYLE_DIM),
    }
    generator = torch.Generator().manual_seed(seed)
    for module in components.values():
        initialise(module, generator)
        module.eval()
    return SVPTalkingHeadPipeline(
        **components,
        feature_extractor=Wav2Vec2FeatureExtractor(do_normalize=True),
        scheduler=default_scheduler(),
    )
