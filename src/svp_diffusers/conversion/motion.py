"""Motion modules in the original AnimateDiff naming, alone or inside a UNet's weights."""

import re

import torch
from diffusers import MotionAdapter

from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, rename
from svp_diffusers.errors import CheckpointError

_POSITIONS = re.compile(r"\.attention_blocks\.\d+\.pos_encoder\.pe$")


def is_motion_key(key: str) -> bool:
    """Tell whether a key, in either naming, belongs to a motion module."""
    return "motion_modules." in key


def diffusers_motion_key(key: str) -> str | None:
    """Translate an original key to diffusers' naming; None for position tables.

    Source: the naming of the AnimateDiff checkpoints, and of diffusers' `AnimateDiffTransformer3D`.
    """
    key = key.removeprefix("module.")
    if _POSITIONS.search(key):
        return None
    key = key.replace(".temporal_transformer.", ".")
    key = re.sub(r"\.norms\.(\d+)\.", lambda match: f".norm{int(match[1]) + 1}.", key)
    key = re.sub(r"\.attention_blocks\.(\d+)\.", lambda match: f".attn{int(match[1]) + 1}.", key)
    return key.replace(".ff_norm.", ".norm3.")


def position_tables(weights: StateDict) -> list[torch.Tensor]:
    """Collect the position tables, each (1, max_seq_length, dim)."""
    return [value for key, value in weights.items() if _POSITIONS.search(key)]


def check_position_tables(tables: list[torch.Tensor], model: torch.nn.Module, source: str) -> None:
    """Check that the tables which conversion drops are the sinusoids that the model computes.

    Raises:
        CheckpointError: if one of them is not.
    """
    own = {
        tuple(buffer.shape): buffer
        for name, buffer in model.named_buffers()
        if name.endswith("pos_embed.pe")
    }
    for table in tables:
        expected = own.get(tuple(table.shape))
        if expected is None or not torch.allclose(table.float(), expected.float(), atol=1e-3):
            raise CheckpointError(
                f"{source} has a position table of shape {tuple(table.shape)} that is not the "
                "sinusoid of AnimateDiff; learned positions cannot be converted."
            )


def convert_motion_adapter(weights: StateDict, source: str) -> MotionAdapter:
    """Convert an original AnimateDiff motion module; sizes are read off the weights.

    Raises:
        CheckpointError: if a key is unexpected, missing or of another shape.
    """
    renamed = rename(weights, diffusers_motion_key, source)
    norms = {
        key: value.shape[0]
        for key, value in renamed.items()
        if re.fullmatch(r"down_blocks\.\d+\.motion_modules\.\d+\.norm\.weight", key)
    }
    blocks = len({key.split(".")[1] for key in norms})
    if not norms or len(norms) % blocks:
        raise CheckpointError(f"{source} is not an AnimateDiff motion module.")
    tables = position_tables(weights)
    adapter = MotionAdapter(
        block_out_channels=tuple(
            norms[f"down_blocks.{block}.motion_modules.0.norm.weight"] for block in range(blocks)
        ),
        motion_layers_per_block=len(norms) // blocks,
        motion_max_seq_length=tables[0].shape[1] if tables else 32,
        use_motion_mid_block=any(key.startswith("mid_block.") for key in renamed),
    )
    load_exactly(adapter, renamed, source, lambda key: key.endswith("pos_embed.pe"))
    check_position_tables(tables, adapter, source)
    return adapter
