"""An animated crop put back into the picture that it was cut out of: the rest stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.head_svp import FaceCrop

FEATHER = 0.12
"""Width of the border, as a share of the crop's side, in which the crop fades into the picture."""

Box = NDArray[np.floating]
"""Left, top, right, bottom of a face, (4,), in pixels of the picture."""


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


def trim_to_even(picture: Image.Image) -> Image.Image:
    """The picture without its last column or row where their number is odd: H.264 takes no such."""
    return picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))


def place_crop(
    picture: Image.Image, crop: FaceCrop, face: Box | None = None, others: Sequence[Box] = ()
) -> PastedCrop:
    """Prepare pasting the frames of a crop back into its picture.

    Args:
        picture: RGB; H.264 needs an even width and height.
        crop: of `crop_around_face` on that picture.
        face: the face that the crop was cut around, where there are others.
        others: faces of the picture that the crop must leave alone.

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
    for other in others:
        assert face is not None
        axis, near, far = find_gap(face, other)
        if axis == 0:
            ramp = ramp * fade_between(crop.left + np.arange(side), near, far)
        else:
            rise = rise * fade_between(crop.top + np.arange(side), near, far)
    weights = (rise[:, None] * ramp[None, :])[..., None]
    return PastedCrop(np.asarray(picture.convert("RGB")), crop, weights)


def find_gap(face: Box, other: Box) -> tuple[int, float, float]:
    """Where a face ends and another begins: the axis, 0 across or 1 down, along which they are
    further apart, and the two borders along it. Where they overlap, both are in the middle."""
    gaps = []
    for axis in (0, 1):
        if face[axis] + face[axis + 2] <= other[axis] + other[axis + 2]:
            near, far = face[axis + 2], other[axis]
            gaps.append((float(far - near), axis, float(near), float(far)))
        else:
            near, far = face[axis], other[axis + 2]
            gaps.append((float(near - far), axis, float(near), float(far)))
    gap, axis, near, far = max(gaps)
    if gap > 0:
        return axis, near, far
    middle = (near + far) / 2
    is_before = face[axis] + face[axis + 2] <= other[axis] + other[axis + 2]
    return axis, middle - (1 if is_before else -1), middle + (1 if is_before else -1)


def fade_between(positions: NDArray[np.int_], near: float, far: float) -> NDArray[np.float32]:
    """Weights of pixels between two faces: 1 on the side of the first, whose border is `near`, and
    0 on that of the other, whose border is `far`; the fall is in the middle third of the gap."""
    share = (positions + 0.5 - near) / (far - near)  # 0 at one face, 1 at the other
    fallen = (3 * share - 1).clip(0, 1)
    weights: NDArray[np.float32] = (1 - fallen * fallen * (3 - 2 * fallen)).astype(np.float32)
    return weights


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
