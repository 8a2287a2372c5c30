"""Where things are in the picture: pose of the head, camera, and the 8 head keypoints."""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.rendered.assets import SKIN, HeadModel

_PIVOT_BELOW_EYES = 1.25
"""The joint that the head turns about, dm below the eyes."""

_CHIN = (0.0, 6.13, 1.35)
_KEYPOINTS = (
    (-0.76, 7.31, 0.50),
    (-0.74, 7.15, 0.55),
    (0.74, 7.15, 0.55),
    (0.76, 7.31, 0.50),
    (0.0, 7.36, 1.55),
    (0.0, 7.24, 1.60),
)
"""Rest places on the skin of the points 0, 1, 15, 16, 27 and 28 of the 68: there, in the mean of 40
renders, our face landmarker sees them."""

_JAW_BELOW_EYES = (0.015, 0.25, 0.25, 0.015)
"""How far below the eyes the points 0, 1, 15 and 16 lie, in distances of the eyes: the landmarker
goes by the eyes, not by ears that sit high or low."""

_LIDS_BELOW_EYES = 0.018
"""The landmarker's eyes are the middles of the lids, dm below those of the eyeballs."""


@dataclass(frozen=True)
class Camera:
    """How a person is framed; fixed for a clip.

    Args:
        distance: from the middle of the head, dm. Near cameras enlarge the nose.
        face: from the eyes down to the chin, as a share of the picture's height.
        x: where the middle between the eyes lies, 0 (left) to 1.
        y: the same, 0 (top) to 1.
    """

    distance: float
    face: float
    x: float
    y: float


def sample_camera(generator: np.random.Generator) -> Camera:
    """Draw a camera that frames a face as a crop around it does (see `crop_around_face`)."""
    return Camera(
        distance=float(generator.uniform(9.0, 20.0)),
        face=float(0.345 * np.exp(np.clip(0.11 * generator.normal(), -0.22, 0.22))),
        x=float(0.5 + np.clip(0.03 * generator.normal(), -0.08, 0.08)),
        y=float(0.435 + np.clip(0.03 * generator.normal(), -0.08, 0.08)),
    )


@dataclass(frozen=True)
class Projection:
    """A person's head in a pose before a camera.

    Args:
        rotation: `(3, 3)` float32 of the head.
        pivot: `(3,)` float32 that it turns about, dm.
        eye: `(3,)` float32 place of the camera, dm.
        focal: focal length in picture widths.
        x: picture place of what lies straight before the camera, 0..1.
        y: the same, downwards.
    """

    rotation: np.ndarray
    pivot: np.ndarray
    eye: np.ndarray
    focal: float
    x: float
    y: float

    def screen(self, size: int) -> np.ndarray:
        """What the kernels need for a picture of `size` pixels: `(6,)` float32."""
        return np.array(
            [*self.eye, self.focal * size, self.x * size, self.y * size], dtype=np.float32
        )


class Framing:
    """One person before one camera.

    Args:
        head: the head model.
        vertices: `(v, 3)` of the person's neutral head.
        camera: the camera.
    """

    def __init__(self, head: HeadModel, vertices: np.ndarray, camera: Camera) -> None:
        self.camera = camera
        self.eye_centres = np.stack([vertices[head.right_eye], vertices[head.left_eye]]).mean(1)
        """`(2, 3)`: image left first."""
        middle = self.eye_centres.mean(0)
        self._middle = middle
        chin = vertices[_nearest(head, _CHIN)]
        self._focal = camera.face * (camera.distance - chin[2]) / (middle[1] - chin[1])
        self._joint = camera.face * _PIVOT_BELOW_EYES / (middle[1] - chin[1])
        self._pivot = np.array([0.0, middle[1] - _PIVOT_BELOW_EYES, -0.05], np.float32)
        radius = np.linalg.norm(vertices[head.left_eye] - self.eye_centres[1], axis=1).mean()
        corners = vertices[[_nearest(head, place) for place in _KEYPOINTS]]
        apart = self.eye_centres[1, 0] - self.eye_centres[0, 0]
        corners[: len(_JAW_BELOW_EYES), 1] = middle[1] - apart * np.array(_JAW_BELOW_EYES)
        fronts = self.eye_centres + np.array([0.0, -_LIDS_BELOW_EYES, radius])
        self._keypoints = np.concatenate([corners, fronts]).astype(np.float32)

    def project(self, pose: HeadPose) -> Projection:
        """The head in a pose."""
        camera = self.camera
        eye = np.array([self._middle[0], self._middle[1], camera.distance], np.float32)
        # As the drawn heads do, the head grows about the joint that it turns about.
        below = self._joint * (1 - pose.scale)
        return Projection(
            rotation=_rotate(pose),
            pivot=self._pivot,
            eye=eye,
            focal=float(self._focal * pose.scale),
            x=camera.x + pose.x,
            y=camera.y + pose.y + below,
        )

    def locate_keypoints(self, pose: HeadPose) -> np.ndarray:
        """The 8 head keypoints, `(8, 2)`, x then y, as fractions of the picture."""
        projection = self.project(pose)
        turned = (self._keypoints - projection.pivot) @ projection.rotation.T + projection.pivot
        depth = projection.eye[2] - turned[:, 2]
        across = (turned[:, 0] - projection.eye[0]) / depth
        down = (projection.eye[1] - turned[:, 1]) / depth
        return np.stack(
            [projection.x + projection.focal * across, projection.y + projection.focal * down], 1
        )


def _rotate(pose: HeadPose) -> np.ndarray:
    cy, sy = np.cos(pose.yaw), np.sin(pose.yaw)
    cp, sp = np.cos(pose.pitch), np.sin(pose.pitch)
    cr, sr = np.cos(pose.roll), np.sin(pose.roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    rotation: np.ndarray = (tilt @ nod @ turn).astype(np.float32)
    return rotation


def _nearest(head: HeadModel, place: tuple[float, float, float]) -> int:
    skin = head.vertices_of(SKIN)
    distances = ((head.vertices[skin] - np.array(place)) ** 2).sum(1)
    return int(skin[distances.argmin()])
