"""A checkpoint whose weights are not all there, or no numbers, is refused when it is loaded."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svp_diffusers.checkpoints.loading import SVP_TINY, load_pipeline
from svp_diffusers.errors import CheckpointError
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

COMPONENTS = sorted(path.parent.name for path in SVP_TINY.glob("*/*.safetensors"))

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of svp-tiny, which a test may change and puts right again."""
    return shutil.copytree(SVP_TINY, tmp_path_factory.mktemp("checkpoint") / "copy")


def lose(weights: Weights, name: str) -> None:
    del weights[name]


def spoil(weights: Weights, name: str) -> None:
    weights[name].view(-1)[0] = torch.nan


FEW = [("audio_encoder", lose), ("vae", lose), ("style_encoder", spoil)]
ALL = list(product(COMPONENTS, [lose, spoil]))


@pytest.mark.parametrize(
    ("component", "damage"),
    [*FEW, *(pytest.param(*each, marks=pytest.mark.slow) for each in ALL if each not in FEW)],
)
def test_the_component_is_named(
    checkpoint: Path, component: str, damage: Callable[[Weights, str], None]
) -> None:
    (original,) = (SVP_TINY / component).glob("*.safetensors")
    weights = load_file(original)
    floats = [name for name, each in weights.items() if each.is_floating_point()]
    name = max((each for each in floats if each.endswith("weight")), key=str)
    damage(weights, name)
    path = checkpoint / component / original.name
    save_file(weights, path, metadata={"format": "pt"})
    try:
        with pytest.raises(CheckpointError) as caught:
            load_pipeline(checkpoint, torch.device("cpu"), "float32")
    finally:
        shutil.copyfile(original, path)
    named = "TemporalUNet" if (component, damage) == ("unet", lose) else f"The {component} "
    assert named in str(caught.value)
    assert name.split(".")[0] in str(caught.value)


def test_a_checkpoint_in_a_subfolder_is_loaded(checkpoint: Path) -> None:
    loaded = SVPTalkingHeadPipeline.from_pretrained(checkpoint.parent, subfolder="copy")
    assert loaded.config.guidance_scale == 1
    with pytest.raises(ValueError, match="There is no folder"):
        SVPTalkingHeadPipeline.from_pretrained(checkpoint.parent, subfolder="gone")
