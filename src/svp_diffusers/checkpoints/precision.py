"""The number formats that a checkpoint's networks are held and computed in."""

from collections.abc import Callable, Mapping

import torch

from svp_diffusers.errors import ConfigurationError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Of weights, and of what is computed with them."""

MIXED = "mixed"
"""Weights in float32, with which convolutions and products of matrices are computed in bfloat16,
and all else in float32, as `torch.autocast` does it. On processors that compute in bfloat16 this
is faster than weights in bfloat16, in which normalisation is slow there."""

PRECISIONS = {**DTYPES, MIXED: torch.float32}
"""All that can be asked for, with the format of the weights."""


def check_precision(precision: str | None) -> None:
    """Raise `ConfigurationError` unless a precision is one of `PRECISIONS`, or None."""
    if precision is not None and precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigurationError(f"--dtype must be one of {known}; got {precision!r}.")


def select_precision(precision: str | None, device: torch.device) -> str:
    """The requested precision; without a request "mixed" on processors that compute in bfloat16,
    and float32 elsewhere."""
    if precision is not None:
        return precision
    return MIXED if device.type == "cpu" and _computes_in_bfloat16() else "float32"


def open_precision(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a checkpoint computes: autocast for "mixed", which elsewhere is off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == MIXED)


def _computes_in_bfloat16() -> bool:
    """Whether the processor does, and PyTorch can tell; others imitate it, and take far longer."""
    # Older PyTorch has none.
    find: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    return any(find().get(name) is True for name in ("amx_bf16", "avx512_bf16"))
