"""One face through a video: its expression and keypoints in every frame, small gaps filled."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import FaceError
from svp_diffusers.media.landmarks import load_face_landmarker, track_landmarks
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker, FaceLandmarks

MAXIMUM_MISSING = 0.1
"""Share of a video's frames that may be without a face (our choice)."""


@dataclass(frozen=True)
class FaceTrack:
    """What a face does in a video of f frames.

    blendshapes: (f, 52) in [0, 1], in ARKit's order
    head_keypoints: (f, 8, 2) pixels
    v3_keypoints: (f, 3, 2) pixels, V-Express's
    missing: the gaps that were filled, as (first, stop) frames
    """

    blendshapes: NDArray[np.float32]
    head_keypoints: NDArray[np.float32]
    v3_keypoints: NDArray[np.float32]
    missing: tuple[tuple[int, int], ...]

    def get_keypoints(self, layout: str) -> NDArray[np.float32]:
        """The keypoints of a layout, "head8" or "v3"."""
        return self.head_keypoints if layout == "head8" else self.v3_keypoints


def follow_face(
    frames: Iterable[NDArray[np.uint8]],
    fps: Fraction,
    source: str,
    landmarker: FaceLandmarker | None = None,
    index: int | None = None,
    box: Sequence[float] | None = None,
) -> FaceTrack:
    """Follow one face through (height, width, 3) RGB frames; see `follow_points`."""

    def describe(found: FaceLandmarks) -> NDArray[np.float32]:
        parts = [found.blendshapes, found.head_keypoints("head8"), found.head_keypoints("v3")]
        return np.concatenate([part.float().cpu().numpy().ravel() for part in parts])

    filled, missing = follow_points(frames, describe, fps, source, landmarker, index, box)
    blendshapes, eight, three = np.split(filled, [52, 52 + 16], axis=1)
    return FaceTrack(blendshapes, eight.reshape(-1, 8, 2), three.reshape(-1, 3, 2), missing)


def follow_points(
    frames: Iterable[NDArray[np.uint8]],
    describe: Callable[[FaceLandmarks], NDArray[np.float32]],
    fps: Fraction,
    source: str,
    landmarker: FaceLandmarker | None = None,
    index: int | None = None,
    box: Sequence[float] | None = None,
) -> tuple[NDArray[np.float32], tuple[tuple[int, int], ...]]:
    """Follow one face through (height, width, 3) RGB frames; no frame is kept.

    Frames without a face, up to a tenth of all, get what lies between the frames around them, with
    a warning that says when.

    Args:
        frames: at a constant rate, at least one.
        describe: the numbers of a face that are wanted, always of one shape.
        fps: their rate, for messages.
        source: where they come from, for messages.
        landmarker: by default the package's own networks.
        index, box: which of several faces, see `track_landmarks`.

    Returns:
        The numbers of all frames, (frames, ...), and the gaps that were filled, as (first, stop)
        frames.

    Raises:
        FaceError: no frames, no face, or more frames without one; it says at which seconds.
    """
    landmarker = load_face_landmarker() if landmarker is None else landmarker
    rows: list[NDArray[np.float32]] = []
    seen: list[int] = []
    total = 0
    for number, found in enumerate(track_landmarks(frames, landmarker, index, box)):
        total = number + 1
        if found is not None:
            rows.append(describe(found))
            seen.append(number)
    if not total:
        raise FaceError(f"{source} has no frames")
    if not seen:
        raise FaceError(f"no face is seen in {source}; use a video of one face from the front")
    missing = find_gaps(seen, total)
    lacking = total - len(seen)
    if lacking:
        where = ", ".join(
            f"{float(first / fps):.2f}-{float(stop / fps):.2f} s" for first, stop in missing
        )
        if lacking > MAXIMUM_MISSING * total:
            raise FaceError(
                f"no face is seen in {lacking} of {total} frames of {source}, at {where}; cut the "
                "video to where the face is seen"
            )
        warnings.warn(
            f"no face is seen in {lacking} of {total} frames of {source}, at {where}: they are "
            "filled from the frames around them",
            stacklevel=2,
        )
    return fill_gaps(np.stack(rows), seen, total), missing


def fill_gaps(
    values: NDArray[np.floating], seen: Sequence[int] | NDArray[np.int_], total: int
) -> NDArray[np.float32]:
    """Values (n, ...) of the frames that are `seen`, sorted, as those of all frames (total, ...).

    Between them lies a straight line; before the first and after the last, they stay.
    """
    columns = values.reshape(len(values), -1).T
    filled = np.stack([np.interp(np.arange(total), seen, column) for column in columns], axis=1)
    return filled.astype(np.float32).reshape(total, *values.shape[1:])


def find_gaps(seen: Sequence[int], total: int) -> tuple[tuple[int, int], ...]:
    """The runs (first, stop) of the frames 0 to `total` that are not among the sorted `seen`."""
    edges = [-1, *seen, total]
    return tuple((before + 1, after) for before, after in pairwise(edges) if after - before > 1)
