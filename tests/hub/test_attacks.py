"""Repositories that are made to harm: each fails with an error that says what is wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import LoopbackHub

import svp_diffusers
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.contents import check_contents, check_names, list_files
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

WEIGHTS = "diffusion_pytorch_model"


class Exploit:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    build_random_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def evil(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "evil")


@pytest.fixture
def exploited(tmp_path: Path) -> Path:
    return tmp_path / "exploited"


def put_pickle(folder: Path, exploited: Path) -> None:
    (folder / "unet" / f"{WEIGHTS}.safetensors").unlink()
    torch.save({"conv_in.weight": Exploit(exploited)}, folder / "unet" / f"{WEIGHTS}.bin")


def set_component(folder: Path, name: str, entry: list[str]) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: entry}))


def check(folder: Path) -> None:
    """What `svp push` and `svp pull` check."""
    names = list_files(folder)
    check_names(names, "evil")
    check_contents(folder, names)


def test_a_pickle_in_place_of_safetensors(evil: Path, exploited: Path) -> None:
    put_pickle(evil, exploited)
    with pytest.raises(CheckpointError, match="a pickle, which can run any code"):
        check(evil)
    with pytest.raises(OSError, match="safetensors"):
        SVPTalkingHeadPipeline.from_pretrained(evil)
    assert not exploited.exists()


def test_a_pickled_lora(checkpoint: Path, tmp_path: Path, exploited: Path) -> None:
    weights = tmp_path / "pytorch_lora_weights.bin"
    torch.save({"unet.x.lora_A.weight": Exploit(exploited)}, weights)
    pipe = SVPTalkingHeadPipeline.from_pretrained(checkpoint)
    with pytest.raises(OSError, match="safetensors"):
        pipe.load_lora_weights(str(tmp_path))
    assert not exploited.exists()


def test_a_component_whose_path_leaves_the_folder(evil: Path, exploited: Path) -> None:
    (evil.parent / "escaped.py").write_text(f"import os; os.mkdir({str(exploited)!r})")
    set_component(evil, "unet", ["../../escaped", "TemporalUNet"])
    with pytest.raises(ValueError, match="names the component unet"):
        SVPTalkingHeadPipeline.from_pretrained(evil, trust_remote_code=True)
    with pytest.raises(CheckpointError, match="there is no file"):
        check(evil)
    assert not exploited.exists()


def test_files_that_leave_the_folder(evil: Path) -> None:
    with pytest.raises(CheckpointError, match="leaves its folder"):
        check_names(["model_index.json", "../../.bashrc"], "evil")
    (evil / "samples").symlink_to("/etc")
    (evil / "passwd.json").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match="link to a file outside"):
        check(evil)


def test_a_class_of_another_library(evil: Path) -> None:
    set_component(evil, "unet", ["subprocess", "Popen"])
    with pytest.raises(CheckpointError, match=r"there is no file unet/subprocess\.py"):
        check(evil)
    with pytest.raises(ValueError, match="Popen"):
        SVPTalkingHeadPipeline.from_pretrained(evil)


def test_code_of_a_repository_is_not_run_unless_trusted(evil: Path, exploited: Path) -> None:
    (evil / "unet" / "mine.py").write_text(f"import os; os.mkdir({str(exploited)!r})")
    set_component(evil, "unet", ["mine", "TemporalUNet"])
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SVPTalkingHeadPipeline.from_pretrained(evil)
    assert not exploited.exists()


def test_the_package_never_trusts_for_the_user() -> None:
    package = Path(svp_diffusers.__file__).parent
    for path in package.rglob("*.py"):
        code = path.read_text().replace("`trust_remote_code=True`", "")
        # A card's snippet leaves it to be seen; an endpoint runs its own repository's code.
        if path.name not in ("checkpoint_svp.py", "handler_svp.py"):
            assert "trust_remote_code=True" not in code, path


@pytest.fixture
def style_file(tmp_path: Path) -> Path:
    path = tmp_path / "style.safetensors"
    StyleDistribution(torch.zeros(16), torch.ones(16), "happy").save(path)
    return path


def test_a_style_with_a_wrong_hash(style_file: Path) -> None:
    data = bytearray(style_file.read_bytes())
    data[-1] ^= 1
    style_file.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged: its numbers do not have the hash"):
        StyleDistribution.from_pretrained(style_file.parent)


@pytest.mark.parametrize("length", [2**40, 2**63, 150_000_000])
def test_a_style_with_a_huge_header(style_file: Path, length: int) -> None:
    style_file.write_bytes(length.to_bytes(8, "little") + style_file.read_bytes()[8:])
    with pytest.raises(ValueError, match="not a style file, or damaged"):
        StyleDistribution.from_pretrained(style_file.parent)
    with pytest.raises(CheckpointError, match="is damaged"):
        check(style_file.parent)


OVER_HTTP = """
from pathlib import Path
from diffusers import DiffusionPipeline
from svp_diffusers.hub.pull import pull_repository
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

