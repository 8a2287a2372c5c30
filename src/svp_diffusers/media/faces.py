"""Faces in a picture: found by a detector, or given by hand so that nothing needs one."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import CheckpointError, FaceError, MissingDependencyError

# Our choices of what is warned of: pixels, share of the face, degrees.
SMALL_FACE, CUT_OFF, TURNED = 64, 0.05, 30


@dataclass(frozen=True)
class Face:
    """One face; all in pixels of the picture it was found in.

    bbox: (4,) float32 left, top, right, bottom
    keypoints: (8, 2) float32 x, y of the head keypoints, or None when only the box is known
    score: the detector's confidence in [0, 1]; 1 when given by hand
    v3_keypoints: (3, 2) float32 x, y of V-Express's three: both eyes and the nose, or None
    """

    bbox: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None
    score: float
    v3_keypoints: NDArray[np.float32] | None = None

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        left, top, right, bottom = self.bbox
        return float((right - left) * (bottom - top))

    def get_keypoints(self, layout: str) -> NDArray[np.float32] | None:
        """The keypoints of a layout, "head8" or "v3", where they are known."""
        return self.keypoints if layout == "head8" else self.v3_keypoints


class FaceDetector(Protocol):
    """Anything that finds faces in an RGB picture."""

    def detect(self, image: Image.Image) -> list[Face]:
        """All faces, the largest first; empty when there is none."""


class InsightFaceDetector:
    """InsightFace's detector and 68 landmarks (extra `faces`).

    The model pack is not downloaded by us: its licence allows non-commercial use only, so having it
    is the user's decision. Raises `MissingDependencyError` without insightface, `CheckpointError`
    without the models.
    """

    def __init__(self, root: str | Path = "~/.insightface", name: str = "buffalo_l") -> None:
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise MissingDependencyError(
                'InsightFace needs insightface: pip install "svp-diffusers[faces]"; '
                "`LandmarkFaceDetector` finds faces without it"
            ) from error
        folder = Path(root).expanduser() / "models" / name
        if not any(folder.glob("*.onnx")):
            raise CheckpointError(
                f"no face models in {folder}. They may be used for non-commercial research only: "
                "if that is your case, unpack "
                "https://github.com/deepinsight/insightface/releases/download/model-zoo/"
                f"{name}.zip there; else give the box or the keypoints of the face by hand"
            )
        self._analysis = FaceAnalysis(
            name=str(folder), allowed_modules=["detection", "landmark_3d_68"]
        )
        if "landmark_3d_68" not in self._analysis.models:
            raise CheckpointError(f"{folder} has no 68-landmark model (1k3d68.onnx); unpack again")
        self._analysis.prepare(ctx_id=0)

    def detect(self, image: Image.Image) -> list[Face]:
        """All faces, the largest first, with their head keypoints."""
        bgr = np.asarray(image.convert("RGB"))[:, :, ::-1]
        faces = [
            Face(
                bbox=np.asarray(found.bbox, dtype=np.float32),
                keypoints=head_keypoints_from_landmarks(found.landmark_3d_68[:, :2]),
                score=float(found.det_score),
                v3_keypoints=np.asarray(found.kps[:3], dtype=np.float32),
            )
            for found in self._analysis.get(np.ascontiguousarray(bgr))
        ]
        return sorted(faces, key=lambda face: face.area, reverse=True)


def head_keypoints_from_landmarks(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """The 8 head keypoints among the 68 landmarks (68, 2) of the iBUG scheme: (8, 2) float32.

    Jaw 0, 1, 15, 16, nose bridge 27, 28, and the centres of the eyes at the left and the right of
    the picture: they move with the head and not with the mouth (our reading of the paper's figure).
    """
    eyes = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
    return np.stack([*landmarks[[0, 1, 15, 16, 27, 28]], *eyes]).astype(np.float32)


def face_from_bbox(bbox: Sequence[float], width: int, height: int) -> Face:
    """A face whose box (left, top, right, bottom, pixels) is given by hand.

    Raises `FaceError` for a box that is empty, not finite, or reaches beyond the picture.
    """
    box = np.asarray(bbox, dtype=np.float32)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise FaceError(f"face box {list(bbox)} is not four numbers: left, top, right, bottom")
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise FaceError(
            f"face box {list(bbox)} does not lie in the {width}x{height} picture; "
            "give left, top, right, bottom in pixels"
        )
    return Face(box, None, 1.0)


def select_face(faces: Sequence[Face], index: int | None = None) -> Face:
    """The face with that index (0 is the largest); without an index the largest, with a warning
    when there are others.

    Raises `FaceError` when there is no face, or none of that index.
    """
    if not faces:
        raise FaceError(
            "no face was found; use a picture with one face seen from the front, "
            "or give its box or keypoints by hand"
        )
    faces = sorted(faces, key=lambda face: face.area, reverse=True)
    if index is not None:
        if not 0 <= index < len(faces):
            raise FaceError(f"there is no face {index}; the faces are 0 to {len(faces) - 1}")
        return faces[index]
    if len(faces) > 1:
        boxes = ", ".join(f"{i}: {face.bbox.round().tolist()}" for i, face in enumerate(faces))
        warnings.warn(
            f"{len(faces)} faces were found ({boxes}); the largest is used, "
            "choose another by its index (--face-index) or its box (--bbox)",
            stacklevel=2,
        )
    return faces[0]


def describe_face(face: Face, width: int, height: int) -> list[str]:
    """What may spoil a video of this face of a width x height picture; empty if nothing does.

    The limits are our choices. How far the head is turned follows from where the bridge of the nose
    lies between the ears, which needs the 8 keypoints.
    """
    problems = []
    left, top, right, bottom = (float(side) for side in face.bbox)
    pixels = max(right - left, bottom - top)
    if pixels < SMALL_FACE:
        problems.append(
            f"is only {pixels:.0f} pixels large: its details will be invented; use a larger picture"
        )
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > CUT_OFF * pixels:
        problems.append(
            "is cut off by the border of the picture; use one that shows the whole head"
        )
    if face.keypoints is not None:
        first, last, bridge = face.keypoints[[0, 3, 4]]
        across = last - first
        share = float((bridge - first) @ across / max(float(across @ across), 1e-6))
        turn = float(np.degrees(np.arctan(2 * share - 1)))
        if abs(turn) > TURNED:
            problems.append(
                f"is turned away by about {abs(turn):.0f} degrees; use a picture from the front"
            )
    return problems


def track_head(
    frames: Iterable[NDArray[np.uint8]], detector: FaceDetector, layout: str = "head8"
) -> NDArray[np.float32]:
    """Head keypoints (f, 8, 2) of one person through a video's (height, width, 3) frames.

    With the layout "v3" they are V-Express's, (f, 3, 2).

    The largest face of the first frame (with a warning when there are others), then the face whose
    box is nearest to the last one. Raises `FaceError` naming the first frame without a face.
    """
    tracked: list[NDArray[np.float32]] = []
    last: Face | None = None
    for index, frame in enumerate(frames):
        faces = detector.detect(Image.fromarray(frame))
        if not faces:
            raise FaceError(f"no face was found in frame {index} of the driving video; cut it out")
        last = select_face(faces) if last is None else _nearest(faces, last)
        keypoints = last.get_keypoints(layout)
        if keypoints is None:
            raise FaceError(
                f"{type(detector).__name__} gives no {layout} keypoints, so it cannot track"
            )
        tracked.append(keypoints)
    if not tracked:
        raise FaceError("the driving video has no frames")
    return np.stack(tracked)


def _nearest(faces: Sequence[Face], last: Face) -> Face:
    return min(faces, key=lambda face: float(np.abs(face.bbox - last.bbox).sum()))
