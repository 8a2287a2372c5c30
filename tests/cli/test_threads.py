"""How the threads of the command wait for each other."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "used"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")]
)
def test_they_do_not_spin_unless_the_environment_says_so(given: dict[str, str], used: str) -> None:
    """OpenMP itself is asked: it prints what it took when PyTorch is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_WAIT")}
    command = [sys.executable, "-m", "svp_diffusers", "info"]
    environment = {**kept, **given, "OMP_DISPLAY_ENV": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("the OpenMP of this PyTorch does not tell")
    assert f"OMP_WAIT_POLICY = '{used}'" in done.stderr
