"""Commands that are killed at random moments lose nothing, and leave nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
# Those whose runs take a second or two; `python -m tests.kills.run` kills all, 20 times each.
COMMANDS = ("generate", "data synth", "style add", "push", "train head-motion")


@pytest.mark.slow(minutes=3)
def test_commands_that_are_killed_end_as_those_that_are_not() -> None:
    command = [sys.executable, "-m", "tests.kills.run", "--points", "2", "--only", *COMMANDS]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert all(f"{name}: " in done.stdout for name in COMMANDS)
