"""The motion of the head, as the pipeline sees it."""

import warnings
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import has_component
from svp_diffusers.errors import CheckpointError, FaceError
from svp_diffusers.generation.portrait import Portrait, check_layout
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.head_pose import estimate_poses
from svp_diffusers.media.keypoints import (
    fit_motion,
    read_keypoints,
    resample_keypoints,
    retarget,
)
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.head_pictures_svp import DrawnKeypoints, draw_face_rectangle
from svp_diffusers.pipelines.head_svp import POINTS

MOST_MOTION = 2.0
"""Of the distance of a pose from the first, in standard deviations of the motion that a checkpoint
learned from; beyond it svp-tiny's faces lose 5 dB (our choice)."""


def prepare_head_motion(
    request: GenerationRequest,
    portrait: Portrait,
    fps: Fraction,
    num_frames: int,
    layout: str,
    landmarker: FaceLandmarker | None = None,
) -> NDArray[np.float32] | None:
    """Give the head's keypoints by its driver: (num_frames, points, 2) in pixels of the portrait.

    A driver's motion is taken over relative to its first frame, at its own tempo, and scaled. Of a
    video no more is read than is needed. Without a driver there are no keypoints: the pipeline
    moves the head.

    Args:
        request: what to make.
        portrait: whose head moves.
        fps: of the video to make.
        num_frames: of it.
        layout: of the keypoints that the checkpoint takes.
        landmarker: looks for the driver's face; the package's own networks by default.

    Raises:
        FaceError: if the driver has no face, or the portrait's keypoints are not known.
        MediaError: if the driver cannot be read.
    """
    if request.head_video is None and request.head_keypoints is None:
        return None
    check_layout(layout)
    if portrait.keypoints is None:
        raise FaceError(
            "To take over a head's motion the portrait's own keypoints must be known: leave out "
            "--no-detect-face, or give them with --portrait-keypoints."
        )
    if request.head_video is not None:
        frames = islice(read_frames(request.head_video, fps), num_frames)
        track = follow_face(frames, fps, request.head_video.name, landmarker)
        driver = track.get_keypoints(layout)
    else:
        assert request.head_keypoints is not None
        driver = resample_keypoints(
            read_keypoints(request.head_keypoints, POINTS[layout]),
            parse_fps(request.head_keypoints_fps),
            fps,
        )
    driven = fit_motion(retarget(driver, portrait.keypoints), num_frames)
    scaled = portrait.keypoints + request.head_motion_scale * (driven - portrait.keypoints)
    return scaled.astype(np.float32)


def warn_of_large_motion(folder: Path, motion: NDArray[np.float32], size: int) -> None:
    """Warn of keypoints (frames, 8, 2) that move further than a checkpoint's head motion model has
    seen heads move, since its other parts have seen no more."""
    if motion.shape[1] != 8 or not has_component(folder, "head_motion"):
        return
    usual = np.array(read_config(folder, "head_motion")["motion_std"])
    poses = estimate_poses(motion, size)
    reach = float((np.abs(poses - poses[0]) / usual)[:, :3].max())
    if reach > MOST_MOTION:
        warnings.warn(
            f"the head turns {reach / MOST_MOTION:.1f} times as far as this checkpoint knows heads "
            f"to turn, which smears faces: --head-motion-scale {MOST_MOTION / reach:.2f} keeps it "
            "within",
            stacklevel=2,
        )


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
