"""Head keypoints: reading, retargeting and drawing them. They carry the pose, never the mouth.

Arrays are (frames, points, 2): x to the right and y down, in pixels. There are 8 points (the
paper's; see `head_keypoints_from_landmarks`), or the 3 of V-Express (eye at the left of the
picture, eye at its right, nose) for converted checkpoints.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.errors import FaceError
from svp_diffusers.media.arrays import read_array
from svp_diffusers.media.frame_rate import number_of_frames
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.head_pictures_svp import draw_dots, draw_v3_dots

# Height of a detector's face box, and its width below the eyes' line to the nose, in distances
# between the eyes (an adult's: 63 mm between the eyes, 33 mm from there to the nose tip).
_BOX_PER_EYES = 3.0
_NOSE_PER_EYES = 0.53
_JAW_PER_EYES = 2.3


def check_keypoints(keypoints: NDArray[np.floating], points: int = 8) -> NDArray[np.float32]:
    """Keypoints as (frames, points, 2) float32; a single picture's (points, 2) gets one frame.

    Raises `FaceError` for another shape, no frames, or values that are not finite.
    """
    if keypoints.ndim == 2:
        keypoints = keypoints[None]
    if keypoints.ndim != 3 or keypoints.shape[1:] != (points, 2) or len(keypoints) == 0:
        raise FaceError(
            f"head keypoints have shape {keypoints.shape}; expected (frames, {points}, 2), x and y"
        )
    if not np.isfinite(keypoints).all():
        raise FaceError("head keypoints have NaN or infinite values")
    return keypoints.astype(np.float32)


def read_keypoints(path: str | Path, points: int = 8) -> NDArray[np.float32]:
    """Keypoints (frames, points, 2) of a `.npy` file. Raises `MediaError` or `FaceError`."""
    path = check_input(path)
    try:
        array = read_array(path)
    except (ValueError, OSError) as error:
        raise FaceError(f"{path} is not an array that numpy.save wrote: {error}") from error
    if array.dtype.kind not in "iuf":
        raise FaceError(f"{path} holds {array.dtype}, not numbers")
    return check_keypoints(array, points)


def retarget(driver: NDArray[np.floating], portrait: NDArray[np.floating]) -> NDArray[np.float32]:
    """The portrait's keypoints moved as the driver's: (frames, points, 2).

    driver: (frames, points, 2); portrait: (points, 2)

    portrait + s · (driver_t - driver_0), where s is the ratio of the face sizes (spread of the
    points around their centre). The first frame is the portrait itself; what the driver moves to
    the right, moves to the right.
    """
    if portrait.shape != driver.shape[1:]:
        raise FaceError(
            f"driver keypoints {driver.shape} and portrait keypoints {portrait.shape} do not match"
        )
    size = _spread(driver[0])
    if size == 0:
        raise FaceError("the driver's keypoints all lie on one point")
    motion = driver - driver[0]
    return (portrait + _spread(portrait) / size * motion).astype(np.float32)


def resample_keypoints(
    keypoints: NDArray[np.floating], source_fps: Fraction, fps: Fraction
) -> NDArray[np.float32]:
    """The same motion at another frame rate, with its tempo: linear between frames."""
    frames = number_of_frames(float(len(keypoints) / source_fps), fps)
    position = np.arange(frames) * float(source_fps / fps)
    position = position.clip(0, len(keypoints) - 1)[:, None, None]
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(keypoints) - 1)
    weight = position - before
    before, after = before[:, 0, 0], after[:, 0, 0]
    return ((1 - weight) * keypoints[before] + weight * keypoints[after]).astype(np.float32)


def fit_motion(keypoints: NDArray[np.floating], frames: int) -> NDArray[np.float32]:
    """Motion of exactly `frames` frames, at its own tempo.

    A longer motion is cut at its end. A shorter one is played back and forth (our choice: the head
    neither freezes nor jumps); one frame is a still head.
    """
    return keypoints[play_back_and_forth(len(keypoints), frames)].astype(np.float32)


def play_back_and_forth(length: int, frames: int) -> NDArray[np.intp]:
    """The numbers of `frames` frames of a clip of `length` frames, at its own tempo; the last one
    and the first one are where it turns."""
    last = length - 1
    index = np.arange(frames)
    if last > 0:
        index = last - np.abs(last - index % (2 * last))
    return np.minimum(index, last)


def draw_head_keypoints(
    keypoints: NDArray[np.floating], height: int, width: int
) -> NDArray[np.float32]:
    """Eight dots on black in rainbow colours: (frames, 3, height, width) in [0, 1].

    keypoints: (frames, 8, 2) pixels of that picture; dots outside it are not seen. Dots are smooth
    at the rim, so that they move by fractions of a pixel. Raises `FaceError` as `check_keypoints`.
    """
    points = torch.from_numpy(check_keypoints(keypoints))
    pictures: NDArray[np.float32] = draw_dots(points, height, width).numpy()
    return pictures


def draw_v3_keypoints(
    keypoints: NDArray[np.floating], height: int, width: int
) -> NDArray[np.float32]:
    """V-Express's drawing of keypoints (frames, 3, 2); see `head_pictures_svp.draw_v3_dots`.

    Raises `FaceError` as `check_keypoints`.
    """
    return draw_v3_dots(check_keypoints(keypoints, points=3), height, width)


def _spread(points: NDArray[np.floating]) -> float:
    """Root mean square distance of (points, 2) from their centre."""
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


def box_from_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """Estimate the face boxes `(f, 4)` of a detector from keypoints `(f, 8, 2)` or `(f, 3, 2)`.

    A square below the eyes' line, three times as high as the eyes lie apart (our choice). Turned
    away, the eyes come closer; then nose or jaw tell the size.
    """
    if keypoints.shape[1] == 3:
        left, right, nose = np.moveaxis(keypoints, 1, 0)
        other = np.linalg.norm(nose - (left + right) / 2, axis=-1) / _NOSE_PER_EYES
    else:
        left, right = keypoints[:, 6], keypoints[:, 7]
        other = np.linalg.norm(keypoints[:, 0] - keypoints[:, 3], axis=-1) / _JAW_PER_EYES
    eyes = (left + right) / 2
    distance = np.maximum(np.linalg.norm(right - left, axis=-1), other)[:, None]
    along = (right - left) / np.linalg.norm(right - left, axis=-1, keepdims=True)
    down = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    centre = eyes + 0.5 * distance * down
    half = distance * _BOX_PER_EYES / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
