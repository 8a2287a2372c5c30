"""The head of a portrait for SVP: found, cut out of the picture, and its keypoints drawn.

Keypoints are (frames, points, 2), x to the right and y down, in pixels. There are 8 points (the
paper's), or the 3 of V-Express (eye at the left of the picture, eye at its right, nose) for
converted checkpoints. A checkpoint on the Hub carries this file beside its pipeline, which imports
it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.utils import logging
from diffusers.video_processor import VideoProcessor
from numpy.typing import NDArray
from PIL import Image

from .images_svp import draw_face_rectangle, to_tensor

# Our choice: the head with hair and a little of the shoulders around a detector's face box.
CROP_MARGIN = 2.0

DOT_RADIUS = 12 / 512
"""Of our dots, as a share of the picture. With V-Express's 4 / 512, those in a picture of 128 would
be single pixels, which a small guider hardly sees."""
V3_RADIUS = 4
V3_STICK_BRIGHTNESS = 0.6

DRAWN = ("head8", "v3", "face")  # `keypoint_layout`s that can be drawn of a face that was found

logger = logging.get_logger(__name__)


class HeadMixin:
    """Finds the head of a portrait, for a pipeline that has the components named here."""

    head_guider: ModelMixin
    face_landmarker: ModelMixin | None
    video_processor: VideoProcessor
    prepare_image: Callable[..., torch.Tensor]
    _execution_device: torch.device

    @property
    def can_find_heads(self) -> bool:
        """Whether there is a landmarker, and it gives what the head guider takes."""
        return self.face_landmarker is not None and self.head_guider.config.keypoint_layout in DRAWN

    def find_head(
        self, image: Image.Image | torch.Tensor, height: int, width: int
    ) -> tuple[Image.Image | torch.Tensor, np.ndarray | torch.Tensor]:
        """Find the largest face of the portrait, and draw what the head guider takes of its head.

        Args:
            image: of `read_portrait`. A picture is cut to a square around the face, of two face
                sizes as far as it reaches; pixels are taken whole.
            height: of the video.
            width: of the video.

        Returns:
            The portrait that is left, and the picture of its head keypoints, or of its face's
            place, (1, 3, height, width) in [0, 1].

        Raises:
            ValueError: if no face is found.
        """
        if isinstance(image, Image.Image):
            box, points = self._locate_head(to_tensor(image))
            side = max(height, width)
            crop = crop_around_face(image, box, side)
            image, points = crop.image, crop.map_points(points)
            points -= np.array([side - width, side - height]) / 2  # `prepare_image` cuts it so
        else:
            pixels = self.video_processor.denormalize(self.prepare_image(image, height, width))
            _, points = self._locate_head(pixels[0])
        if self.head_guider.config.keypoint_layout == "face":
            return image, draw_face_rectangle(
                height, width, (points / (width, height)).ravel().tolist()
            )
        return image, draw_keypoints(points[None], height, width)

    @torch.no_grad()
    def _locate_head(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of the largest face of pixels (3, height, width): its box (4,), and its head keypoints
        (points, 2), or the corners of its box (2, 2) where the head guider takes its place."""
        assert self.face_landmarker is not None
        images = (2 * pixels.float() - 1)[None].to(self._execution_device)
        found = self.face_landmarker.detect(images)[0]
        if not len(found):
            raise ValueError(
                "No face was found in the portrait. Use a picture with a face seen from the front, "
                "pass `head_keypoints`, or take the picture as it is with `find_face=False`."
            )
        face = self.face_landmarker(images, found.rectangles()[:1])
        face = self.face_landmarker(images, face.rectangles())  # landmarks say better where to look
        box = face.boxes()[0].float().cpu().numpy()
        layout = self.head_guider.config.keypoint_layout
        if layout == "face":
            return box, box.reshape(2, 2)
        return box, face.head_keypoints(layout)[0].float().cpu().numpy()

    def draw_default_head(self, height: int, width: int) -> torch.Tensor | None:
        """The head's picture where none is given: the face's place, if the guider takes that.

        A portrait is then taken as cropped the way its model was trained: see
        `draw_face_rectangle`. Head keypoints cannot be guessed, of which a warning says.
        """
        if self.head_guider.config.keypoint_layout == "face":
            return draw_face_rectangle(height, width)
        logger.warning(
            "The portrait's head keypoints are not known, and checkpoints are trained with them: "
            "the face may come out blurred. Pass `head_keypoints`, or use a checkpoint with a "
            "`face_landmarker`."
        )
        return None


@dataclass(frozen=True)
class FaceCrop:
    """A square cut around a face and scaled.

    image: (size, size) RGB
    left, top: corner of the cut in the picture, pixels
    scale: pixels of the crop for one pixel of the picture
    """

    image: Image.Image
    left: int
    top: int
    scale: float

    def map_points(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2) of the picture, in pixels of the crop."""
        corner = np.array([self.left, self.top], dtype=np.float32)
        return ((points - corner) * self.scale).astype(np.float32)


def crop_around_face(image: Image.Image, bbox: NDArray[np.floating], size: int) -> FaceCrop:
    """The square of 2 face sizes around a face box, scaled to `size` pixels.

    Where the square would leave the picture it is moved inside, and made smaller if it must, so
    that no pixel is invented.
    """
    left, top, right, bottom = (float(value) for value in bbox)
    side = min(round(CROP_MARGIN * max(right - left, bottom - top)), *image.size)
    x = min(max(0, round((left + right - side) / 2)), image.width - side)
    y = min(max(0, round((top + bottom - side) / 2)), image.height - side)
    cut = image.resize((size, size), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side))
    return FaceCrop(cut, x, y, size / side)


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
        distance = torch.hypot(x - points[:, :1, None], y - points[:, 1:, None])
        cover = (radius + 0.5 - distance).clamp(0, 1)[:, None]
        pictures = pictures + cover * (colour[:, None, None] - pictures)
    return pictures


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
