"""Pictures of what was measured, to be looked at: figures alone have fooled many."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.evaluation.talking_head.clips import TrueClip

SHEET_CLIPS = 4
SHEET_FRAMES = 6


class Sheet:
    """Truth, VAE reconstruction and generated video of the first clips, in triples of rows.

    At the left is the reference that the video was made from.
    """

    def __init__(self) -> None:
        self._rows: list[NDArray[np.uint8]] = []

    def add(
        self, clip: TrueClip, reconstructed: NDArray[np.uint8], generated: NDArray[np.uint8]
    ) -> None:
        """Add the three rows of a clip; of the clips after the first few nothing is kept."""
        if len(self._rows) >= 3 * SHEET_CLIPS:
            return
        columns = np.linspace(0, len(clip.frames) - 1, SHEET_FRAMES).round().astype(int)
        blank = np.full_like(clip.reference, 255)
        left = (clip.reference, blank, blank)
        for first, frames in zip(left, (clip.frames, reconstructed, generated), strict=True):
            self._rows.append(np.concatenate([first, *frames[columns]], axis=1))

    def draw(self) -> Image.Image:
        """The sheet."""
        return Image.fromarray(np.concatenate(self._rows))


def draw_grid(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> Image.Image:
    """Pictures `(H, W, 3)` in rows and columns."""
    return Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
