"""A frame hears its own moment of the speech, and as much before it as after it."""

import numpy as np
import pytest
import torch

from svp_diffusers.pipelines.sound_svp import regroup
from svp_diffusers.pipelines.speech_svp import window_audio


@pytest.mark.parametrize("around", [0, 2])
def test_a_frame_hears_its_own_moment_and_as_much_before_as_after(around: int) -> None:
    """Of two embeddings a frame, numbered from 1; 0 is beyond the ends."""
    frames = 12
    windows = window_audio(torch.arange(1.0, 2 * frames + 1)[:, None], frames, around)
    assert windows.shape == (frames, 2 * (2 * around + 1), 1)
    for frame, window in enumerate(windows[..., 0].tolist()):
        heard = range(2 * (frame - around), 2 * (frame + around + 1))
        assert window == [i + 1 if 0 <= i < 2 * frames else 0 for i in heard]


def test_a_click_is_heard_by_the_frame_that_shows_it_at_any_frame_rate() -> None:
    """50 embeddings a second; the frame that shows the moment 1.05 s hears it in its middle."""
    embeddings = torch.zeros(100, 1)
    embeddings[52] = 1
    for fps in (24, 25, 30, 50):
        windows = window_audio(embeddings, 2 * fps, 2)[..., 0]
        assert windows[:, 4:6].sum(1).argmax() == int(1.05 * fps)


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_each_half_of_a_frame_hears_the_moment_of_its_own_middle(fps: int) -> None:
    """Of embeddings that are the moments of their middles, in fiftieths of a second."""
    moments = torch.arange(100)[:, None] + 0.5
    heard = window_audio(moments, 2 * fps, 0)[..., 0]
    wanted = (torch.arange(4 * fps) + 0.5) * 100 / (4 * fps)
    torch.testing.assert_close(heard.flatten(), wanted.clamp(0.5, 99.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("lengths", [[100], [7, 0, 30, 3, 60], [30, 30, 40], [1] * 100])
def test_pieces_of_one_size_keep_no_longer_one_alive(lengths: list[int]) -> None:
    """Ten minutes given at once took as much memory for each of their pieces."""
    waveform = np.arange(100, dtype=np.float32)
    cuts = np.cumsum(lengths)[:-1]
    pieces = list(regroup(np.split(waveform, cuts), 30))
    assert [len(piece) for piece in pieces] == [30, 30, 30, 10]
    np.testing.assert_array_equal(np.concatenate(pieces), waveform)
    assert all(piece.base is None for piece in pieces)
