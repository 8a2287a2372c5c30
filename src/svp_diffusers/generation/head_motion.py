"""The motion of the head, as the pipeline sees it."""

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.errors import FaceError
from svp_diffusers.generation.portrait import POINTS, Portrait, check_layout
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.keypoints import (
    fit_motion,
    read_keypoints,
    resample_keypoints,
    retarget,
)
from svp_diffusers.media.video import parse_fps, read_frames
from svp_diffusers.pipelines.head_pictures_svp import draw_face_rectangle, draw_keypoints


def prepare_head_motion(
    request: GenerationRequest,
    portrait: Portrait,
    fps: Fraction,
    num_frames: int,
    layout: str,
) -> NDArray[np.float32] | None:
    """Give the head's keypoints in pixels of the portrait: (num_frames or 1, points, 2), or None.

    A driver's motion is taken over relative to its first frame, at its own tempo. Without a driver
    the head is still where its keypoints are known, and the model's own affair where not.

    Raises:
        FaceError: if the driver has no face, or the portrait's keypoints are not known.
        MediaError: if the driver cannot be read.
    """
    if request.head_video is not None or request.head_keypoints is not None:
        check_layout(layout)
    if request.head_video is not None:
        frames = read_frames(request.head_video, fps)
        driver = follow_face(frames, fps, request.head_video.name).get_keypoints(layout)
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
            "To take over a head's motion the portrait's own keypoints must be known: leave out "
            "--no-detect-face, or give them with --portrait-keypoints."
        )
    return fit_motion(retarget(driver, portrait.keypoints), num_frames)


class KeypointImages:
    """Pictures of head keypoints, drawn when they are looked at, so that a long video is cheap."""

    def __init__(self, keypoints: NDArray[np.float32], size: int) -> None:
        self._keypoints = keypoints
        self._size = size

    def __len__(self) -> int:
        return len(self._keypoints)

    def __getitem__(self, frames: slice) -> NDArray[np.float32]:
        """Draw some frames: (frames, 3, size, size) in [0, 1]."""
        return draw_keypoints(self._keypoints[frames], self._size, self._size)


def choose_head_pictures(
    portrait: Portrait, motion: NDArray[np.float32] | None, layout: str, size: int
) -> KeypointImages | torch.Tensor | None:
    """What the pipeline is shown of the head: its keypoints, the face's place, or nothing."""
    if motion is not None:
        return KeypointImages(motion, size)
    if layout == "face" and portrait.face is not None:
        return draw_face_rectangle(size, size, portrait.face)
    return None
