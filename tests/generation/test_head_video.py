"""The motion of a head in a video, as phones and editing programs leave them."""

import resource
import warnings
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from svp_diffusers import SVP_TINY
from svp_diffusers.errors import FaceError
from svp_diffusers.generation.head_motion import prepare_head_motion, warn_of_large_motion
from svp_diffusers.generation.portrait import Portrait
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.head_pose_svp import drive_keypoints
from svp_diffusers.pipelines.head_svp import FaceCrop
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS

SIZE = 256
PICTURE = np.asarray(Image.open(PORTRAITS[0]).convert("RGB"))
BLACK = np.zeros_like(PICTURE)
KEYPOINTS = np.load(PORTRAIT_KEYPOINTS[0])
FPS = Fraction(25)
SPEED = 40  # pixels a second to the right


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return load_face_landmarker()


def shift(seconds: float) -> np.ndarray:
    return np.roll(PICTURE, round(SPEED * seconds), axis=1)


def encode(
    path: Path, frames: Iterable[np.ndarray], times: Sequence[float], rotation: int = 0
) -> Path:
    """Write frames to be shown at these seconds, and to be turned counter-clockwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for time, pixels in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation:
        data = bytearray(path.read_bytes())
        matrix = data.index(b"tkhd") + 44
        sine, cosine = round(np.sin(np.radians(rotation))), round(np.cos(np.radians(rotation)))
        turned = 65536 * np.array([cosine, -sine, 0, sine, cosine, 0, 0, 0, 16384])
        data[matrix : matrix + 36] = turned.astype(">i4").tobytes()
        path.write_bytes(data)
    return path


def drive(video: Path, landmarker: FaceLandmarker, frames: int = 20, **options: Any) -> np.ndarray:
    """How far the portrait's keypoints move in pixels, (frames, 2)."""
    request = GenerationRequest(
        Path("a.png"), Path("a.wav"), Path("v.mp4"), head_video=video, **options
    )
    own = follow_face([PICTURE], FPS, "portrait", landmarker).head_keypoints[0]
    portrait = Portrait(FaceCrop(Image.fromarray(PICTURE), 0, 0, 1.0), own)
    motion = prepare_head_motion(request, portrait, FPS, frames, "head8", landmarker)
    assert motion is not None
    assert motion.shape == (frames, 8, 2)
    return (motion - own).mean(axis=1)


EXPECTED = SPEED * np.arange(20) / 25
STEADY = [index / 25 for index in range(20)]


def test_a_variable_frame_rate_keeps_its_tempo(landmarker: FaceLandmarker, tmp_path: Path) -> None:
    # Dense at first and then sparse, as a phone's in the dark: by their numbers, frames would lag.
    times = [*np.arange(0, 0.3, 1 / 60), *np.arange(0.3, 0.85, 1 / 15)]
    video = encode(tmp_path / "phone.mp4", map(shift, times), times)
    moved = drive(video, landmarker)
    np.testing.assert_allclose(moved[:, 0], EXPECTED, atol=2.2)  # half of 1/15 s is 1.3 pixels
    by_number = SPEED * np.array(times)[:20]
    assert np.abs(by_number - EXPECTED).max() > 10
    np.testing.assert_allclose(moved[:, 1], 0, atol=1)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_moves_the_head_upright(
    landmarker: FaceLandmarker, tmp_path: Path, rotation: int
) -> None:
    stored = [np.rot90(shift(time), -rotation // 90) for time in STEADY]
    video = encode(tmp_path / "phone.mp4", stored, STEADY, rotation)
    assert np.abs(next(read_frames(video)).astype(int) - PICTURE).mean() < 4
    moved = drive(video, landmarker)
    np.testing.assert_allclose(moved[:, 0], EXPECTED, atol=1.5)
    np.testing.assert_allclose(moved[:, 1], 0, atol=1)


@pytest.mark.parametrize("number", [0, 9, 19])
def test_a_black_frame_is_filled_with_a_warning(
    landmarker: FaceLandmarker, tmp_path: Path, number: int
) -> None:
    frames = [BLACK if index == number else shift(time) for index, time in enumerate(STEADY)]
    video = encode(tmp_path / "flash.mp4", frames, STEADY)
    with pytest.warns(UserWarning, match="1 of 20 frames"):
        moved = drive(video, landmarker)
    np.testing.assert_allclose(moved[:, 0] - moved[1, 0], EXPECTED - EXPECTED[1], atol=2)


def test_a_face_for_half_the_time_is_an_error_that_says_when(
    landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    frames = [shift(time) if time < 0.4 else BLACK for time in STEADY]
    video = encode(tmp_path / "gone.mp4", frames, STEADY)
    with pytest.raises(FaceError, match=r"10 of 20 frames of gone\.mp4, at 0\.40-0\.80 s"):
        drive(video, landmarker)


def test_what_comes_after_the_speech_is_not_looked_at(
    landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    frames = [shift(time) if time < 0.4 else BLACK for time in STEADY]
    video = encode(tmp_path / "gone.mp4", frames, STEADY)
    moved = drive(video, landmarker, frames=10)
    np.testing.assert_allclose(moved[:, 0], EXPECTED[:10], atol=1.5)


def test_motion_is_scaled_from_the_portrait_on(landmarker: FaceLandmarker, tmp_path: Path) -> None:
    video = encode(tmp_path / "driver.mp4", map(shift, STEADY), STEADY)
    whole, half = (drive(video, landmarker, head_motion_scale=scale) for scale in (1.0, 0.5))
    np.testing.assert_allclose(half, whole / 2, atol=1e-3)
    assert np.abs(drive(video, landmarker, head_motion_scale=0.0)).max() < 1e-4


def test_a_head_that_turns_further_than_the_checkpoint_knows_is_warned_of() -> None:
    def turn(radians: float) -> np.ndarray:
        poses = np.zeros((10, 6))
        poses[:, 0], poses[:, 5] = np.linspace(0, radians, 10), 1
        return drive_keypoints(KEYPOINTS, poses, SIZE)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_large_motion(SVP_TINY, turn(0.15), SIZE)
    with pytest.warns(UserWarning, match=r"--head-motion-scale 0\.[45]"):
        warn_of_large_motion(SVP_TINY, turn(0.4), SIZE)


@pytest.mark.slow
def test_ten_minutes_take_no_more_memory_than_one(
    landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    fps = 1  # a frame that is kept takes 0.2 MB: 540 of them would show
    times = [index / fps for index in range(600 * fps)]
    video = encode(
        tmp_path / "long.mp4", (shift(index % 2 / 2) for index in range(len(times))), times
    )
    peaks = []

    def watch() -> Iterable[np.ndarray]:
        for number, frame in enumerate(read_frames(video, Fraction(fps))):
            if number % (60 * fps) == 0:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
            yield frame

    track = follow_face(watch(), Fraction(fps), video.name, landmarker)
    assert len(track.head_keypoints) >= len(times) - 1  # the last is shown for 1/25 s only
    assert peaks[-1] - peaks[1] < 30_000