def remote(**arguments):
    return lambda repo: DiffusionPipeline.from_pretrained(repo, **arguments)

result = {}
for name, attempt, repo in (
    ("untrusted", remote(), "evil/pickle"),
    ("pickle remote", remote(trust_remote_code=True), "evil/pickle"),
    ("pickle folder", remote(trust_remote_code=True), %(folder)r),
    ("pickle own", SVPTalkingHeadPipeline.from_pretrained, "evil/pickle"),
    ("pickle pull", pull_repository, "evil/pickle"),
    ("path remote", remote(trust_remote_code=True), "evil/path"),
    ("path own", SVPTalkingHeadPipeline.from_pretrained, "evil/path"),
    ("path pull", pull_repository, "evil/path"),
    ("library remote", remote(trust_remote_code=True), "evil/library"),
    ("library own", SVPTalkingHeadPipeline.from_pretrained, "evil/library"),
    ("library pull", pull_repository, "evil/library"),
    ("corrupted pull", pull_repository, "evil/corrupted"),
):
    try:
        attempt(repo)
        result[name] = "it succeeded"
    except (ValueError, OSError) as error:
        result[name] = f"{type(error).__name__}: {error}"
"""


def test_attacks_over_http(
    hub: LoopbackHub, run_python: Callable[..., Any], evil: Path, exploited: Path
) -> None:
    hub.add_folder("evil/corrupted", evil)
    (evil / "unet" / "escaped.py").write_text("")
    set_component(evil, "unet", ["../escaped", "TemporalUNet"])
    hub.add_folder("evil/path", evil)
    set_component(evil, "unet", ["subprocess", "Popen"])
    hub.add_folder("evil/library", evil)
    set_component(evil, "unet", ["temporal_unet_svp", "TemporalUNet"])
    put_pickle(evil, exploited)
    hub.add_folder("evil/pickle", evil)
    hub.corrupted.add(("evil/corrupted", f"style_encoder/{WEIGHTS}.safetensors"))
    result = run_python(OVER_HTTP % {"folder": str(evil)})
    assert not exploited.exists()
    expected = {
        "untrusted": "trust_remote_code=True",
        # diffusers downloads no safetensors beside a pickle, and loads components in any order.
        "pickle remote": "no file named|Unable to load weights from checkpoint file",
        "pickle folder": "Unable to load weights from checkpoint file",
        "pickle own": "safetensors",
        "pickle pull": "CheckpointError: evil/pickle has 'unet/",
        "path remote": "unet/../escaped.py as defined in `model_index.json` does not exist",
        "path own": "names the component unet",
        "path pull": "there is no file unet/../escaped.py",
        "library remote": "unet/subprocess.py as defined in `model_index.json` does not exist",
        "library own": "unet/subprocess.py as defined in `model_index.json` does not exist",
        "library pull": "there is no file unet/subprocess.py",
        "corrupted pull": "does not have the hash that the Hub",
    }
    assert set(result) == set(expected)
    for name, message in expected.items():
        assert result[name] != "it succeeded", name
        assert any(part in result[name] for part in message.split("|")), (name, result[name])
