"""The head of a portrait for SVP: found, and cut out of the picture.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.utils import logging
from diffusers.video_processor import VideoProcessor
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedModel

from .head_pictures_svp import HeadPictures, draw_face_rectangle, draw_keypoints
from .head_pose_svp import HEAD_MOTIONS, HeadMotion, check_poses, find_head
from .images_svp import to_tensor
from .numbers_svp import MOST_SCALE, check_number

# Our choice: the head with hair and a little of the shoulders around a detector's face box.
CROP_MARGIN = 2.0

POINTS = {"head8": 8, "v3": 3}  # keypoints of each `keypoint_layout` that has some
DRAWN = (*POINTS, "face")  # `keypoint_layout`s that can be drawn of a face that was found

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Head:
    """What is known of the head in a portrait.

    pictures: what the head guider is shown of it as it is in the portrait, (1, 3, height, width) in
        [0, 1], or all that a call shows of it; None if nothing is known
    keypoints: (points, 2) in pixels of the video, where they are known
    """

    pictures: HeadPictures | None
    keypoints: NDArray[np.floating] | None = None


class HeadMixin:
    """Finds the heads of portraits, for a pipeline that has the components named here."""

    head_guider: ModelMixin
    audio_encoder: PreTrainedModel | ModelMixin
    face_landmarker: ModelMixin | None
    head_motion: ModelMixin | None
    video_processor: VideoProcessor
    prepare_image: Callable[..., torch.Tensor]
    _execution_device: torch.device

    @property
    def can_find_heads(self) -> bool:
        """Whether there is a landmarker, and it gives what the head guider takes."""
        return self.face_landmarker is not None and self.head_guider.config.keypoint_layout in DRAWN

    @property
    def can_generate_head_motion(self) -> bool:
        """Whether there is a head motion model, and it fits the other components."""
        return (
            self.head_motion is not None
            and self.head_guider.config.keypoint_layout == "head8"
            and isinstance(self.audio_encoder, PreTrainedModel)  # else there are no embeddings
        )

    def check_heads(
        self,
        head_motion: HeadMotion,
        head_motion_scale: float,
        head_keypoints: HeadPictures | None,
        portrait_keypoints: Sequence[NDArray[np.floating]] | None,
        find_face: bool,
        num_frames: Sequence[int],
    ) -> None:
        """Check what a call says of the heads of its portraits, one for each of `num_frames`.

        Raises:
            ValueError: saying which argument is wrong or contradicts another.
        """
        layout = self.head_guider.config.keypoint_layout
        if head_keypoints is not None and (
            head_motion is not None or portrait_keypoints is not None
        ):
            raise ValueError(
                "`head_keypoints` show where the head is in every frame: leave out `head_motion` "
                "and `portrait_keypoints`."
            )
        check_number("head_motion_scale", head_motion_scale, 0, MOST_SCALE)
        if layout == "pose" and head_keypoints is None:
            raise ValueError(
                "This checkpoint is driven by pictures of poses: pass them as `head_keypoints`, "
                "one for each frame, or one for a still pose."
            )
        if portrait_keypoints is not None:
            wanted = (POINTS.get(layout), 2)
            fits = [
                np.shape(each) == wanted and np.isfinite(each).all() for each in portrait_keypoints
            ]
            if len(fits) != len(num_frames) or not all(fits):
                raise ValueError(
                    f"`portrait_keypoints` must be finite and {wanted}, x and y in pixels of the "
                    f"video, one such array for each portrait; this checkpoint's guider is shown "
                    f"the {layout}."
                )
        if isinstance(head_motion, str) and head_motion not in HEAD_MOTIONS:
            raise ValueError(
                f'`head_motion` must be "generated", "still" or poses, got {head_motion!r}.'
            )
        if head_motion is None or (isinstance(head_motion, str) and head_motion == "still"):
            return
        if layout != "head8":
            raise ValueError(
                "Heads are moved by 8 head keypoints, and this checkpoint's guider is shown the "
                f"{layout}: leave out `head_motion`."
            )
        if portrait_keypoints is None and not (find_face and self.can_find_heads):
            raise ValueError(
                "To move a head its place must be known: pass `portrait_keypoints`, or let the "
                "face be found (`find_face`) by a checkpoint with a `face_landmarker`."
            )
        if not isinstance(head_motion, str):
            check_poses(np.asarray(head_motion))
            if {len(head_motion)} != set(num_frames):
                raise ValueError(
                    f"`head_motion` must have a pose for each of the {num_frames} frames, got "
                    f"{len(head_motion)}."
                )
        elif not self.can_generate_head_motion:
            raise ValueError(
                'head_motion="generated" needs a checkpoint with the component `head_motion`, '
                "which this one lacks: train one with `svp train head-motion`, pass poses, or "
                "leave it out."
            )

    def find_heads(
        self,
        portraits: list[Image.Image],
        head_keypoints: HeadPictures | None,
        portrait_keypoints: Sequence[NDArray[np.floating]] | None,
        find_face: bool,
        height: int,
        width: int,
        detail_scale: int = 0,
    ) -> tuple[list[Image.Image], list[Head]]:
        """What a call shows of the heads, or where they are found; what is left of portraits."""
        if head_keypoints is not None:
            return portraits, [Head(head_keypoints)] * len(portraits)
        if portrait_keypoints is not None:
            points = [np.asarray(each) for each in portrait_keypoints]
            return portraits, [
                Head(draw_keypoints(each[None], height, width), each) for each in points
            ]
        if find_face and self.can_find_heads:
            found = [
                self.find_head(portrait, height, width, max(1, detail_scale))
                for portrait in portraits
            ]
            return [portrait for portrait, _ in found], [head for _, head in found]
        return portraits, [Head(self.draw_default_head(height, width))] * len(portraits)

    def choose_head_motion(
        self, head_motion: HeadMotion, head_motion_scale: float, head: Head
    ) -> HeadMotion:
        """How a head moves, "generated" or by poses; None if it is still.

        Where a call does not say, its motion is generated, if that is possible and the head is near
        the front.
        """
        is_still = isinstance(head_motion, str) and head_motion == "still"
        if is_still or not head_motion_scale or head.keypoints is None:
            return None
        if head_motion is not None:
            return head_motion
        if not self.can_generate_head_motion:
            return None
        if not find_head(head.keypoints).is_near_front:
            logger.warning(
                "The portrait's head is turned away, so it is held still: use a portrait from the "
                'front, or pass head_motion="generated" to move it all the same.'
            )
            return None
        return "generated"

    def find_head(
        self, image: Image.Image, height: int, width: int, scale: int = 1
    ) -> tuple[Image.Image, Head]:
        """Find the largest face of the portrait, and draw what the head guider takes of its head.

        Args:
            image: of `read_portrait`. It is cut to a square around the face, of two face sizes as
                far as it reaches.
            height: of the video.
            width: of the video.
            scale: how many times as large the portrait that is left is to be.

        Returns:
            The portrait that is left, and its head, the picture of which is that of its keypoints,
            or of its face's place, in pixels of the video.

        Raises:
            ValueError: if no face is found.
        """
        box, points = self._locate_head(to_tensor(image))
        side = max(height, width)
        crop = crop_around_face(image, box, scale * side)
        image, points = crop.image, crop.map_points(points) / scale
        points -= np.array([side - width, side - height]) / 2  # `prepare_image` cuts it so
        if self.head_guider.config.keypoint_layout == "face":
            place = (points / (width, height)).ravel().tolist()
            return image, Head(draw_face_rectangle(height, width, place))
        return image, Head(draw_keypoints(points[None], height, width), points)

    def _locate_head(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of the largest face of pixels (3, height, width): its box (4,), and its head keypoints
        (points, 2), or the corners of its box (2, 2) where the head guider takes its place."""
        assert self.face_landmarker is not None
        images = (2 * pixels.float() - 1)[None].to(self._execution_device)
        with torch.autocast(images.device.type, enabled=False):  # half precision moves points
            faces, _ = self.face_landmarker.find_landmarks(images)
        if not len(faces):
            raise ValueError(
                "No face was found in the portrait. Use a picture with a face seen from the front, "
                "pass `head_keypoints`, or take the picture as it is with `find_face=False`."
            )
        box = faces.boxes()[0].float().cpu().numpy()
        layout = self.head_guider.config.keypoint_layout
        if layout == "face":
            return box, box.reshape(2, 2)
        return box, faces.head_keypoints(layout)[0].float().cpu().numpy()

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
