"""The animated face, or several, in the whole picture, before anything is encoded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from svp_diffusers.cli.main import app
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.generation import finished_video, generate
from svp_diffusers.generation.request import parse_speakers
from svp_diffusers.media.audio import Recording

from .conftest import write_speech
from .test_generation import FoundFaces, request

FACES = ((300, 300, 460, 480), (800, 320, 940, 480), (1400, 200, 1500, 320))
"""Left, top, right, bottom; the largest first, as they are numbered."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """1080p and a row and a column more, smooth with some grain."""
    y, x = np.mgrid[:1081, :1921]
    waves = [127 + 60 * np.sin(x / 150 + phase) + 40 * np.cos(y / 110) for phase in (0, 1, 2)]
    grain = np.random.default_rng(0).normal(scale=2, size=(1081, 1921, 3))
    path = tmp_path / "picture.png"
    Image.fromarray((np.stack(waves, axis=2) + grain).clip(0, 255).astype(np.uint8)).save(path)
    return path


def make(
    monkeypatch: pytest.MonkeyPatch,
    files: Path,
    picture: Path,
    faces: tuple[tuple[int, int, int, int], ...] = FACES,
    **changes: Any,
) -> tuple[np.ndarray, np.ndarray, Recording]:
    """The first and last frames as they are before encoding, the picture, and the sound."""
    kept: list[Any] = []

    def keep(
        path: Path, frames: Iterable[np.ndarray], fps: Any, sound: Recording, tags: Any
    ) -> None:
        every = list(frames)
        kept.extend([np.stack([every[0], every[-1]]), sound])
        path.write_bytes(b"a video")

    monkeypatch.setattr(finished_video, "write_video", keep)
    made = request(files, picture.with_name("v.mp4"), image=picture, detect_face=True)
    made = type(made)(**{**vars(made), "paste_back": True, **changes})
    generate.generate_video(made, detector=FoundFaces(*faces))
    frames, sound = kept
    return frames.astype(int), np.asarray(Image.open(picture)).astype(int)[:1080, :1920], sound


def box_of_crop(face: tuple[int, int, int, int]) -> tuple[slice, slice]:
    left, top, right, bottom = face
    side = 2 * max(right - left, bottom - top)
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    return slice(y, y + side), slice(x, x + side)


def within(face: tuple[int, int, int, int]) -> tuple[slice, slice]:
    left, top, right, bottom = face
    return slice(top, bottom), slice(left, right)


@pytest.mark.filterwarnings("ignore:3 faces")
def test_one_face_moves_and_all_else_stays_bit_for_bit(
    files: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, before, _ = make(monkeypatch, files, picture, face_index=1)
    assert frames.shape == (2, 1080, 1920, 3)
    rows, columns = box_of_crop(FACES[1])
    changed = (frames != before).any(axis=(0, 3))
    assert changed[within(FACES[1])].mean() > 0.9
    changed[rows, columns] = False
    assert not changed.any()
    # Steps between neighbouring pixels across the crop's borders are those of the picture.
    for axis, edges in ((2, columns), (1, rows)):
        steps = np.diff(frames, axis=axis) - np.diff(before[None], axis=axis)
        for edge in (edges.start, edges.stop):
            across = np.take(steps, np.arange(edge - 3, edge + 3), axis=axis)
            assert np.abs(across).max() <= 2


def test_each_speaker_moves_to_its_own_voice_and_the_others_not_at_all(
    files: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers = {
        1: write_speech(tmp_path / "anna.wav", 0.4),
        0: write_speech(tmp_path / "ben.wav", 0.8, rate=22050),
    }
    frames, before, sound = make(monkeypatch, files, picture, audio=None, speakers=speakers)
    changed = (frames != before).any(axis=(0, 3))
    assert changed[within(FACES[0])].mean() > 0.9
    assert changed[within(FACES[1])].mean() > 0.9
    for face in FACES[:2]:
        changed[box_of_crop(face)] = False
    assert not changed.any()
    assert sound.duration == pytest.approx(0.8)
    assert sound.sampling_rate == 22050
    loudness = [np.square(half).mean() for half in np.split(sound.samples[0], 2)]
    assert loudness[0] > 1.5 * loudness[1]  # two voices, then one
    alone, _, heard = make(
        monkeypatch, files, picture, audio=speakers[0], speakers={0: speakers[0]}
    )
    assert heard.source.endswith("ben.wav")
    assert np.array_equal(
        alone[:, within(FACES[1])[0], within(FACES[1])[1]], np.stack([before[within(FACES[1])]] * 2)
    )


def test_a_neighbour_inside_the_crop_is_left_alone(
    files: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = ((300, 300, 460, 480), (480, 310, 600, 450))
    frames, before, _ = make(monkeypatch, files, picture, near, face_index=0)
    changed = (frames != before).any(axis=(0, 3))
    assert not changed[within(near[1])].any()
    assert changed[within(near[0])].mean() > 0.9


def test_speakers_are_numbers_and_files(files: Path, tmp_path: Path) -> None:
    assert parse_speakers(["1:a b.wav", "0:C:/x.wav"]) == {1: Path("a b.wav"), 0: Path("C:/x.wav")}
    for wrong in (["anna.wav"], ["0:"], ["-1:a.wav"], ["0:a.wav", "0:b.wav"]):
        with pytest.raises(ConfigurationError, match="--speaker"):
            parse_speakers(wrong)
    arguments = ["generate", "no.png", "--speaker", "0:a.wav", "--speaker", "1:b.wav"]
    arguments += ["-o", str(tmp_path / "v.mp4")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "add --paste-back" in str(result.exception)
