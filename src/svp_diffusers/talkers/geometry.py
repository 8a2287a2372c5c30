"""Where things are: head pose, the projection of head coordinates, and the 8 head keypoints.

Head coordinates have their origin between the eyes, in canvas units: x to the image's right (the
subject's left), y down, z towards the viewer. A face point is placed by its front view `(x, y)`;
its depth follows from an ellipsoid, so that turning the head moves near and far parts differently
(parallax). The projection is orthographic: at a portrait's distance perspective is negligible.
"""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.identity import Identity
from svp_diffusers.talkers.svg import VIEW

HEAD_CENTRE = (50.0, 45.0)
"""Canvas position of the point between the eyes of a head at rest."""

JAW_EDGE = ((1.0, -1.0, 2.0), (0.985, 5.0, 3.0))
"""Points 0 and 1 (mirrored: 16 and 15) of the 68 on the edge of the face: x over the face's half
width, y, and depth before the plane of the ears."""

_DEPTH = 19.0
"""Half depth of the head, from the plane of the ears to the face."""

_PIVOT = np.array([0.0, 22.0, -4.0])
"""The joint that the head turns about: the top of the neck."""


@dataclass(frozen=True)
class HeadPose:
    """Pose of the head.

    Args:
        yaw: radians, positive turns the face to the image's right.
        pitch: radians, positive looks down.
        roll: radians, positive tilts clockwise as seen.
        x: shift to the right in picture widths.
        y: shift down in picture heights.
        scale: size, 1 at rest.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0


class HeadProjection:
    """Maps head coordinates to the plane of the picture for one person in one pose.

    Turning and nodding act on points and give the plane of the head, whose origin is still between
    the eyes of a head at rest. Tilt, size and place act on the whole plane: they are `to_canvas`.

    Args:
        identity: whose head it is.
        pose: the head's pose.
    """

    def __init__(self, identity: Identity, pose: HeadPose) -> None:
        self.identity = identity
        self.pose = pose
        yaw, pitch, roll = pose.yaw, pose.pitch, pose.roll
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)]])
        self._rotation = nod @ turn
        tilt = pose.scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        neck = np.array(HEAD_CENTRE) + VIEW[2] * np.array([pose.x, pose.y]) + _PIVOT[:2]
        self.to_canvas = np.column_stack([tilt, neck - tilt @ _PIVOT[:2]])
        """Affine map `(2, 3)` from the plane of the head to the canvas."""

    def place(self, points: np.ndarray) -> np.ndarray:
        """Bring `(n, 2)` points of the plane of the head to the canvas."""
        return points @ self.to_canvas[:, :2].T + self.to_canvas[:, 2]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project `(n, 3)` head coordinates to `(n, 2)` points of the plane of the head."""
        return (points - _PIVOT) @ self._rotation.T + _PIVOT[:2]

    def project_face(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        """Project `(n, 2)` points of the front view, `lift` units before the face's surface."""
        solid = np.empty((len(points), 3))
        solid[:, :2] = points
        solid[:, 2] = self._surface(points) + lift
        return self.project(solid)

    def project_outline(self, points: np.ndarray, depth: float | np.ndarray = 0.0) -> np.ndarray:
        """Project `(n, 2)` points of a silhouette, given in the front view.

        The head is about as deep as it is wide, so its silhouette keeps its size when it turns;
        only `depth`, how far the silhouette lies before the plane of the ears, moves it.
        """
        forward = depth - _PIVOT[2]
        moved = np.empty((len(points), 2))
        moved[:, 0] = points[:, 0] + forward * np.sin(self.pose.yaw)
        moved[:, 1] = points[:, 1] + forward * np.sin(self.pose.pitch)
        return moved

    def _surface(self, points: np.ndarray) -> np.ndarray:
        across, along = ((points - (0.0, 3.0)) / (1.06 * self.identity.face_width, 44.0)).T
        return _DEPTH * np.sqrt(np.maximum(0.05, 1 - across * across - along * along))


def locate_head_keypoints(identity: Identity, pose: HeadPose) -> np.ndarray:
    """The 8 head keypoints, `(8, 2)`, x then y, as fractions of the picture's width and height.

    In 68-point numbering: jaw 0, 1, 15, 16 (image left to right), nose bridge 27, 28, then the eye
    centres, image left first. They follow the head alone: no expression moves them.
    """
    projection = HeadProjection(identity, pose)
    edge = np.array(JAW_EDGE) * (identity.face_width, 1, 1)
    jaw = np.concatenate([edge * (-1, 1, 1), edge[::-1]])
    bridge = np.array([[0.0, -0.5], [0.0, 3.2]])
    eyes = np.array([[-identity.eye_spacing, 0.0], [identity.eye_spacing, 0.0]])
    keypoints = np.concatenate(
        [
            projection.project_outline(jaw[:, :2], jaw[:, 2]),
            projection.project_face(bridge, np.array([1.5, 2.5])),
            projection.project_face(eyes),
        ]
    )
    return (projection.place(keypoints) - VIEW[:2]) / VIEW[2]
