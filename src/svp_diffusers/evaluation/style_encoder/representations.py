"""Windows of clips as vectors: by the style encoder, and by two baselines that learn nothing.

A style figure says little by itself, since raw coefficients already tell recordings and faces
apart: every figure stands beside the same one of the window's mean alone and of its dynamics alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.data.style_clips import StyleClip
from svp_diffusers.errors import DatasetError
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder

WINDOW_FRAMES = 45
"""1.8 s: two windows fit into the shortest sentences of acted corpora. Our choice."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Representation:
    """What one method makes of `n` windows.

    vectors: (n, dim)
    distances: (n, n) between windows
    widths: (n,) how spread the method says, or lets expect, that the style is
    """

    name: str
    vectors: FloatArray
    distances: FloatArray
    widths: FloatArray


@dataclass(frozen=True)
class Windows:
    """Consecutive windows of equal length of all clips, in the clips' order.

    values: (n, frames, dim) coefficients; clip: (n,) number of the clip that each is from
    """

    clips: Sequence[StyleClip]
    values: NDArray[np.float32]
    clip: NDArray[np.int64]


def cut_windows(clips: Sequence[StyleClip], frames: int = WINDOW_FRAMES) -> Windows:
    """Cut clips into disjoint windows; what remains at a clip's end is left out.

    Raises `DatasetError` for a clip shorter than two windows: nothing could be found again.
    """
    pieces, numbers = [], []
    for number, clip in enumerate(clips):
        count = len(clip.expressions.values) // frames
        if count < 2:
            raise DatasetError(
                f"clip {clip.key} has {len(clip.expressions.values)} frames; its evaluation needs "
                f"two windows of {frames}"
            )
        pieces.append(clip.expressions.values[: count * frames].reshape(count, frames, -1))
        numbers += [number] * count
    return Windows(clips, np.concatenate(pieces), np.array(numbers))


def represent_by_mean(windows: Windows) -> Representation:
    """The mean expression of a window; its width is how much the expression moves."""
    return _represent_by_statistics("mean only", windows.values.mean(axis=1), windows)


def represent_by_dynamics(windows: Windows) -> Representation:
    """Standard deviations over time of the coefficients and of their changes from frame to frame.

    Nothing of a window's mean is left in them, so nothing of the shape of the face at rest.
    """
    vectors = np.concatenate(
        [windows.values.std(axis=1), np.diff(windows.values, axis=1).std(axis=1)], axis=1
    )
    return _represent_by_statistics("dynamics only", vectors, windows)


@torch.no_grad()
def represent_by_encoder(encoder: StyleEncoder, windows: Windows) -> Representation:
    """The mean of a window's style distribution; its width is the mean standard deviation.

    Windows are compared as in training, by the cosine of their means.
    """
    styles = [
        encode_clip_windows(encoder, clip, windows.values[windows.clip == number])
        for number, clip in enumerate(windows.clips)
    ]
    vectors = torch.cat([style.mean for style in styles]).double().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    widths = torch.cat([style.std.mean(-1) for style in styles]).double().numpy()
    return Representation("style encoder", vectors, 1 - unit @ unit.T, widths)


def encode_clip_windows(
    encoder: StyleEncoder, clip: StyleClip, values: NDArray[np.float32]
) -> StyleDistribution:
    """Styles of consecutive windows `(n, frames, dim)` of a clip, with its sound if it has any."""
    count, frames = values.shape[:2]
    audio = mask = None
    if clip.audio is not None:
        heard = np.zeros((count * 2 * frames, clip.audio.shape[1]), np.float32)
        heard[: len(clip.audio)] = clip.audio[: len(heard)]
        audio = torch.from_numpy(heard.reshape(count, 2 * frames, -1))
        mask = torch.arange(count * 2 * frames).reshape(count, -1) < len(clip.audio)
    return encoder(torch.from_numpy(values), audio, audio_mask=mask)


def _represent_by_statistics(
    name: str, vectors: NDArray[np.float32], windows: Windows
) -> Representation:
    """Compare standardised vectors by their Euclidean distance."""
    scaled = vectors.astype(np.float64)
    scaled = (scaled - scaled.mean(axis=0)) / np.maximum(scaled.std(axis=0), 1e-8)
    squared = (scaled**2).sum(axis=1)
    distances = np.maximum(squared[:, None] + squared - 2 * scaled @ scaled.T, 0)
    widths = windows.values.std(axis=1).mean(axis=1).astype(np.float64)
    return Representation(name, scaled, np.sqrt(distances), widths)
