"""Windows of frames: how a video of any length is cut, predicted and blended together again.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

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


class BlendedWindows:
    """The weighted mean of the predictions of windows, which may overlap.

    Args:
        like: of the whole video, (channels, frames, height, width).
        overlap: frames over which weights rise from the ends of a window; 0 averages windows.
    """

    def __init__(self, like: torch.Tensor, overlap: int) -> None:
        self.overlap = overlap
        self.sum = torch.zeros_like(like)
        self.weights = like.new_zeros(like.shape[1], 1, 1)

    def add(self, start: int, stop: int, prediction: torch.Tensor) -> None:
        """Add a window's prediction (channels, stop - start, height, width).

        The window may run over the end of the video to its beginning.
        """
        weights = window_weights(stop - start, self.overlap).to(self.sum)[:, None, None]
        frames = torch.arange(start, stop, device=self.sum.device) % len(self.weights)
        self.sum[:, frames] += weights * prediction
        self.weights[frames] += weights

    def mean(self) -> torch.Tensor:
        """The blended prediction, shaped as `like`, once every frame is in a window."""
        return self.sum / self.weights
