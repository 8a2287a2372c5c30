"""The motion of the head, as the pipeline sees it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.loading import has_component
from svp_diffusers.errors import CheckpointError, FaceError
from svp_diffusers.generation.portrait import Portrait, check_layout
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.keypoints import (
    fit_motion,
    read_keypoints,
    resample_keypoints,
    retarget,
)
from svp_diffusers.media.video import parse_fps, read_frames
from svp_diffusers.pipelines.head_pictures_svp import DrawnKeypoints, draw_face_rectangle
from svp_diffusers.pipelines.head_svp import POINTS


def prepare_head_motion(
    request: GenerationRequest,
    portrait: Portrait,
    fps: Fraction,
    num_frames: int,
    layout: str,
) -> NDArray[np.float32] | None:
    """Give the head's keypoints by its driver: (num_frames, points, 2) in pixels of the portrait.

    A driver's motion is taken over relative to its first frame, at its own tempo. Without a driver
    there are none: the pipeline moves the head.

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
        return None
    if portrait.keypoints is None:
        raise FaceError(
            "To take over a head's motion the portrait's own keypoints must be known: leave out "
            "--no-detect-face, or give them with --portrait-keypoints."
        )
    return fit_motion(retarget(driver, portrait.keypoints), num_frames)


def check_generated_motion(folder: Path, portrait: Portrait, layout: str) -> None:
    """Check that a checkpoint can generate this head's motion, before its weights are loaded.

    Raises:
        FaceError: if it takes no 8 head keypoints, or the portrait's are not known.
        CheckpointError: if it has no head motion model.
    """
    if layout != "head8":
        raise FaceError(
            f"This checkpoint's guider is shown the {layout}, and heads are moved by 8 keypoints: "
            "leave out --head-motion."
        )
    if portrait.keypoints is None:
        raise FaceError(
            "To move the head its keypoints must be known: leave out --no-detect-face, or give "
            "them with --portrait-keypoints."
        )
    if not has_component(folder, "head_motion"):
        raise CheckpointError(
            f"{folder.name} has no head motion model, which --head-motion generated needs: train "
            "one with `svp train head-motion`, or take over a motion with --head-video."
        )


def choose_head_pictures(
    portrait: Portrait, motion: NDArray[np.float32] | None, layout: str, size: int
) -> DrawnKeypoints | torch.Tensor | None:
    """What the pipeline is shown of the head: a driver's motion, the face's place, or nothing."""
    if motion is not None:
        return DrawnKeypoints(motion, size, size)
    if layout == "face" and portrait.face is not None:
        return draw_face_rectangle(size, size, portrait.face)
    return None
