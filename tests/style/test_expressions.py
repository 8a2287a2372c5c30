"""Coefficient files are read as they are meant, and refused with a reason when they are not."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from svp_diffusers.errors import ExpressionError, FaceError, MediaError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.track import Expressions
from svp_diffusers.expression.video import read_video_expressions
from svp_diffusers.media.audio import Recording
from svp_diffusers.media.video import write_video
from svp_diffusers.samples import PORTRAITS
from svp_diffusers.style.clip import read_clip


def write_mat(path: Path, frames: int = 20) -> np.ndarray:
    coeff = np.arange(frames * 257, dtype=np.float32).reshape(frames, 257)
    savemat(path, {"coeff": coeff})
    return coeff


def test_mat_gives_the_64_expression_columns(tmp_path: Path) -> None:
    coeff = write_mat(tmp_path / "clip.mat")
    expressions = read_expressions(tmp_path / "clip.mat")
    assert expressions.space == "bfm64"
    np.testing.assert_array_equal(expressions.values, coeff[:, 80:144])


def test_a_real_mead_clip_is_read(real_data: Path) -> None:
    clip = real_data / "expressions/mead/M030_front_happy_level3_001.mat"
    assert read_expressions(clip).values.shape == (94, 64)


def test_another_frame_rate_is_resampled_to_25_and_keeps_the_duration(tmp_path: Path) -> None:
    write_mat(tmp_path / "clip.mat", frames=60)
    expressions = read_expressions(tmp_path / "clip.mat", Fraction(30))
    assert (expressions.fps, len(expressions.values)) == (25, 50)
    # The columns rise by 257 a frame at 30 fps, so by 257 * 30 / 25 at 25 fps.
    np.testing.assert_allclose(np.diff(expressions.values, axis=0)[:-1], 308.4, rtol=1e-4)


def test_npz_says_its_space_and_rate(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((30, 52), dtype=np.float32)
    np.savez(tmp_path / "clip.npz", expression=values, space="arkit52", fps=25)
    expressions = read_expressions(tmp_path / "clip.npz")
    assert expressions.space == "arkit52"
    np.testing.assert_array_equal(expressions.values, values)
    np.savez(tmp_path / "bare.npz", expression=values)
    with pytest.raises(ExpressionError, match="lacks space, fps"):
        read_expressions(tmp_path / "bare.npz")


def write_live_link(path: Path, frames: int = 60) -> None:
    """The layout of Live Link Face: capital names in its own order, then rotations."""
    names = [name[0].upper() + name[1:] for name in reversed(ARKIT_BLENDSHAPES)]
    header = ["Timecode", "BlendShapeCount", *names, "HeadYaw", "HeadPitch", "HeadRoll"]
    rows = [
        [f"14:35:27:{frame:02d}.000", "61", *(f"{0.01 * i:.2f}" for i in range(52)), "0", "0", "0"]
        for frame in range(frames)
    ]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")


def test_live_link_face_columns_are_found_by_name_at_60_frames_per_second(tmp_path: Path) -> None:
    write_live_link(tmp_path / "clip.csv")
    expressions = read_expressions(tmp_path / "clip.csv")
    assert expressions.values.shape == (25, 52)
    assert expressions.values[0, ARKIT_BLENDSHAPES.index("tongueOut")] == 0.0
    assert expressions.values[0, 0] == pytest.approx(0.51)  # browDownLeft was written last


def film(path: Path, sample: int, frames: int = 8) -> Path:
    picture = np.asarray(Image.open(PORTRAITS[sample]).convert("RGB"))
    write_video(path, [np.roll(picture, index, axis=1) for index in range(frames)], Fraction(30))
    return path


def test_a_video_shows_its_expressions_at_25_frames_per_second(tmp_path: Path) -> None:
    expressions = read_video_expressions(film(tmp_path / "a.mp4", 0, 12))
    assert expressions.space == "arkit52"
    assert expressions.fps == 25
    assert expressions.values.shape == (10, 52)
    jaw = expressions.values[:, ARKIT_BLENDSHAPES.index("jawOpen")]
    assert (jaw < 0.3).all()  # the sample's mouth is closed
    assert (expressions.values[:, ARKIT_BLENDSHAPES.index("tongueOut")] == 0).all()
    other = read_video_expressions(film(tmp_path / "b.mp4", 2, 12))
    assert np.abs(expressions.values - other.values).max() > 0.05


def test_a_clip_on_video_has_expressions_for_encoders_of_their_space(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", 0, 4)
    expressions, recording = read_clip(video, "arkit52")
    assert recording is None  # it is silent
    np.testing.assert_array_equal(expressions.values, read_video_expressions(video).values)
    with pytest.raises(ExpressionError, match=r"gives arkit52 .* takes bfm64"):
        read_clip(video, "bfm64")


def test_unusable_sound_is_told_before_the_pictures_of_a_video_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svp_diffusers.style.clip.read_video_expressions", lambda *_: 1 / 0)
    hush = Recording(np.full((1, 6400), 1e-6, np.float32), 16000, "hush")
    frames = [np.zeros((64, 64, 3), np.uint8)] * 10
    write_video(tmp_path / "a.mp4", frames, Fraction(25), hush)
    with pytest.raises(MediaError, match="silent"):
        read_clip(tmp_path / "a.mp4", "arkit52")


def test_a_video_without_a_face_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [np.zeros((128, 128, 3), np.uint8)] * 3, Fraction(25))
    with pytest.raises(FaceError, match=r"no face is seen in a\.mp4"):
        read_video_expressions(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="does not exist"):
        read_video_expressions(tmp_path / "none.mp4")


def test_files_that_are_not_coefficients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        read_expressions(tmp_path / "none.mat")
    (tmp_path / "text.mat").write_text("hello")
    with pytest.raises(ExpressionError, match=r"not a readable \.mat"):
        read_expressions(tmp_path / "text.mat")
    savemat(tmp_path / "other.mat", {"x": np.zeros(3)})
    with pytest.raises(ExpressionError, match="no variable `coeff`"):
        read_expressions(tmp_path / "other.mat")
    savemat(tmp_path / "narrow.mat", {"coeff": np.zeros((9, 64))})
    with pytest.raises(ExpressionError, match=r"\(frames, 257\)"):
        read_expressions(tmp_path / "narrow.mat")
    (tmp_path / "sheet.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ExpressionError, match="no Live Link Face export"):
        read_expressions(tmp_path / "sheet.csv")
    (tmp_path / "clip.txt").write_text("1")
    with pytest.raises(ExpressionError, match="no coefficient file"):
        read_expressions(tmp_path / "clip.txt")


def test_nan_and_unknown_spaces_are_refused() -> None:
    values = np.zeros((10, 64), np.float32)
    values[7, 3] = np.nan
    with pytest.raises(ExpressionError, match="first in frame 7"):
        Expressions(values, "bfm64", Fraction(25), "clip.mat")
    with pytest.raises(ExpressionError, match="known are bfm64, arkit52"):
        Expressions(np.zeros((10, 50), np.float32), "flame50", Fraction(25), "clip.npz")
    with pytest.raises(ExpressionError, match=r"\(frames, 52\)"):
        Expressions(np.zeros((10, 64), np.float32), "arkit52", Fraction(25), "clip.npz")
