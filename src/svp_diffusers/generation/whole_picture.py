"""Videos of the whole picture, in which the animated faces are put back."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.generation.portrait import Portrait
from svp_diffusers.media.paste_back import PastedCrop, place_crop


def place_portraits(picture: Image.Image, portraits: Sequence[Portrait]) -> list[PastedCrop]:
    """Prepare putting each portrait back; other faces that were found keep their places."""
    return [
        place_crop(picture, portrait.crop, portrait.box, portrait.others) for portrait in portraits
    ]


def paste_videos(
    pasted: Sequence[PastedCrop], videos: Sequence[Iterator[NDArray[np.uint8]]]
) -> Iterator[NDArray[np.uint8]]:
    """Put the frames of each crop's video back into the picture, which all crops are of.

    Colours are matched on the first frame.

    Yields:
        Frames (height, width, 3), one in memory at a time.
    """
    shifts: list[NDArray[np.float32]] = []
    for frames in zip(*videos, strict=True):
        if not shifts:
            shifts = [each.match_colours(frame) for each, frame in zip(pasted, frames, strict=True)]
        canvas = pasted[0].picture.copy()
        for each, frame, shift in zip(pasted, frames, shifts, strict=True):
            each.paste(canvas, frame, shift)
        yield canvas
