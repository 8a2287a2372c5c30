"""The portrait and the motion of its head, as the pipeline sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.faces import (
    FaceDetector,
    InsightFaceDetector,
    crop_around_face,
    face_from_bbox,
    select_face,
    track_head,
)
from svp_diffusers.media.keypoints import (
    draw_keypoints,
    fit_motion,
    read_keypoints,
    resample_keypoints,
    retarget,
)
from svp_diffusers.media.video import parse_fps, read_frames

POINTS = {"head8": 8, "v3": 3}  # keypoints of each layout


@dataclass(frozen=True)
class Portrait:
    """The picture that the pipeline sees, and where the head's keypoints are in it.

    Attributes:
        image: (size, size) RGB.
        keypoints: (points, 2) in pixels of `image`, or None if nobody said where they are.
    """

    image: Image.Image
    keypoints: NDArray[np.float32] | None


def prepare_portrait(
    request: GenerationRequest,
    picture: Image.Image,
    size: int,
    layout: str,
    detector: FaceDetector | None,
) -> Portrait:
    """Cut the portrait out of the picture: around the face if one is known, else its middle.

    Raises:
        FaceError: if there is no face, not that one, or its box or keypoints do not fit.
    """
    given = None
    if request.portrait_keypoints is not None:
        given = read_keypoints(request.portrait_keypoints, POINTS[layout])[0]
        inside = (given >= 0).all() and (given <= picture.size).all()
        if not inside:
            raise FaceError(
                f"{request.portrait_keypoints} has points outside the {picture.width}x"
                f"{picture.height} picture; give pixels of the picture."
            )
    if request.bbox is not None:
        face = face_from_bbox(request.bbox, *picture.size)
    elif request.detect_face or request.face_index is not None:
        found = (detector or InsightFaceDetector()).detect(picture)
        face = select_face(found, request.face_index)
        given = face.get_keypoints(layout) if given is None else given
    else:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        middle = (left, top, left + side, top + side)
        image = picture.resize((size, size), Image.Resampling.LANCZOS, box=middle)
        corner = np.array([left, top], dtype=np.float32)
        return Portrait(image, None if given is None else (given - corner) * size / side)
    crop = crop_around_face(picture, face.bbox, size)
    return Portrait(crop.image, None if given is None else crop.map_points(given))


def prepare_head_motion(
    request: GenerationRequest,
    portrait: Portrait,
    fps: Fraction,
    num_frames: int,
    layout: str,
    detector: FaceDetector | None,
) -> NDArray[np.float32] | None:
    """Give the head's keypoints in pixels of the portrait: (num_frames or 1, points, 2), or None.

    A driver's motion is taken over relative to its first frame, at its own tempo. Without a driver
    the head is still where its keypoints are known, and the model's own affair where not.

    Raises:
        FaceError: if the driver has no face, or the portrait's keypoints are not known.
        MediaError: if the driver cannot be read.
    """
    if request.head_video is not None:
        frames = read_frames(request.head_video, fps)
        driver = track_head(frames, detector or InsightFaceDetector(), layout)
    elif request.head_keypoints is not None:
        driver = resample_keypoints(
            read_keypoints(request.head_keypoints, POINTS[layout]),
            parse_fps(request.head_keypoints_fps),
            fps,
        )
    else:
        return None if portrait.keypoints is None else portrait.keypoints[None]
    if portrait.keypoints is None:
        raise FaceError(
            "To take over a head's motion we must know the portrait's own keypoints: add "
            "--detect-face, or give them with --portrait-keypoints."
        )
    return fit_motion(retarget(driver, portrait.keypoints), num_frames)


class KeypointImages(Sequence[NDArray[np.float32]]):
    """Pictures of head keypoints, drawn when they are looked at, so that a long video is cheap."""

    def __init__(self, keypoints: NDArray[np.float32], size: int) -> None:
        self._keypoints = keypoints
        self._size = size

    def __len__(self) -> int:
        return len(self._keypoints)

    def __getitem__(self, index: Any) -> Any:
        """Draw a slice of frames: (frames, 3, size, size) in [0, 1]; or one frame."""
        if isinstance(index, slice):
            return draw_keypoints(self._keypoints[index], self._size, self._size)
        return draw_keypoints(self._keypoints[index][None], self._size, self._size)[0]
