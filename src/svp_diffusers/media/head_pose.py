"""Head poses of a video, from its head keypoints: what `drive_keypoints` moves a portrait by.

See `svp_diffusers.pipelines.head_pose_svp` for what a pose is, and for the way back.
"""

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import FaceError
from svp_diffusers.media.keypoints import check_keypoints
from svp_diffusers.pipelines.head_pose_svp import (
    ANGLE_SPREAD,
    AVERAGE_HEAD,
    NECK,
    POINT_SPREAD,
    Floats,
    find_head,
    fit_poses,
    measure_eye_distance,
)

TRACKING_NOISE = 0.01
"""Standard deviation of a tracked keypoint, in distances of the eyes (our choice)."""


def estimate_poses(keypoints: Floats, width: float) -> NDArray[np.float32]:
    """Poses `(frames, 6)` of a clip's keypoints `(frames, 8, 2)`, pixels.

    The head is found in the frame that faces the viewer most. Shifts are relative to the clip's
    middle, and scale to its usual size.

    Args:
        keypoints: of one head throughout.
        width: of the picture in pixels.

    Raises:
        FaceError: wrong shape, values that are not finite, or both eyes in one point.
    """
    keypoints = check_keypoints(keypoints).astype(np.float64)
    distances = [measure_eye_distance(frame) for frame in keypoints]
    if min(distances) == 0:
        raise FaceError("both eyes of the head keypoints lie in one point")
    size = float(np.median(distances))
    rough = fit_poses(size * (AVERAGE_HEAD - NECK), keypoints, size * POINT_SPREAD, ANGLE_SPREAD)
    head = find_head(keypoints[np.abs(rough[:, :2]).sum(axis=1).argmin()])
    poses = fit_poses(head.points, keypoints, size * TRACKING_NOISE, ANGLE_SPREAD)
    poses[:, 3:5] = (poses[:, 3:5] - np.median(poses[:, 3:5], axis=0)) / width
    poses[:, 5] /= np.median(poses[:, 5])
    return poses.astype(np.float32)
