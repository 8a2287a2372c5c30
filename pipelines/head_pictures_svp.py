"""Pictures of a head for SVP: of its keypoints, or of its face's place; as pixels or drawn later.

Keypoints are (frames, points, 2), x to the right and y down, in pixels. There are 8 points (the
paper's), or the 3 of V-Express (eye at the left of the picture, eye at its right, nose) for
converted checkpoints. A checkpoint on the Hub carries this file beside its pipeline, which imports
it.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .images_svp import to_unit_range

DOT_RADIUS = 12 / 512
"""Of our dots, as a share of the picture. With V-Express's 4 / 512, those in a picture of 128 would
be single pixels, which a small guider hardly sees."""
V3_RADIUS = 4
V3_STICK_BRIGHTNESS = 0.6


class DrawnLater(Protocol):
    """Pictures that are drawn when a slice of them is read, so that a long video is cheap."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: slice) -> np.ndarray:
        """Some of them: (frames, 3, height, width)."""


HeadPictures = torch.Tensor | np.ndarray | Sequence[Image.Image] | DrawnLater
"""Pictures of head keypoints: pixels (frames, 3, height, width), a list, or drawn later."""


class DrawnKeypoints:
    """Pictures of keypoints (frames, points, 2), drawn when they are looked at, so that a long
    video is cheap."""

    def __init__(self, keypoints: NDArray[np.floating], height: int, width: int) -> None:
        self.keypoints, self.height, self.width = keypoints, height, width

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, frames: slice) -> NDArray[np.float32]:
        """Draw some frames: (frames, 3, height, width) in [0, 1]."""
        return draw_keypoints(self.keypoints[frames], self.height, self.width)


def draw_keypoints(keypoints: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """Pictures (frames, 3, height, width) of the eight keypoints, or of V-Express's three.

    Values are in [0, 1]; keypoints outside the picture are not seen.
    """
    points = np.asarray(keypoints, dtype=np.float32)
    if points.shape[1] == 3:
        return draw_v3_dots(points, height, width)
    pictures: NDArray[np.float32] = draw_dots(torch.from_numpy(points), height, width).numpy()
    return pictures


def draw_dots(keypoints: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Eight dots on black in rainbow colours, (frames, 3, height, width), on the points' device.

    Dots are smooth at the rim, so that they move by fractions of a pixel.
    """
    radius = max(1.0, DOT_RADIUS * min(height, width))
    y = torch.arange(height, device=keypoints.device)[:, None]
    x = torch.arange(width, device=keypoints.device)
    pictures = keypoints.new_zeros(len(keypoints), 3, height, width)
    colours = torch.from_numpy(_rainbow(8)).to(keypoints)
    for points, colour in zip(keypoints.unbind(1), colours, strict=True):
        rows, columns = (_reached(points[:, axis], radius + 0.5) for axis in (1, 0))
        distance = torch.hypot(x[columns] - points[:, :1, None], y[rows] - points[:, 1:, None])
        cover = (radius + 0.5 - distance).clamp(0, 1)[:, None]
        place = pictures[:, :, rows, columns]
        place += cover * (colour[:, None, None] - place)
    return pictures


def _reached(places: torch.Tensor, radius: float) -> slice:
    """The rows or columns that dots at `places` (frames,) reach."""
    first, last = float(places.min()) - radius, float(places.max()) + radius
    return slice(max(0, math.floor(first)), max(0, math.ceil(last) + 1))


def draw_v3_dots(keypoints: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """V-Express's drawing of its three points: (frames, 3, height, width) in [0, 1].

    keypoints: (frames, 3, 2) pixels: left eye (red), right eye (green), nose (blue). Each eye is
    joined to the nose by a thin ellipse in 0.6 of the eye's colour; dots of 4 pixels lie on top.
    Sizes do not scale with the picture, as checkpoints were trained (at 512 pixels).
    """
    pictures = np.zeros((len(keypoints), 3, height, width), dtype=np.float32)
    y, x = np.mgrid[:height, :width]
    for picture, points in zip(pictures, keypoints, strict=True):
        for channel, eye in enumerate(points[:2]):
            stick = _inside_stick(x, y, eye, points[2])
            picture[:, stick] = 0
            picture[channel, stick] = V3_STICK_BRIGHTNESS
        for channel, (centre_x, centre_y) in enumerate(np.trunc(points)):
            dot = (x - centre_x) ** 2 + (y - centre_y) ** 2 <= V3_RADIUS**2
            picture[:, dot] = 0
            picture[channel, dot] = 1
    return pictures


def _rainbow(count: int) -> NDArray[np.float32]:
    """Samples (count, 3) of the rainbow map of gnuplot and matplotlib, from violet to red."""
    x = np.linspace(0, 1, count)
    red, green, blue = np.abs(2 * x - 0.5), np.sin(np.pi * x), np.cos(np.pi * x / 2)
    return np.stack([red, green, blue], axis=1).clip(0, 1).astype(np.float32)


def _inside_stick(
    x: NDArray[np.int_],
    y: NDArray[np.int_],
    start: NDArray[np.float32],
    end: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Pixels of the ellipse whose long axis joins two points and whose short half axis is 4.

    Length and angle are whole numbers and the rim counts as inside, as in V-Express.
    """
    along = start - end
    angle = np.deg2rad(np.trunc(np.rad2deg(np.arctan2(along[1], along[0]))))
    centre_x, centre_y = np.trunc((start + end) / 2)
    u = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
    v = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
    half = np.trunc(np.hypot(*along) / 2)
    return np.asarray((u / (half + 0.5)) ** 2 + (v / (V3_RADIUS + 0.5)) ** 2 <= 1)


def stack_head_pictures(
    pictures: torch.Tensor | np.ndarray | Sequence[Image.Image],
) -> torch.Tensor:
    """Bring pictures of head keypoints to a tensor (frames, 3, height, width) in [0, 1].

    Raises:
        ValueError: if they are none, or their range is another.
    """
    if isinstance(pictures, (np.ndarray, torch.Tensor)):
        return to_unit_range("head_keypoints", torch.as_tensor(pictures))
    if not all(isinstance(picture, Image.Image) for picture in pictures):
        raise ValueError("`head_keypoints`, as a list, must hold PIL images.")
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    return to_unit_range("head_keypoints", torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


def draw_face_rectangle(
    height: int, width: int, box: Sequence[float] = (0.25, 0.25, 0.75, 0.75)
) -> torch.Tensor:
    """Draw the face's place: its box and a tenth of it on each side, white on black.

    Args:
        height: of the picture.
        width: of the picture.
        box: of the face: left, top, right, bottom, as shares of the picture. By default that of a
            portrait cropped by EchoMimic's rule, half a box more on each side.

    Returns:
        (1, 3, height, width), 0 or 1.
    """
    left, top, right, bottom = box
    margin_x, margin_y = 0.1 * (right - left), 0.1 * (bottom - top)
    columns = slice(
        round(max(0.0, left - margin_x) * width), round(min(1.0, right + margin_x) * width)
    )
    rows = slice(
        round(max(0.0, top - margin_y) * height), round(min(1.0, bottom + margin_y) * height)
    )
    picture = torch.zeros(1, 3, height, width)
    picture[:, :, rows, columns] = 1
    return picture
