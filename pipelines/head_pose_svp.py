"""Head pose for SVP: from a portrait's 8 head keypoints to a head in space, and moved by poses.

A pose is (yaw, pitch, roll, x, y, scale): radians, positive turns the face towards the picture's
right, down and clockwise; shifts of the neck to the right and down in picture widths; size relative
to the head at rest. The projection is orthographic. It is the convention of `HeadMotionModel`.

A picture does not tell how far points lie from it, so depths are those of an average head; where
they lie in the picture is the person's own. Everything here is our choice. A checkpoint on the Hub
carries this file beside its pipeline, which imports it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.floating]

HEAD_MOTIONS = ("generated", "still")
"""How a head moves, by name."""

HeadMotion = str | Floats | torch.Tensor | None
"""How a head moves: one of `HEAD_MOTIONS`, or by poses (frames, 6)."""

AVERAGE_HEAD = np.array(
    [
        [-1.09, -0.05, -0.82],  # jaw 0, 1, 15, 16: the edge of the face beside the eyes and below
        [-1.08, 0.24, -0.83],
        [1.08, 0.24, -0.83],
        [1.09, -0.05, -0.82],
        [0.0, -0.03, 0.21],  # bridge of the nose 27, 28
        [0.0, 0.16, 0.32],
        [-0.5, 0.0, 0.0],  # eyes
        [0.5, 0.0, 0.0],
    ]
)
"""Keypoints of a head that faces the viewer, `(8, 3)`: right, down, towards the viewer, in
distances of the eyes from each other, from the middle between them. Right and down are those of the
procedural talkers, on average. Depths lie halfway between theirs (-0.75, -0.70, 0.17, 0.22) and
those of the canonical face of MediaPipe's Face Landmarker (-0.89, -0.96, 0.26, 0.43)."""

NECK = np.array([0.0, 1.05, -1.0])
"""The joint that the head turns about, likewise; that of the procedural talkers."""

POINT_SPREAD = 0.06
"""Standard deviation of a keypoint's place from person to person, likewise."""
ANGLE_SPREAD = 0.2
"""Standard deviation of yaw and pitch in portraits, radians: what is not seen is not assumed."""
FRONT = 0.4
"""The largest yaw and pitch of a portrait that is near the front, radians. Beyond, the depths of an
average head do not tell where its keypoints go, and much of the face is not seen."""
_ITERATIONS = 8


@dataclass(frozen=True)
class PortraitHead:
    """The head of one picture, in space.

    Args:
        points: `(8, 3)`, from the neck, of the head facing the viewer: pixels to the right, down
            and towards the viewer.
        neck: `(2,)`, where the neck is, pixels.
        pose: `(6,)`, how the head is held; its shifts are 0 and its scale 1.
    """

    points: Floats
    neck: Floats
    pose: Floats

    @property
    def is_near_front(self) -> bool:
        """Whether the head is turned so little that it can be moved."""
        return bool(np.abs(self.pose[:2]).max() <= FRONT)

    def project(self, poses: Floats, width: float) -> NDArray[np.float64]:
        """Keypoints `(frames, 8, 2)` in pixels of poses `(frames, 6)`; `width` of the picture."""
        shift = self.neck + width * poses[:, 3:5]
        return shift[:, None] + _turn(self.points, poses)


