"""svp-tiny, saved and pushed, makes a portrait speak where the package is not installed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import LoopbackHub

from svp_diffusers import SVPTalkingHeadPipeline
from svp_diffusers.hub.pull import pull_repository
from svp_diffusers.samples import PORTRAITS

CODE = """
sys.meta_path.insert(0, client.PackageBlocker())
from diffusers import DiffusionPipeline

result = []
for place in json.loads({places!r}):
    pipe = DiffusionPipeline.from_pretrained(place, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.head_motion).__name__ == "HeadMotionModel"
    generator = torch.Generator().manual_seed(0)
    frames = pipe({portrait!r}, torch.zeros(3200), "happy", generator=generator, output_type="np")
    result.append(client.hashlib.sha256(frames.frames[0].tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_portrait_speaks_and_moves_its_head_without_the_package(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    portrait = str(PORTRAITS[0])
    pull_repository("svp-tiny", tmp_path / "checkpoint")  # a copy with the code
    push = f"""
from svp_diffusers import SVPTalkingHeadPipeline
pipe = SVPTalkingHeadPipeline.from_pretrained({str(tmp_path / "checkpoint")!r})
pipe.push_to_hub("org/svp-tiny")
result = None
"""
    run_python(push)
    reloaded = SVPTalkingHeadPipeline.from_pretrained(tmp_path / "checkpoint")
    reloaded.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other processes, so that the last bits agree
    try:
        output = reloaded(
            portrait, torch.zeros(3200), "happy", generator=generator, output_type="np"
        )
    finally:
        torch.set_num_threads(threads)
    expected = hashlib.sha256(output.frames[0].tobytes()).hexdigest()
    places = json.dumps([str(tmp_path / "checkpoint"), "org/svp-tiny"])
    assert run_python(CODE.format(places=places, portrait=portrait)) == [expected, expected]
