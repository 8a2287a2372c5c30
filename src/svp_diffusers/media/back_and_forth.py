"""A video played forth and back until it is long enough; few of its frames are in memory."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.media.video import read_frames

HELD_FRAMES = 32
"""That are in memory while a video runs backwards (our choice): a piece of it at a time is read
from the beginning, which costs time and no memory."""


def read_back_and_forth(
    path: Path, fps: Fraction, length: int, frames: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames (height, width, 3) in the order of `play_back_and_forth`.

    Args:
        path: of the video.
        fps: at which it is read.
        length: its number of frames at that rate, at least one.
        frames: how many are wanted.
    """
    last, shown = length - 1, 0
    while shown < frames:
        forth = islice(read_frames(path, fps), 0 if not shown else 1, length)
        yield from islice(forth, frames - shown)
        shown += length if not shown else last
        for stop in range(last, 0, -HELD_FRAMES):  # from the frame before the last to the first
            if shown >= frames:
                return
            held = list(islice(read_frames(path, fps), max(0, stop - HELD_FRAMES), stop))
            yield from held[::-1][: frames - shown]
            shown += len(held)
        if not last:  # a single frame
            still = next(read_frames(path, fps))
            while shown < frames:
                yield still
                shown += 1
