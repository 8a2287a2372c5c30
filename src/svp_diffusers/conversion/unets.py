"""What the converters of UNets grown out of Stable Diffusion 1.5's have in common."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import nn

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.conversion.configs import temporal_unet_config
from svp_diffusers.conversion.motion import (
    check_position_tables,
    diffusers_motion_key,
    is_motion_key,
    position_tables,
)
from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, rename
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import PortraitTransformerBlock, TemporalUNet

_STYLE = ("attn_style.", "norm_style.", "style_projection.")
_OUTPUT_LAYERS = ("conv_norm_out.", "conv_out.")
MOTION_NORM_GROUPS = 32  # of AnimateDiff's motion modules, whatever the other norms have


def load_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    source: str,
    motion_weights: StateDict | None = None,
    new_name: Callable[[str], str] = lambda key: key,
    dtype: torch.dtype | None = torch.float32,
    **options: Any,
) -> TemporalUNet:
    """Build the denoising UNet that fits published weights, and fill it.

    The style attention, which no published net has, starts with a zero output projection, so the
    prediction is the published one whatever the style is.

    Args:
        weights: published weights.
        unet_config: of the 2-D UNet that they grew out of.
        source: what the weights came from, for messages.
        motion_weights: the motion modules; they win over those inside `weights`.
        new_name: translates a key, outside the motion modules, to our naming.
        dtype: of the net; None leaves every weight as it is stored, without a copy.
        options: of `TemporalUNet`, beside what the configuration says.

    Raises:
        CheckpointError: if the keys do not fit, or there are no motion modules.
    """
    spatial = {key: value for key, value in weights.items() if not is_motion_key(key)}
    motion = motion_weights or {key: value for key, value in weights.items() if is_motion_key(key)}
    if not motion:
        raise CheckpointError(f"{source} has no motion modules: give the motion module file too.")
    tables = position_tables(motion)
    config = {
        **temporal_unet_config(unet_config),
        "motion_max_seq_length": tables[0].shape[1] if tables else 32,
        **options,
    }
    with torch.device("meta"):
        model = TemporalUNet.from_config(config)
    renamed = rename(spatial, new_name, source)
    renamed.update(rename(motion, diffusers_motion_key, source))
    load_exactly(
        model,
        renamed,
        source,
        lambda key: key.endswith("pos_embed.pe") or any(part in key for part in _STYLE),
    )
    _make_the_rest(model)
    check_position_tables(tables, model, source)
    return (model if dtype is None else model.to(dtype)).eval()


def _make_the_rest(model: TemporalUNet) -> None:
    """Give numbers to what published weights lack: positions, and new style attentions."""
    generator = torch.Generator().manual_seed(0)
    for path, module in list(model.named_modules()):
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if not any(tensor.is_meta for tensor in own):
            continue
        if isinstance(module, SinusoidalPositionalEmbedding):
            _, length, dim = module.pe.shape
            model.set_submodule(path, SinusoidalPositionalEmbedding(dim, length))
            continue
        module.to_empty(device="cpu", recurse=False)
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        initialise(module, generator)
    for module in model.modules():
        if isinstance(module, PortraitTransformerBlock):
            nn.init.zeros_(module.attn_style.to_out[0].weight)


def load_reference_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    source: str,
    dtype: torch.dtype | None = torch.float32,
    **options: Any,
) -> ReferenceUNet:
    """Build the reference UNet that fits published weights, and fill it.

    Output layers, which nothing reads, are left behind.

    Args:
        weights: published weights.
        unet_config: of the 2-D UNet that they grew out of.
        source: what the weights came from, for messages.
        dtype: of the net; None leaves every weight as it is stored, without a copy.
        options: of `ReferenceUNet`, beside what the configuration says.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    with torch.device("meta"):
        model = ReferenceUNet.from_config({**unet_config, **options})
    kept = rename(weights, lambda key: None if key.startswith(_OUTPUT_LAYERS) else key, source)
    load_exactly(model, kept, source)
    return (model if dtype is None else model.to(dtype)).eval()


def find_weight(weights: StateDict, ending: str, source: str, kind: str) -> torch.Tensor:
    """The first weight whose key ends so; sizes are read off it.

    Raises:
        CheckpointError: if there is none.
    """
    found = next((value for key, value in weights.items() if key.endswith(ending)), None)
    if found is None:
        raise CheckpointError(f"{source} has no {ending}: it is not {kind}.")
    return found
