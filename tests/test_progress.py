"""What is shown of long commands."""

import pytest

from svp_diffusers.cli.progress import show_progress


def test_tenths_are_told_where_no_bar_can_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as on_progress:
        for done in range(1, 41):
            on_progress("frames", done, 40)
        told = capsys.readouterr().err.splitlines()
    assert told == [f"frames: {done} of 40" for done in range(4, 41, 4)]


def test_nothing_is_printed_where_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    """An error comes next, and its line is the first."""
    with show_progress():
        pass
    assert capsys.readouterr().err == ""
