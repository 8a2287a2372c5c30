"""One face through a shot, found by a detector or read from a file, and the crop following it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from svp_diffusers.data.preparation.probing import ProbedVideo
from svp_diffusers.data.preparation.settings import Reason, RejectionError
from svp_diffusers.media.arrays import read_array
from svp_diffusers.media.face_track import MAXIMUM_MISSING, fill_gaps
from svp_diffusers.media.faces import Face, FaceDetector
from svp_diffusers.media.input import check_input
from svp_diffusers.media.keypoints import box_from_keypoints
from svp_diffusers.media.landmarks import LandmarkFaceDetector, load_face_landmarker
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.head_svp import CROP_MARGIN

# Our choices. A second face counts when it is no smaller than this part of the first one.
RIVAL_AREA = 0.25
# So large a part of a clip's frames with a rival makes it unusable.
MOST_RIVALS = 0.1
# Deviation of the Gaussian that smooths the path of the crop.
SMOOTHING_SECONDS = 0.5
# A crop may be enlarged so much and no more.
MOST_ENLARGEMENT = 2.0


@dataclass(frozen=True)
class DetectedFace:
    """The face in each of `f` frames, in pixels of the upright picture; NaN where it was not found.

    Args:
        boxes: `(f, 4)` left, top, right, bottom.
        keypoints: `(f, 8, 2)` or `(f, 3, 2)`, or None when only boxes are known.
        rivals: `(f,)` bool, there is another face of comparable size.
    """

    boxes: np.ndarray
    keypoints: np.ndarray | None
    rivals: np.ndarray

    def part(self, frames: range) -> "DetectedFace":
        """The track of some of the frames."""
        rows = slice(frames.start, frames.stop)
        keypoints = None if self.keypoints is None else self.keypoints[rows]
        return DetectedFace(self.boxes[rows], keypoints, self.rivals[rows])


@cache
def load_landmarker() -> FaceLandmarker:
    """The package's own networks, loaded once a process."""
    return load_face_landmarker()


def load_detector() -> FaceDetector:
    """Finds faces with the networks of `load_landmarker`."""
    return LandmarkFaceDetector(load_landmarker())


class FaceTracker:
    """Follow the face nearest to the last one while frames go by, the largest at first."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._last: Face | None = None
        self._boxes: list[np.ndarray] = []
        self._keypoints: list[np.ndarray | None] = []
        self._rivals: list[bool] = []

    def add(self, frame: np.ndarray) -> None:
        """Look at the next `(H, W, 3)` RGB frame."""
        faces = self._detector.detect(Image.fromarray(frame))
        if not faces:
            self._boxes.append(np.full(4, np.nan))
            self._keypoints.append(None)
            self._rivals.append(False)
            return
        last = self._last
        face = (
            max(faces, key=lambda face: face.area)
            if last is None
            else min(faces, key=lambda face: float(np.abs(face.bbox - last.bbox).sum()))
        )
        self._last = face
        self._boxes.append(face.bbox)
        self._keypoints.append(face.keypoints)
        self._rivals.append(any(f is not face and f.area > RIVAL_AREA * face.area for f in faces))

    def track(self) -> DetectedFace:
        """What was seen so far."""
        known = [points for points in self._keypoints if points is not None]
        missing = np.full((8, 2), np.nan)
        keypoints = (
            np.stack([missing if points is None else points for points in self._keypoints])
            if known
            else None
        )
        return DetectedFace(np.stack(self._boxes), keypoints, np.array(self._rivals))


def read_face_file(path: Path, video: ProbedVideo, fps: Fraction, frames: int) -> DetectedFace:
    """Read a face track from a `.npy` file, one row for each *stored* frame of the video.

    Args:
        path: array `(n, 8, 2)` or `(n, 3, 2)` of keypoints (8 head keypoints; left eye, right eye,
            nose) or `(n, 4)` of boxes, pixels of the upright picture, NaN where there is no face.
        video: the video it belongs to.
        fps, frames: of the track to make.

    Raises:
        RejectionError: missing, of another shape, or of another length than the video.
    """
    try:
        rows = read_array(check_input(path))
    except (OSError, ValueError) as error:
        raise RejectionError(Reason.FACE_FILE, f"{path.name}: {error}") from error
    if rows.dtype.kind not in "iuf" or rows.shape[1:] not in ((8, 2), (3, 2), (4,)):
        detail = f"{path.name}: expected an array (n, 8, 2), (n, 3, 2) or (n, 4)"
        raise RejectionError(Reason.FACE_FILE, detail)
    if len(rows) != len(video.times):
        detail = f"{path.name} has {len(rows)} rows, the video {len(video.times)} frames"
        raise RejectionError(Reason.FACE_FILE, detail)
    rows = rows[video.frame_shown(fps, frames)].astype(np.float32)
    rivals = np.zeros(frames, bool)
    if rows.ndim == 2:
        return DetectedFace(rows, None, rivals)
    return DetectedFace(box_from_keypoints(rows), rows, rivals)


def complete_track(track: DetectedFace) -> tuple[DetectedFace, tuple[str, ...]]:
    """Check the face of one clip and fill short gaps linearly.

    Returns:
        A track without NaN, and a note if anything was filled.

    Raises:
        RejectionError: no face, or several, in more than a tenth of the frames.
    """
    missing = np.isnan(track.boxes).any(axis=1)
    if missing.mean() > MAXIMUM_MISSING:
        detail = f"not found in {missing.sum()} of {len(missing)} frames"
        raise RejectionError(Reason.NO_FACE, detail)
    if track.rivals.mean() > MOST_RIVALS:
        detail = f"another one in {track.rivals.sum()} of {len(missing)} frames"
        raise RejectionError(Reason.SEVERAL_FACES, detail)
    if not missing.any():
        return track, ()
    note = f"face interpolated in {missing.sum()} of {len(missing)} frames"
    seen, total = np.flatnonzero(~missing), len(missing)
    keypoints = track.keypoints
    if keypoints is not None:
        keypoints = fill_gaps(keypoints[seen], seen, total)
    return DetectedFace(fill_gaps(track.boxes[seen], seen, total), keypoints, track.rivals), (note,)


def plan_crop(
    boxes: np.ndarray, width: int, height: int, fps: Fraction, size: int
) -> tuple[np.ndarray, float]:
    """Plan the square that follows a face.

    Args:
        boxes: `(f, 4)`.
        width, height: of the picture.
        fps: frame rate.
        size: pixels that the square will be scaled to.

    Returns:
        Left and top corners `(f, 2)`, smooth over time, and one side for all frames: as wide as
        `media.faces.crop_around_face` cuts a portrait, but always inside the picture.

    Raises:
        RejectionError: the square would have to be enlarged more than twice.
    """
    from scipy.ndimage import gaussian_filter1d

    longest = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    side = float(min(CROP_MARGIN * np.median(longest), width, height))
    if side * MOST_ENLARGEMENT < size:
        detail = f"a crop of {side:.0f} pixels for frames of {size}"
        raise RejectionError(Reason.SMALL_FACE, detail)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    smooth = gaussian_filter1d(
        centres.astype(np.float64), float(SMOOTHING_SECONDS * fps), axis=0, mode="nearest"
    )
    return np.clip(smooth - side / 2, 0, (width - side, height - side)), side


def crop_frame(frame: np.ndarray, corner: Sequence[float], side: float, size: int) -> np.ndarray:
    """Cut a square out of `(H, W, 3)`, to fractions of a pixel, and scale it to `size` pixels."""
    left, top = corner
    box = (left, top, left + side, top + side)
    return np.asarray(
        Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS, box=box)
    )
