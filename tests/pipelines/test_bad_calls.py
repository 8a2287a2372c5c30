"""Whatever the Python API is called with that cannot be right: an error of ours says so, and soon.

Each kind ends with a `ValueError` or `TypeError` that our code raises, before any network runs and
before the Hub is asked for anything, within two seconds; no file appears or changes.
"""

import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import svp_diffusers
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .bad_calls import CALLS

OURS = str(Path(svp_diffusers.__file__).parent)
SUBJECTS = [*sorted({kind.partition(":")[0] for kind in CALLS if ":" in kind}), "others"]


@pytest.fixture
def idle_pipeline(tiny_pipeline: SVPTalkingHeadPipeline) -> Iterator[SVPTalkingHeadPipeline]:
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


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_bad_call_is_told_at_once(
    idle_pipeline: SVPTalkingHeadPipeline,
    subject: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong: list[str] = []
    for number, (kind, run) in enumerate(CALLS.items()):
        if (kind.partition(":")[0] if ":" in kind else "others") != subject:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        problem = try_call(lambda run=run, folder=folder: run(idle_pipeline, folder))
        left = {path.name for path in folder.rglob("*")} - {"file", "model_index.json"}
        if problem or left:
            wrong.append(f"{kind}: {problem or f'{left} is left'}")
    assert not wrong, "\n".join(wrong)


def try_call(run) -> str:
    """What is wrong with how a call fails; empty if nothing is."""
    started = time.process_time()
    try:
        run()
    except (ValueError, TypeError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if not str(error):
            return "an error without a word"
        if not raised_in.startswith(OURS):
            return f"{type(error).__name__} in {raised_in}: {error}"
        return "" if time.process_time() - started < 2 else "it took over 2 s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_the_kinds_are_many() -> None:
    assert len(CALLS) >= 80
