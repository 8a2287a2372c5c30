"""Landmarks, expressions and poses of faces in pictures and videos, by the package's own networks.

Everything runs on the device of the networks, without any other package and without the Internet.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from svp_diffusers.media.faces import Face, select_face
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker, FaceLandmarks

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "face_landmarker"
# MediaPipe's least presence of a face in a rectangle. It keeps out what a detector only took for
# one, so that a detector may be asked for more than MediaPipe's surest half (our choice).
PRESENCE_THRESHOLD = 0.5
DETECTION_THRESHOLD = 0.4


def load_face_landmarker() -> FaceLandmarker:
    """The networks that come with the package, in float32 on the CPU."""
    model: FaceLandmarker = FaceLandmarker.from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    # A quarter faster on a CPU.
    return model.to(memory_format=torch.channels_last)


class LandmarkFaceDetector:
    """A `FaceDetector` with head keypoints of both layouts, from faces of 1/30 of the picture on.

    The boxes are those of the landmarks: from the hairline to the chin.
    """

    def __init__(self, landmarker: FaceLandmarker | None = None) -> None:
        self.landmarker = load_face_landmarker() if landmarker is None else landmarker

    def detect(self, image: Image.Image) -> list[Face]:
        """All faces, the largest first, with their head keypoints."""
        return as_faces(*find_landmarks(np.asarray(image.convert("RGB")), self.landmarker))


@torch.no_grad()
def find_landmarks(
    picture: NDArray[np.uint8], landmarker: FaceLandmarker
) -> tuple[FaceLandmarks, Tensor]:
    """The n faces of a picture, the largest first, and the scores (n,) of their detection.

    picture: (height, width, 3) RGB
    """
    image = _to_image(picture, landmarker)
    found = landmarker.detect(image, DETECTION_THRESHOLD)[0]
    faces = landmarker(image.expand(len(found), -1, -1, -1), found.rectangles())
    present = faces.presence >= PRESENCE_THRESHOLD
    # The landmarks say better than a detector where to look.
    rectangles, scores = faces[present].rectangles(), found.scores[present]
    faces = landmarker(image.expand(len(rectangles), -1, -1, -1), rectangles)
    order = _areas(faces).argsort(descending=True)
    return faces[order], scores[order]


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
        index: which face of the first frame with faces: 0 is the largest. Without it the largest,
            with a warning when there are others.
        box: instead, the face that is nearest to left, top, right, bottom in pixels.

    Raises:
        FaceError: there is no face of that index.
    """
    target = None if box is None else np.asarray(box, dtype=np.float32)
    tracked: FaceLandmarks | None = None
    for frame in frames:
        if tracked is not None:
            tracked = landmarker(_to_image(frame, landmarker), tracked.rectangles())
            if tracked.presence < PRESENCE_THRESHOLD:
                tracked = None
        if tracked is None:
            tracked = _choose(*find_landmarks(frame, landmarker), index, target)
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


def _choose(
    landmarks: FaceLandmarks,
    scores: Tensor,
    index: int | None,
    target: NDArray[np.float32] | None,
) -> FaceLandmarks | None:
    """The face nearest to the box `target`, or with that index if there is none."""
    faces = as_faces(landmarks, scores)
    if not faces:
        return None
    if target is None:
        selected = select_face(faces, index)
        chosen = next(i for i, face in enumerate(faces) if face is selected)
    else:
        chosen = int(np.argmin([np.abs(face.bbox - target).sum() for face in faces]))
    return landmarks[chosen : chosen + 1]


def _to_image(picture: NDArray[np.uint8], landmarker: FaceLandmarker) -> Tensor:
    """(1, 3, height, width) in [-1, 1]."""
    pixels = torch.tensor(picture, device=landmarker.device).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1


def _areas(faces: FaceLandmarks) -> Tensor:
    corners, others = faces.boxes().chunk(2, dim=-1)
    return (others - corners).prod(-1)
