"""Fixtures that several areas use."""

from pathlib import Path

import pytest

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real portraits, speech and clips, which is not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the folder of real data, {REAL_DATA}, is absent")
    return REAL_DATA
