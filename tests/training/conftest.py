"""A small set of drawn talkers to train on."""

from fractions import Fraction

import pytest
from accelerate.state import AcceleratorState

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.talkers.synthesis import SynthesisSettings, make_clip


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps one state a process; every test here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def drawn_talkers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 clips to train on and 4 to validate with, of 10 pictures of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("drawn_talkers")
    settings = SynthesisSettings(seed=5, size=32, fps=Fraction(10), seconds=1.0)
    with ShardWriter(folder) as writer:
        for index in (*range(24), *range(32, 36)):
            writer.write(encode_clip(make_clip(settings, index)))
    return str(folder)