def find_head(keypoints: Floats) -> PortraitHead:
    """The head that a portrait's keypoints `(8, 2)` belong to.

    Yaw and pitch are those of the average head that fits best, which for a face near the front is
    within about 0.1 of the truth; a pitch cannot be distinguished from high or low ears.

    Raises:
        ValueError: wrong shape, values that are not finite, or both eyes in one point.
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.shape != (8, 2) or not np.isfinite(keypoints).all():
        raise ValueError(
            f"Head keypoints must be 8 finite points (8, 2), x and y; got {keypoints.shape}."
        )
    size = measure_eye_distance(keypoints)
    if size == 0:
        raise ValueError("Both eyes of the head keypoints lie in one point.")
    fitted = fit_poses(
        size * (AVERAGE_HEAD - NECK), keypoints[None], size * POINT_SPREAD, ANGLE_SPREAD
    )
    pose, neck = fitted[0].copy(), fitted[0, 3:5].copy()
    scale = pose[5]
    pose[3:] = (0, 0, 1)
    depths = scale * size * (AVERAGE_HEAD - NECK)[:, 2]
    return PortraitHead(_unproject(keypoints - neck, depths, pose), neck, pose)


def drive_keypoints(
    keypoints: Floats, poses: Floats, width: float, scale: float = 1.0
) -> NDArray[np.float32]:
    """Move a portrait's keypoints as poses say, from the portrait's own on.

    Args:
        keypoints: `(8, 2)` of the portrait, pixels.
        poses: `(frames, 6)`; only their difference from the first counts.
        width: of the picture in pixels.
        scale: factor of the motion; 0 leaves the head still.

    Returns:
        `(frames, 8, 2)` pixels; the first frame is `keypoints`.

    Raises:
        ValueError: as `find_head` and `check_poses`.
    """
    check_poses(poses)
    head = find_head(keypoints)
    poses = poses.astype(np.float64)
    moved = head.pose + scale * (poses - poses[0])
    moved[:, 5] = (poses[:, 5] / poses[0, 5]) ** scale
    projected = head.project(moved, width)
    return (keypoints + projected - projected[0]).astype(np.float32)


def check_poses(poses: Floats) -> None:
    """Check that head poses are `(frames, 6)`, finite, and of a size above 0.

    Raises:
        ValueError: if not.
    """
    if poses.ndim != 2 or poses.shape[1] != 6 or not len(poses):
        raise ValueError(f"Head poses must be (frames, 6), got {poses.shape}.")
    if not np.isfinite(poses).all() or not (poses[:, 5] > 0).all():
        raise ValueError("Head poses must be finite, and their scale, the last number, above 0.")


def measure_eye_distance(keypoints: Floats) -> float:
    """Of the keypoints `(8, 2)` of one picture."""
    return float(np.hypot(*(keypoints[7] - keypoints[6])))


def _turn(points: Floats, poses: Floats) -> NDArray[np.float64]:
    """Points `(8, 3)` turned, tilted and scaled as poses `(frames, 6)` say: `(frames, 8, 2)`."""
    yaw, pitch, roll, scale = (poses[:, i, None] for i in (0, 1, 2, 5))
    x, y, z = points.T
    across = np.cos(yaw) * x + np.sin(yaw) * z
    down = np.cos(pitch) * y + np.sin(pitch) * (np.cos(yaw) * z - np.sin(yaw) * x)
    tilted = np.stack(
        [np.cos(roll) * across - np.sin(roll) * down, np.sin(roll) * across + np.cos(roll) * down],
        axis=-1,
    )
    return scale[..., None] * tilted


def _unproject(seen: Floats, depths: Floats, pose: Floats) -> NDArray[np.float64]:
    """Points `(8, 3)` with these depths `(8,)` that are seen at `(8, 2)` in a pose of scale 1."""
    yaw, pitch, roll = pose[:3]
    across = np.cos(roll) * seen[:, 0] + np.sin(roll) * seen[:, 1]
    down = np.cos(roll) * seen[:, 1] - np.sin(roll) * seen[:, 0]
    x = (across - np.sin(yaw) * depths) / np.cos(yaw)
    y = (down - np.sin(pitch) * (np.cos(yaw) * depths - np.sin(yaw) * x)) / np.cos(pitch)
    return np.stack([x, y, depths], axis=1)


def fit_poses(
    points: Floats, keypoints: Floats, noise: float, angle_spread: float
) -> NDArray[np.float64]:
    """The most probable (yaw, pitch, roll, neck x, neck y, scale) of each frame, `(frames, 6)`.

    Gauss-Newton steps on points `(8, 3)` seen at `(frames, 8, 2)` pixels with this noise, yaw and
    pitch being around 0.
    """
    eyes = keypoints[:, 7] - keypoints[:, 6]
    pose = np.zeros((len(keypoints), 6))
    pose[:, 2] = np.arctan2(eyes[:, 1], eyes[:, 0])
    pose[:, 5] = np.hypot(*eyes.T) / (points[7, 0] - points[6, 0])
    pose[:, 3:5] = (keypoints - _turn(points, pose)).mean(axis=1)

    def misfit(pose: Floats) -> NDArray[np.float64]:
        """In standard deviations, (frames, 18)."""
        seen = pose[:, None, 3:5] + _turn(points, pose)
        off = (seen - keypoints).reshape(len(pose), -1) / noise
        return np.concatenate([off, pose[:, :2] / angle_spread], axis=1)

    step = np.array([1e-5, 1e-5, 1e-5, 1e-3, 1e-3, 1e-5])
    for _ in range(_ITERATIONS):
        now = misfit(pose)
        slopes = np.stack([(misfit(pose + d) - now) / d.sum() for d in np.diag(step)], axis=-1)
        transposed = slopes.transpose(0, 2, 1)
        pose = pose - np.linalg.solve(transposed @ slopes, transposed @ now[..., None])[..., 0]
    return pose
