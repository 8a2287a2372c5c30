"""Writing a converted checkpoint component by component, so that one at a time is in memory."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.speech.features import LOG_MEL_BANDS

SHARD_SIZE = "2GB"  # safetensors copies a shard when it writes it
WEIGHTS_PATTERN = "diffusion_pytorch_model{suffix}.safetensors"


def write_checkpoint(
    output: Path,
    small: Mapping[str, Callable[[], Any]],
    vae: str,
    large: Mapping[str, Callable[[], Any]],
    card: str,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> None:
    """Make the components one after another, and save each before the next is made.

    The style encoder, where none is among them, is new and untrained, as is the style attention:
    until they are trained, style changes nothing. The scheduler, where none is among them, is the
    published one, DDIM with linear betas.

    Args:
        output: the folder, which appears when it is complete.
        small: components of the pipeline, each made by a call. They come first, so that a wrong
            file is found soon.
        vae: folder or Hub id.
        large: its UNets.
        card: the text of its README.md.
        dtype: of the weights.
        settings: of the pipeline, for instance its guidance scale.

    Raises:
        CheckpointError: if a component cannot be made.
        OutputError: if the folder cannot be written.
    """
    components: dict[str, Callable[[], Any]] = {
        "style_encoder": build_style_encoder,
        "scheduler": lambda: default_scheduler("linear"),
        **small,
        "vae": lambda: load_part(AutoencoderKL, vae),
        **large,
    }
    write_components(output, SVPTalkingHeadPipeline, components, card, dtype, **settings)


def write_components(
    output: Path,
    pipeline: Callable[..., DiffusionPipeline],
    components: Mapping[str, Callable[[], Any]],
    card: str,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> None:
    """Write the checkpoint of any pipeline; see `write_checkpoint`.

    Args:
        output: the folder, which appears when it is complete.
        pipeline: its class.
        components: all of its components, each made by a call, in the order of writing.
        card: the text of its README.md.
        dtype: of the weights.
        settings: of the pipeline.

    Raises:
        CheckpointError: if a component cannot be made.
        OutputError: if the folder cannot be written.
    """
    with atomic_folder(output) as folder:
        outlines = {}
        for name, make in components.items():
            component: Any = make()
            if isinstance(component, nn.Module):
                _save(component, folder / name, dtype)
                component = component.to("meta")  # what is left of it is its configuration
            else:
                component.save_pretrained(folder / name)
            outlines[name] = component
        pipeline(**outlines, **settings).save_config(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")


def build_style_encoder(
    audio_dim: int = LOG_MEL_BANDS, audio_features: str = "log-mel-80"
) -> StyleEncoder:
    """Build an untrained style encoder, of log-mel spectrograms by default; the same every time."""
    encoder = StyleEncoder(audio_dim=audio_dim, audio_features=audio_features)
    initialise(encoder, torch.Generator().manual_seed(0))
    return encoder


def _save(network: Any, folder: Path, dtype: torch.dtype) -> None:
    """Save a network as `save_pretrained` does, a shard converted and written at a time."""
    if isinstance(network, PreTrainedModel):
        network.to(dtype).save_pretrained(folder, max_shard_size=SHARD_SIZE)
        return
    network.save_config(folder)
    weights = network.state_dict()
    plan = split_torch_state_dict_into_shards(
        {name: _outline(weight, dtype) for name, weight in weights.items()},
        filename_pattern=WEIGHTS_PATTERN,
        max_shard_size=SHARD_SIZE,
    )
    for file, names in plan.filename_to_tensors.items():
        shard = {name: _convert(weights[name], dtype).contiguous() for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        path = folder / f"{WEIGHTS_PATTERN.format(suffix='')}.index.json"
        path.write_text(text, encoding="utf-8")


def _convert(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.to(dtype) if weight.is_floating_point() else weight


def _outline(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor that has no more than the size of what is written."""
    return _convert(torch.empty_like(weight, device="meta"), dtype)
