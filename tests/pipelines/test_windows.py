"""Windows of frames: where they lie, and how what is predicted in them is blended."""

import pytest
import torch

from svp_diffusers.pipelines.windows_svp import (
    BlendedWindows,
    context_windows,
    cyclic_windows,
    take_frames,
    window_weights,
)


def test_neighbouring_windows_share_as_many_frames_as_asked() -> None:
    assert context_windows(50, 24, 4) == [(0, 24), (20, 44), (26, 50)]
    assert context_windows(44, 24, 4) == [(0, 24), (20, 44)]
    assert context_windows(24, 24, 4) == [(0, 24)]
    assert context_windows(25, 24, 4) == [(0, 24), (1, 25)]
    assert context_windows(5, 24, 4) == [(0, 5)]


def test_cyclic_windows_run_over_the_end_and_move_on() -> None:
    assert cyclic_windows(10, 4, 1) == [(0, 4), (3, 7), (6, 10), (9, 13)]
    assert cyclic_windows(10, 4, 1, shift=8) == [(8, 12), (1, 5), (4, 8), (7, 11)]
    assert cyclic_windows(3, 4, 1, shift=1) == [(1, 4)]
    assert cyclic_windows(4, 4, 1) == [(0, 4)]


def test_a_window_over_the_end_goes_on_at_the_beginning() -> None:
    frames = torch.arange(6)[None]
    assert take_frames(frames, 4, 8, dim=1).tolist() == [[4, 5, 0, 1]]
    assert take_frames(frames, 2, 6, dim=1).tolist() == [[2, 3, 4, 5]]
    assert take_frames(frames[0], 5, 7, dim=0).tolist() == [5, 0]


@pytest.mark.parametrize("overlap", [1, 3, 4])
def test_one_window_gives_way_to_the_next_in_equal_steps(overlap: int) -> None:
    """From a prediction of 0 to one of 1, over all the frames that both saw."""
    length = 10
    blended = BlendedWindows(torch.zeros(1, 2 * length - overlap, 1, 1), overlap)
    blended.add(0, length, torch.zeros(1, length, 1, 1))
    blended.add(length - overlap, 2 * length - overlap, torch.ones(1, length, 1, 1))
    steps = torch.arange(1, overlap + 1) / (overlap + 1)
    alone = torch.zeros(length - overlap)
    expected = torch.cat([alone, steps, alone + 1])
    torch.testing.assert_close(blended.mean()[0, :, 0, 0], expected)


def test_windows_that_do_not_fade_are_averaged() -> None:
    assert window_weights(6, 0).tolist() == [1] * 6
    blended = BlendedWindows(torch.zeros(1, 4, 1, 1), 0)
    for start, value in ((0, 1.0), (2, 3.0)):  # the second runs over the end
        blended.add(start, start + 3, torch.full((1, 3, 1, 1), value))
    assert blended.mean().flatten().tolist() == [2, 1, 2, 3]
