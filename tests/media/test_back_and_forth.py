"""A short video lasts as long as it must, by running back and forth."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from svp_diffusers.media import back_and_forth
from svp_diffusers.media.back_and_forth import read_back_and_forth
from svp_diffusers.media.keypoints import play_back_and_forth
from svp_diffusers.media.video import write_video

FPS = Fraction(25)
LENGTH = 7


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "steps.mp4"
    frames = (np.full((16, 16, 3), 30 * number, np.uint8) for number in range(LENGTH))
    write_video(path, frames, FPS)
    return path


@pytest.mark.parametrize("held", [2, 32])
@pytest.mark.parametrize(
    ("length", "frames"), [(7, 3), (7, 7), (7, 8), (7, 12), (7, 13), (7, 30), (2, 5), (1, 4)]
)
def test_frames_come_in_their_order(
    video: Path, length: int, frames: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_and_forth, "HELD_FRAMES", held)
    shown = [int(each.mean()) for each in read_back_and_forth(video, FPS, length, frames)]
    assert [round(each / 30) for each in shown] == list(play_back_and_forth(length, frames))
