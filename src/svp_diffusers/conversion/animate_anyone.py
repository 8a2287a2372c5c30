"""The published Moore-AnimateAnyone weights to our components.

The portrait reaches the UNet through the self-attention and as one CLIP token through the
cross-attention, poses as pictures. AniPortrait's two UNets have the same keys and shapes. The facts
are those of MooreThreads/Moore-AnimateAnyone a914ef3.
"""

from collections.abc import Mapping
from typing import Any

import torch

from svp_diffusers.conversion.state_dicts import StateDict
from svp_diffusers.conversion.unets import (
    MOTION_NORM_GROUPS,
    load_reference_unet,
    load_temporal_unet,
)
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet


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
