"""Whatever the Python API is called with that cannot be right: our own error says so, and soon.

Each kind ends with a `ValueError` or `TypeError` that our code raises, before any network runs and
before anything is looked for on the Hub, within two seconds; no file appears or changes.
"""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import svp_diffusers
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .bad_calls import CALLS

OURS = str(Path(svp_diffusers.__file__).parent)


@pytest.fixture
def without_networks(tiny_pipeline: SVPTalkingHeadPipeline) -> Iterator[SVPTalkingHeadPipeline]:
    """A pipeline none of whose networks may run."""

    def refuse(module: nn.Module, inputs: object) -> None:
        raise AssertionError(f"{type(module).__name__} ran")

    networks = [part for part in tiny_pipeline.components.values() if isinstance(part, nn.Module)]
    encoder = tiny_pipeline.style_encoder  # which checks what it is given itself
    inside = [each for each in networks if each is not encoder] + list(encoder.children())
    hooks = [network.register_forward_pre_hook(refuse) for network in inside]
    yield tiny_pipeline
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("kind", CALLS)
def test_a_bad_call_is_told_at_once(
    without_networks: SVPTalkingHeadPipeline,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises((ValueError, TypeError)) as caught:
        CALLS[kind](without_networks, tmp_path)
    assert time.process_time() - started < 2
    assert str(caught.value)
    raised_in = traceback.extract_tb(caught.value.__traceback__)[-1].filename
    assert raised_in.startswith(OURS), f"{caught.value} in {raised_in}"
    assert {path.name for path in tmp_path.rglob("*")} <= {"file", "model_index.json"}


def test_there_are_enough_kinds() -> None:
    assert len(CALLS) >= 80
