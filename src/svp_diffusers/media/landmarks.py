"""Landmarks, expressions and poses of faces in pictures and videos, by the package's own networks.

Everything runs on the device of the networks, without any other package and without the Internet.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from svp_diffusers.media.faces import Face, select_face
from svp_diffusers.models.face_landmarker_svp import (
    PRESENCE_THRESHOLD,
    FaceLandmarker,
    FaceLandmarks,
    MeshNetwork,
    crop,
)

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "svp_tiny" / "face_landmarker"


def load_face_landmarker() -> FaceLandmarker:
    """The networks that come with the package, in float32 on the CPU."""
    model: FaceLandmarker = FaceLandmarker.from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    # A quarter faster on a CPU.
    return model.to(memory_format=torch.channels_last)


class LandmarkFaceDetector:
    """A `FaceDetector` with head keypoints of both layouts, from faces of 1/25 of the picture on.

    The boxes are those of the landmarks: from the hairline to the chin.
    """

    def __init__(self, landmarker: FaceLandmarker | None = None) -> None:
        self._landmarker = landmarker

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        """The networks; the package's own are loaded when a face is first looked for."""
        return load_face_landmarker() if self._landmarker is None else self._landmarker

    def detect(self, image: Image.Image) -> list[Face]:
        """All faces, the largest first, with their head keypoints."""
        return as_faces(*find_landmarks(np.asarray(image.convert("RGB")), self.landmarker))


def find_landmarks(
    picture: NDArray[np.uint8], landmarker: FaceLandmarker
) -> tuple[FaceLandmarks, Tensor]:
    """The n faces of a picture, the largest first, and the scores (n,) of their detection.

    picture: (height, width, 3) RGB
    """
    found: tuple[FaceLandmarks, Tensor] = landmarker.find_landmarks(_to_image(picture, landmarker))
    return found


@torch.no_grad()
def track_landmarks(
    frames: Iterable[NDArray[np.uint8]],
    landmarker: FaceLandmarker,
    index: int | None = None,
    box: Sequence[float] | None = None,
) -> Iterator[FaceLandmarks | None]:
    """Follow one face through a video's (height, width, 3) RGB frames, one at a time.

    Each frame gives that one face (n = 1), or None where it is not seen. It is looked for where the
    last frame had it, and in the whole frame when it is not there.

    Args:
        frames: may be a generator; none is kept.
        index: which face of the first frame with faces: 0 is the largest.
        box: instead, the face that is nearest to left, top, right, bottom in pixels.

    Without either it is the largest face, with a warning when there are others, and, whenever it is
    lost, the one nearest to where it was. With a choice, what does not overlap that place is taken
    for somebody else.

    Raises:
        FaceError: there is no face of that index.
    """
    chosen = index is not None or box is not None
    target = None if box is None else np.asarray(box, dtype=np.float32)
    tracked: FaceLandmarks | None = None
    for frame in frames:
        if tracked is not None:
            tracked = _find_near(frame, landmarker, tracked.rectangles())
            if tracked.presence < PRESENCE_THRESHOLD:
                tracked = None
        if tracked is None:
            found = find_landmarks(frame, landmarker)
            if target is None:
                tracked = _select(*found, index)
            else:
                tracked = _find_again(found[0], target, anywhere=not chosen)
        if tracked is not None:
            target = tracked.boxes()[0].cpu().numpy()
        yield tracked


def as_faces(landmarks: FaceLandmarks, scores: Tensor) -> list[Face]:
    """The faces as those of any other detector."""
    arrays = (
        landmarks.boxes(),
        landmarks.head_keypoints("head8"),
        scores,
        landmarks.head_keypoints("v3"),
    )
    return [
        Face(box, keypoints, float(score), v3_keypoints)
        for box, keypoints, score, v3_keypoints in zip(
            *(array.float().cpu().numpy() for array in arrays), strict=True
        )
    ]


def _select(landmarks: FaceLandmarks, scores: Tensor, index: int | None) -> FaceLandmarks | None:
    """The face with that index, None if there are no faces at all."""
    faces = as_faces(landmarks, scores)
    if not faces:
        return None
    selected = select_face(faces, index)
    number = next(i for i, face in enumerate(faces) if face is selected)
    return landmarks[number : number + 1]


def _find_near(
    frame: NDArray[np.uint8], landmarker: FaceLandmarker, rectangle: Tensor
) -> FaceLandmarks:
    """The face in a rectangle (1, 5) of a frame, of which no more than that is converted."""
    height, width = frame.shape[:2]
    x, y, across, down, angle = rectangle[0].tolist()
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    left, right = _cut(x, (cos * across + sin * down) / 2, width)
    top, bottom = _cut(y, (sin * across + cos * down) / 2, height)
    part = _to_image(frame[top:bottom, left:right], landmarker)
    there = rectangle - rectangle.new_tensor([left, top, 0, 0, 0])
    crops = crop(part, there, MeshNetwork.size, "border")
    landmarks: FaceLandmarks = landmarker.read_crops(crops, rectangle, height, width)
    return landmarks


def _cut(centre: float, half: float, size: int) -> tuple[int, int]:
    """First pixel and last but one of what lies in a picture; the nearest when nothing does."""
    first = min(max(math.floor(centre - half) - 1, 0), size - 1)
    return first, min(max(math.ceil(centre + half) + 2, first + 1), size)


def _find_again(
    landmarks: FaceLandmarks, target: NDArray[np.float32], anywhere: bool
) -> FaceLandmarks | None:
    """The face nearest to the box `target`, unless it must overlap it and does not."""
    boxes = landmarks.boxes().cpu().numpy()
    if not anywhere:
        apart = (boxes[:, :2] >= target[2:]) | (boxes[:, 2:] <= target[:2])
        landmarks, boxes = landmarks[torch.from_numpy(~apart.any(1))], boxes[~apart.any(1)]
    if not len(boxes):
        return None
    number = int(np.abs(boxes - target).sum(1).argmin())
    return landmarks[number : number + 1]


def _to_image(picture: NDArray[np.uint8], landmarker: FaceLandmarker) -> Tensor:
    """(1, 3, height, width) in [-1, 1]."""
    pixels = torch.tensor(picture, device=landmarker.device).permute(2, 0, 1)[None]
    return pixels.float().div_(127.5).sub_(1)  # a large frame takes half as long in place
