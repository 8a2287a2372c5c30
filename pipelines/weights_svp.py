"""Whether the weights of a checkpoint are all there, and numbers.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

LEFT_OUT = re.compile(r"(^|\.)masked_spec_embed$")  # which only training reads
OLDER_NAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def check_weights(components: Mapping[str, Any], folder: str | os.PathLike[str] | None) -> None:
    """Check the weights of networks that have been loaded.

    Args:
        components: of a pipeline, by name.
        folder: they were loaded from, if it lies here.

    Raises:
        ValueError: naming the network, of which a weight is missing, NaN or infinite.
    """
    for name, network in components.items():
        if not isinstance(network, torch.nn.Module) or hasattr(network, "_hf_hook"):
            continue  # hooks keep weights elsewhere
        for weight, tensor in network.state_dict().items():
            if tensor.is_meta:
                raise ValueError(f"The {name} of this checkpoint lacks the weight {weight}.")
            is_number = tensor.is_floating_point() and tensor.element_size() > 1
            # A sum is much quicker than a look at every number, and not finite if one is not.
            if is_number and not tensor.sum(dtype=torch.float32).isfinite():
                raise ValueError(
                    f"The {name} of this checkpoint is damaged: {weight} holds NaN or infinity."
                )
        if isinstance(network, PreTrainedModel) and folder is not None:
            _check_stored(name, network, Path(folder) / name)


def _check_stored(name: str, network: PreTrainedModel, folder: Path) -> None:
    """Check a network of transformers, which makes up what is missing, against its files."""
    stored: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            stored |= {_rename(key, network.base_model_prefix) for key in file.keys()}  # noqa: SIM118
    if not stored:
        return
    tied = set(getattr(network, "_tied_weights_keys", None) or ())
    missing = [
        weight
        for weight, _ in network.named_parameters()
        if _rename(weight, network.base_model_prefix) not in stored
        and weight not in tied
        and not LEFT_OUT.search(weight)
    ]
    if missing:
        raise ValueError(
            f"The {name} of this checkpoint lacks {len(missing)} weights, the first being "
            f"{missing[0]}."
        )


def _rename(weight: str, prefix: str) -> str:
    start, _, last = weight.removeprefix(f"{prefix}.").rpartition(".")
    return f"{start}.{OLDER_NAMES.get(last, last)}"
