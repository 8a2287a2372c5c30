"""The noise that a video is denoised from, and the check that what comes of it is numbers.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Sequence

import torch
from diffusers.utils.torch_utils import randn_tensor


def share_noise(own: torch.Tensor, common: torch.Tensor, share: float) -> torch.Tensor:
    """Noise of unit variance, `share` of which comes from `common`; both have unit variance."""
    return (1 - share) ** 0.5 * own + share**0.5 * common


def draw_noise(
    shape: Sequence[int],
    share: float,
    generator: torch.Generator | None,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Draw the noise of a video: unit variance for every frame, of which all may share some.

    Args:
        shape: (channels, frames, height, width).
        share: of the variance, that all frames have in common, from 0 to 1.
        generator: of the draw.
        device: of the result.
        dtype: of the result.
    """
    own = randn_tensor(tuple(shape), generator, device=device, dtype=dtype)
    if not share:
        return own
    common = randn_tensor((shape[0], 1, *shape[2:]), generator, device=device, dtype=dtype)
    return share_noise(own, common, share)


def check_finite(tensor: torch.Tensor, name: str, dtype: torch.dtype) -> None:
    """Check that a result holds numbers, so that no black video comes of it.

    Args:
        tensor: the result.
        name: what it is, for the message.
        dtype: of the network that gave it.

    Raises:
        FloatingPointError: if it holds NaN or infinity.
    """
    if not tensor.isfinite().all():
        advice = "use bfloat16 or float32" if dtype == torch.float16 else "its weights are damaged"
        raise FloatingPointError(f"NaN or infinity in {name}, of a network in {dtype}: {advice}.")
