"""A style adapter goes to the Hub with its card, and onto its base from there, with any code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackHub

from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.contents import check_contents, list_files

PUSH = """
from pathlib import Path
from svp_diffusers.cli.main import app
from svp_diffusers.hub.pull import pull_repository
from svp_diffusers.pipelines.style_adapter_svp import get_style_weights

pipe = client.build()
for name, weight in get_style_weights(pipe.unet).items():
    if ".to_out." in name:
        weight.zero_()
pipe.push_to_hub("org/base")
result = {{"base": client.digest_frames(pipe), "plain": client.measure_frames(pipe)}}
generator = torch.Generator().manual_seed(1)
for weight in get_style_weights(pipe.unet).values():
    weight.normal_(std=0.3, generator=generator)
pipe.style_encoder.add_style("mine", pipe.style_encoder.get_style("happy"))
pipe.save_style_adapter({folder!r}, base_model="org/base")
app(["push", {folder!r}, "org/style"], standalone_mode=False)
pulled = pull_repository("org/style", Path({folder!r} + "-pulled"))
result["trained"] = client.measure_frames(pipe)
result["pulled"] = sorted(path.name for path in pulled.iterdir())
"""

LOAD = """
if not {package}:
    sys.meta_path.insert(0, client.PackageBlocker())
pipe = client.load("own" if {package} else "remote", "org/base")
result = {{"base": client.digest_frames(pipe), "plain": client.measure_frames(pipe)}}
pipe.load_style_adapter("org/style", revision="main")
result["names"] = list(pipe.style_encoder.style_bank) if {package} else None
result["trained"] = client.measure_frames(pipe)
pipe.set_style_adapter_scale(0.0)
result["zero"] = client.digest_frames(pipe)
pipe.unload_style_adapter()
result["unloaded"] = client.digest_frames(pipe)
pipe.load_style_adapter("org/style")
with torch.no_grad():
    pipe.unet.conv_in.weight.neg_()
try:
    pipe.load_style_adapter("org/style")
except ValueError as error:
    result["refusal"] = f"{{type(error).__name__}}: {{error}}"
"""


@pytest.fixture(scope="module")
def pushed(
    run_python: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("adapter") / "style"
    return folder, run_python(PUSH.format(folder=str(folder)))


def test_it_is_pushed_private_with_a_card_that_names_its_base(
    pushed: tuple[Path, Any], hub: LoopbackHub
) -> None:
    files = hub.files("org/style")
    assert hub.repositories["org/style"].private
    assert set(files) == {
        "README.md",
        "style_adapter.json",
        "style_adapter.safetensors",
        "style_encoder/config.json",
        "style_encoder/diffusion_pytorch_model.safetensors",
    }
    card = files["README.md"].decode()
    assert "base_model: org/base" in card
    assert 'pipe.load_style_adapter("org/style")' in card
    assert "style_adapter.safetensors" in pushed[1]["pulled"]


@pytest.mark.parametrize("package", [True, False])
def test_it_is_loaded_from_the_hub_with_and_without_the_package(
    pushed: tuple[Path, Any], run_python: Callable[..., Any], package: bool
) -> None:
    expected, result = pushed[1], run_python(LOAD.format(package=package))
    # Weights that lie elsewhere in memory may give other last bits.
    for name in ("plain", "trained"):
        np.testing.assert_allclose(result[name], expected[name], atol=1e-5)
    assert np.abs(np.subtract(expected["trained"], expected["plain"])).max() > 1e-3
    assert result["zero"] == result["unloaded"] == result["base"]
    assert result["refusal"].startswith("StyleAdapterError: ")
    assert "trained on org/base" in result["refusal"]
    if package:
        assert "mine" in result["names"]


def test_an_incomplete_one_is_not_pushed(pushed: tuple[Path, Any]) -> None:
    (pushed[0] / "style_adapter.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not the description"):
        check_contents(pushed[0], list_files(pushed[0]))
