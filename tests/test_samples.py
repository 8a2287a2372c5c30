"""The samples that ship with the package are what `make.py` makes, and fit together."""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from svp_diffusers.samples import HEAD_MOTION, PORTRAIT_KEYPOINTS, PORTRAITS, SPEECH
from svp_diffusers.samples.make import make_samples


def read_integers(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        return np.asarray(Image.open(path)).astype(int)
    return soundfile.read(path, dtype="int16")[0].astype(int)


def test_the_samples_are_what_make_samples_makes(tmp_path: Path) -> None:
    """To one step of 8 or 16 bits: other versions of NumPy, SciPy and ThorVG round otherwise; the
    rendered people to two, and at few edges more, on other processors."""
    make_samples(tmp_path)
    shipped = {*PORTRAITS, *PORTRAIT_KEYPOINTS, *SPEECH, HEAD_MOTION}
    assert {path.name for path in shipped} == {path.name for path in tmp_path.iterdir()}
    for path in shipped:
        made = tmp_path / path.name
        if path.suffix == ".npy":
            assert np.allclose(np.load(path), np.load(made), atol=1e-3)
        elif path in PORTRAITS[:2]:
            difference = np.abs(read_integers(path) - read_integers(made))
            assert (difference > 2).mean() < 0.005
        else:
            shipped_values, made_values = read_integers(path), read_integers(made)
            assert np.abs(shipped_values - made_values).max() <= 1
            assert (shipped_values != made_values).mean() < 0.001
    assert sum(path.stat().st_size for path in shipped) < 500_000


def test_a_portrait_is_in_the_first_pose_of_the_motion() -> None:
    motion = np.load(HEAD_MOTION)
    assert motion.shape[1:] == (8, 2)
    assert np.array_equal(motion[0], np.load(PORTRAIT_KEYPOINTS[0]))
    for path in PORTRAIT_KEYPOINTS:
        keypoints = np.load(path)
        left_eye, right_eye = keypoints[6], keypoints[7]
        assert 30 < right_eye[0] - left_eye[0] < 80  # of 256 pixels
        middle = keypoints.mean(axis=0)
        assert np.abs(middle - 128).max() < 40
