"""Windows of frames: how a video of any length is cut, predicted and blended together again.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Sequence

import torch


def context_windows(num_frames: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a video into overlapping windows (start, stop) that cover every frame.

    All windows have `length` frames: the last is moved back to end with the video. A video shorter
    than that is one window.
    """
    if num_frames <= length:
        return [(0, num_frames)]
    starts = [*range(0, num_frames - length, length - overlap), num_frames - length]
    return [(start, start + length) for start in starts]


def cyclic_windows(
    num_frames: int, length: int, overlap: int, shift: int = 0
) -> list[tuple[int, int]]:
    """Cut a video into windows (start, stop) that run over its end to its beginning.

    Windows start every `length - overlap` frames, while there are frames. (AnimateAnyone's.)

    Args:
        num_frames: of the video; one of at most `length` frames is one window.
        length: of a window.
        overlap: frames that neighbouring windows share.
        shift: frames that all windows are moved on.
    """
    if num_frames <= length:
        starts, length = range(1), num_frames
    else:
        starts = range(0, num_frames, length - overlap)
    moved = [(start + shift) % num_frames for start in starts]
    return [(start, start + length) for start in moved]


def take_frames(tensor: torch.Tensor, start: int, stop: int, dim: int) -> torch.Tensor:
    """The frames of a window, which may run over the end of the video to its beginning."""
    num_frames = tensor.shape[dim]
    taken = tensor.narrow(dim, start, min(stop, num_frames) - start)
    if stop <= num_frames:
        return taken
    return torch.cat([taken, tensor.narrow(dim, 0, stop - num_frames)], dim=dim)


def divide_frames(num_frames: int, length: int) -> list[tuple[int, int]]:
    """Divide a video into windows (start, stop) of at most `length` frames; none overlap."""
    starts = range(0, num_frames, length)
    return [(start, min(start + length, num_frames)) for start in starts]


def window_weights(length: int, overlap: int) -> torch.Tensor:
    """Weights (length,) of a window's frames: a linear ramp over the overlap at either end."""
    position = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(position, length + 1 - position).clamp(max=overlap + 1)


def blend_windows(
    predict: Callable[[int, int], torch.Tensor],
    like: torch.Tensor,
    windows: Sequence[tuple[int, int]],
    overlap: int,
) -> torch.Tensor:
    """Predict window by window, and blend where the windows overlap.

    Args:
        predict: the prediction of a window (start, stop), (channels, stop - start, height, width).
        like: of the whole video, (channels, frames, height, width).
        windows: that cover every frame; they may run over the end to the beginning.
        overlap: frames over which weights rise from the ends of a window; 0 averages windows.

    Returns:
        The prediction, shaped as `like`.
    """
    blended, total = torch.zeros_like(like), like.new_zeros(like.shape[1], 1, 1)
    for start, stop in windows:
        weights = window_weights(stop - start, overlap).to(like)[:, None, None]
        frames = torch.arange(start, stop, device=like.device) % like.shape[1]
        blended[:, frames] += weights * predict(start, stop)
        total[frames] += weights
    return blended / total
