"""An animated crop put back into the picture that it was cut out of: the rest stays as it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.head_svp import FaceCrop

FEATHER = 0.12
"""Width of the border, as a share of the crop's side, in which the crop fades into the picture."""


@dataclass(frozen=True)
class PastedCrop:
    """Where a crop lies in its picture, how it fades into it, and how its colours are matched.

    picture: (height, width, 3) uint8
    crop: the cut; its side in pixels of the picture is `side`
    weights: (side, side, 1) float32 in [0, 1], 1 where the crop replaces the picture; 0 at a border
        inside the picture, and 1 up to a border that the crop shares with it
    """

    picture: NDArray[np.uint8]
    crop: FaceCrop
    weights: NDArray[np.float32]

    @property
    def side(self) -> int:
        """Side of the cut in pixels of the picture."""
        return len(self.weights)

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the crop covers."""
        rows = slice(self.crop.top, self.crop.top + self.side)
        return rows, slice(self.crop.left, self.crop.left + self.side)

    def match_colours(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What to add to the crop's colours, (3,), so that they agree with the picture's on average
        where one fades into the other.

        A decoder reconstructs colours a little off, which would show as a square. Match on one
        frame and use the result for all, so that the brightness does not waver.

        Args:
            frame: (size, size, 3) uint8 of the animated crop.
        """
        rows, columns = self.place
        fading = self.weights * (1 - self.weights)  # largest half-way through the border
        if not fading.any():
            return np.zeros(3, dtype=np.float32)
        difference = self.picture[rows, columns] - self._scale(frame)
        shift: NDArray[np.float32] = (fading * difference).sum(axis=(0, 1)) / fading.sum()
        return shift

    def paste(
        self, canvas: NDArray[np.uint8], frame: NDArray[np.uint8], shift: NDArray[np.float32]
    ) -> None:
        """Blend one frame of the animated crop into `canvas`.

        Args:
            canvas: (height, width, 3) uint8, changed in place, inside the crop only.
            frame: (size, size, 3) uint8, scaled to the cut.
            shift: of `match_colours`.
        """
        rows, columns = self.place
        under = canvas[rows, columns].astype(np.float32)
        blended = under + self.weights * (self._scale(frame) + shift - under)
        canvas[rows, columns] = blended.clip(0, 255).round().astype(np.uint8)

    def _scale(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        scaled = Image.fromarray(frame).resize((self.side, self.side), Image.Resampling.LANCZOS)
        return np.asarray(scaled, dtype=np.float32)


def place_crop(picture: Image.Image, crop: FaceCrop) -> PastedCrop:
    """Prepare pasting the frames of a crop back into its picture.

    Args:
        picture: RGB; H.264 needs an even width and height.
        crop: of `crop_around_face` on that picture.

    Raises:
        ConfigurationError: the picture has an odd width or height.
    """
    if picture.width % 2 or picture.height % 2:
        raise ConfigurationError(
            f"a video of the whole picture needs an even width and height; this one has "
            f"{picture.width}x{picture.height} pixels: cut off a row or a column"
        )
    side = round(crop.image.width / crop.scale)
    ramp = fade_borders(side, crop.left > 0, crop.left + side < picture.width)
    rise = fade_borders(side, crop.top > 0, crop.top + side < picture.height)
    weights = (rise[:, None] * ramp[None, :])[..., None]
    return PastedCrop(np.asarray(picture.convert("RGB")), crop, weights)


def fade_borders(side: int, first: bool, last: bool) -> NDArray[np.float32]:
    """Weights (side,) that rise smoothly from 0 at the first border and fall to 0 at the last.

    A border that does not fade has weight 1 up to its end.
    """
    width = max(2, round(FEATHER * side))
    rise = np.arange(width, dtype=np.float32) / width
    smooth = rise * rise * (3 - 2 * rise)
    weights = np.ones(side, dtype=np.float32)
    if first:
        weights[:width] = smooth
    if last:
        weights[-width:] = np.minimum(weights[-width:], smooth[::-1])
    return weights
