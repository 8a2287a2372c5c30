"""Fixtures that several areas use."""

from pathlib import Path

import pytest

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that no process works on alone at the end."""

    def minutes(item: pytest.Item) -> float:
        slow = item.get_closest_marker("slow")
        return slow.kwargs.get("minutes", 0) if slow else 0

    items.sort(key=minutes, reverse=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real portraits, speech and clips, which is not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the folder of real data, {REAL_DATA}, is absent")
    return REAL_DATA


@pytest.fixture(scope="session")
def tiny_pipeline() -> SVPTalkingHeadPipeline:
    """Tiny random weights, shared: a test that changes it must work on a copy."""
    pipeline = build_random_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
