"""A face is followed through a video, and short gaps in it are filled and told."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.media.face_track import find_gaps, follow_face
from svp_diffusers.media.keypoints import read_keypoints
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS

FPS = Fraction(25)
BLACK = np.zeros((256, 256, 3), np.uint8)


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return load_face_landmarker()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(Image.open(PORTRAITS[0]).convert("RGB"))


def shift(picture: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(picture, pixels, axis=1)


def test_a_face_that_moves_is_followed(landmarker, portrait):
    steps = [0, 3, 6, 9, 12]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        track = follow_face((shift(portrait, s) for s in steps), FPS, "a.mp4", landmarker)
    assert track.blendshapes.shape == (5, 52)
    assert track.missing == ()
    moved = (track.head_keypoints - track.head_keypoints[0]).mean(axis=1)
    np.testing.assert_allclose(moved[:, 0], steps, atol=0.6)
    np.testing.assert_allclose(moved[:, 1], 0, atol=0.6)
    eyes = track.head_keypoints[0, 6:]
    truth = read_keypoints(PORTRAIT_KEYPOINTS[0])[0, 6:]
    assert np.abs(eyes - truth).max() < 0.05 * np.linalg.norm(truth[1] - truth[0])
    np.testing.assert_array_equal(track.get_keypoints("v3")[:, :2], track.head_keypoints[:, 6:])


def test_a_short_gap_is_filled_and_told(landmarker, portrait):
    frames = [shift(portrait, i) for i in range(20)]
    frames[9] = frames[10] = BLACK
    with pytest.warns(UserWarning, match=r"2 of 20 frames of a\.mp4, at 0\.36-0\.44 s"):
        track = follow_face(frames, FPS, "a.mp4", landmarker)
    assert track.missing == ((9, 11),)
    moved = (track.head_keypoints - track.head_keypoints[0]).mean(axis=1)[:, 0]
    np.testing.assert_allclose(moved, np.arange(20), atol=0.8)


def test_a_gap_at_an_end_holds_the_nearest_frame(landmarker, portrait):
    frames = [portrait] * 20
    frames[0] = BLACK
    with pytest.warns(UserWarning, match=r"0\.00-0\.04 s"):
        track = follow_face(frames, FPS, "a.mp4", landmarker)
    np.testing.assert_array_equal(track.head_keypoints[0], track.head_keypoints[1])


def test_a_long_gap_is_an_error_that_says_when(landmarker, portrait):
    frames = [portrait] * 4 + [BLACK] * 4
    with pytest.raises(FaceError, match=r"4 of 8 frames of a\.mp4, at 0\.16-0\.32 s"):
        follow_face(frames, FPS, "a.mp4", landmarker)


def test_a_video_without_a_face_or_frames_is_an_error(landmarker):
    with pytest.raises(FaceError, match=r"no face is seen in a\.mp4"):
        follow_face([BLACK] * 2, FPS, "a.mp4", landmarker)
    with pytest.raises(FaceError, match="no frames"):
        follow_face([], FPS, "a.mp4", landmarker)


def test_gaps():
    assert find_gaps([0, 1, 2], 3) == ()
    assert find_gaps([1, 4], 6) == ((0, 1), (2, 4), (5, 6))
