"""Reading published weight files and accounting for every key of them."""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from svp_diffusers.errors import CheckpointError

StateDict = dict[str, torch.Tensor]


def read_weights(path: str | Path) -> StateDict:
    """Read a file of weights: safetensors, or a pickled dict of tensors and nothing else.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but tensors.
    """
    weights = _read(Path(path))
    if not _holds_tensors(weights):
        raise CheckpointError(f"{path} does not hold a plain dict of tensors.")
    return dict(weights)


def read_container(path: str | Path, part: str) -> tuple[StateDict, dict[str, Any]]:
    """Read a pickled dict that has the weights, a dict of tensors, in one of its entries.

    Args:
        path: of the file.
        part: the key of that entry.

    Returns:
        The weights, and the other entries.

    Raises:
        CheckpointError: if the file is missing or damaged, or has no weights there.
    """
    entries = _read(Path(path))
    if not isinstance(entries, Mapping) or not _holds_tensors(entries.get(part)):
        found = list(entries)[:3] if isinstance(entries, Mapping) else type(entries).__name__
        raise CheckpointError(f"{path} has no dict of tensors named {part!r}; it holds {found}.")
    return dict(entries[part]), {key: value for key, value in entries.items() if key != part}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"No weight file at {path}: give the path of a published file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Mapped, so that only what is converted is read; files of before PyTorch 1.6 cannot be.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # PyTorch's own words advise to run what the file holds.
        why = "it holds more" if isinstance(error, pickle.UnpicklingError) else str(error)
        raise CheckpointError(
            f"{path} cannot be read as weights ({why}). It must be safetensors, or a PyTorch "
            "file holding only a dict of tensors; download it again if it was cut."
        ) from error


def _holds_tensors(weights: Any) -> bool:
    return (
        isinstance(weights, Mapping)
        and bool(weights)
        and all(isinstance(value, torch.Tensor) for value in weights.values())
    )


def rename(weights: StateDict, new_name: Callable[[str], str | None], source: str) -> StateDict:
    """Rename every key; a name of None drops the key, which must be deliberate.

    Raises:
        CheckpointError: if two keys get the same name.
    """
    renamed: StateDict = {}
    for key, value in weights.items():
        name = new_name(key)
        if name is None:
            continue
        if name in renamed:
            raise CheckpointError(f"{source} has two weights for {name}; one of them is {key}.")
        renamed[name] = value
    return renamed


def load_exactly(
    model: torch.nn.Module,
    weights: StateDict,
    source: str,
    may_be_missing: Callable[[str], bool] = lambda key: False,
) -> None:
    """Load weights into a model, with no key left over, none lacking and every shape right.

    Args:
        model: the model to fill in place; one without memory ("meta") takes the very tensors.
        weights: named as in `model`.
        source: what the weights came from, for the message.
        may_be_missing: says of a key of `model` that the source is known not to have it.

    Raises:
        CheckpointError: listing every key that is unexpected, missing or of another shape.
    """
    own = model.state_dict()
    problems = [f"unexpected {key}" for key in weights if key not in own]
    problems += [f"missing {key}" for key in own if key not in weights and not may_be_missing(key)]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    if problems:
        listed = "\n  ".join(problems)
        raise CheckpointError(
            f"{source} does not fit {type(model).__name__}; {len(problems)} keys differ:"
            f"\n  {listed}"
        )
    without_memory = any(weight.is_meta for weight in model.parameters())
    # The keys were all accounted for above.
    model.load_state_dict(weights, strict=False, assign=without_memory)
