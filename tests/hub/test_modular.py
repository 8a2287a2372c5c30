"""A checkpoint by Modular Diffusers: the frames of a call, and blocks that can be replaced."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackHub

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.pipelines.modular_svp import SVPTalkingHeadBlocks, describe_blocks
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

RUN = """
import numpy as np
from diffusers import DiffusionPipeline, ModularPipeline
from diffusers.modular_pipelines import InputParam, ModularPipelineBlocks, OutputParam
if not {package}:
    sys.meta_path.insert(0, client.PackageBlocker())

class Grey(ModularPipelineBlocks):
    "A user's own block, in place of the one that decodes."

    inputs = [InputParam("latents", required=True)]
    intermediate_outputs = [OutputParam("frames"), OutputParam("shape")]

    def __call__(self, components, state):
        values = self.get_block_state(state)
        values.frames, values.shape = "grey", list(values.latents.shape)
        self.set_block_state(state, values)
        return components, state

pipe = DiffusionPipeline.from_pretrained("org/modular", trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
asked = client.inputs() | {{"style": "from_audio", "num_videos_per_style": 2}}
called = pipe(**asked, output_type="np")
modular = ModularPipeline.from_pretrained("org/modular", trust_remote_code=True)
modular.load_components(trust_remote_code=True)
modular.pipeline.set_progress_bar_config(disable=True)
asked["generator"].manual_seed(0)
made = modular(**asked, output_type="np", output=["frames", "styles"])
same = [np.array_equal(a, b) for a, b in zip(called.frames, made["frames"], strict=True)]
same += [torch.equal(a, b) for a, b in zip(called.styles, made["styles"], strict=True)]

blocks = modular.blocks
blocks.sub_blocks["decode"] = Grey()
own = blocks.init_pipeline("org/modular")
own.update_components(pipeline=pipe)
asked["generator"].manual_seed(0)
replaced = own(**asked, output=["frames", "shape"])
result = {{"same": same, "replaced": replaced}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", [True, False])
def test_blocks_give_the_frames_of_a_call_and_can_be_replaced(
    hub: LoopbackHub,
    run_python: Callable[..., Any],
    tmp_path: Path,
    package: bool,
) -> None:
    build_random_pipeline().save_pretrained(tmp_path)
    for name, text in describe_blocks("org/modular").items():  # as a push does
        (tmp_path / name).write_text(text)
    hub.add_folder("org/modular", tmp_path)
    result = run_python(RUN.format(package=package))
    assert result["same"] == [True] * 4
    assert result["replaced"] == {"frames": "grey", "shape": [2, 4, 10, 16, 16]}


def test_blocks_take_what_a_call_takes() -> None:
    """But for what is about the steps themselves."""
    parameters = dict(inspect.signature(SVPTalkingHeadPipeline.__call__).parameters)
    for name in ("self", "return_dict"):
        del parameters[name]
    parameters = {name: each for name, each in parameters.items() if "callback" not in name}
    inputs = {each.name: each for each in SVPTalkingHeadBlocks().inputs}
    assert set(inputs) == set(parameters)
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        assert inputs[name].required == required
        assert inputs[name].default == (None if required else parameter.default)
