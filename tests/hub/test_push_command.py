"""`svp push` and `svp pull`: a whole folder in one commit, however often it is cut off."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import LoopbackHub
from safetensors.torch import save_file
from typer.testing import CliRunner

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.cli.main import app

SVP = Path(sys.executable).with_name("svp")
Environment = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that goes with a checkpoint, but no card."""
    folder = tmp_path_factory.mktemp("checkpoint")
    build_random_pipeline(seed=7).save_pretrained(folder)
    (folder / "LICENSE").write_text("Apache-2.0")
    (folder / "training.yaml").write_text("steps: 1")
    (folder / "samples").mkdir()
    (folder / "samples" / "happy.gif").write_bytes(b"GIF89a")
    (folder / ".partial-unfinished.safetensors").write_bytes(b"left by a process that was killed")
    (folder / "card.yaml").write_text("license: apache-2.0\nlimits: random weights.\n")
    result = {"dataset": "Noise", "dataset_type": "noise", "metric": "FID", "metric_type": "fid"}
    (folder / "evaluation.json").write_text(json.dumps([{**result, "value": 400.0}]))
    return folder


@pytest.mark.slow
def test_a_push_that_was_killed_and_repeated_equals_a_clean_one(
    checkpoint: Path, hub: LoopbackHub, client_environment: Environment
) -> None:
    environment = client_environment()
    uploaded = len(hub.blobs)
    hub.upload_delay = 1.0
    killed = subprocess.Popen(
        [SVP, "push", checkpoint, "killed/model"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while len(hub.blobs) == uploaded:
            assert killed.poll() is None, "the push ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        killed.kill()
        killed.wait()
        hub.upload_delay = 0.0
    assert hub.files("killed/model") == {}

    for repository in ("killed/model", "clean/model"):
        command = [SVP, "push", checkpoint, repository]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    repeated, clean = hub.files("killed/model"), hub.files("clean/model")
    for name in ("README.md", "modular_model_index.json"):  # which name the repository
        assert b"clean/model" in clean[name]
        clean[name] = clean[name].replace(b"clean/model", b"killed/model")
    assert repeated == clean
    assert hub.repositories["killed/model"].log == ["initial", "Upload checkpoint"]
    on_disk = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*.*")}
    on_disk = {name for name in on_disk if not name.startswith(".")} | {"LICENSE", "README.md"}
    assert set(clean) == on_disk
    card = clean["README.md"].decode()
    assert "**Limits: random weights.**" in card
    assert "value: 400.0" in card


REPEAT = """
import shutil
from pathlib import Path
from huggingface_hub import HfApi
from svp_diffusers.hub.pull import pull_repository
from svp_diffusers.hub.push import push_folder

folder, output = Path({folder!r}), Path({output!r})
api = HfApi()
result = {{}}
push_folder(folder, "org/again", private=True, variant="fp16")
result["variant"] = api.list_repo_files("org/again")
api.upload_file(path_or_fileobj=b"---\\nlicense: mit\\n---\\nmine", path_in_repo="README.md",
                repo_id="org/again")
push_folder(folder, "org/again")
result["again"] = api.list_repo_files("org/again")
result["proposal"] = push_folder(folder, "org/again", create_pr=True)
pulled = pull_repository("org/again", output)
result["card"] = (pulled / "README.md").read_text()
result["same"] = [
    (pulled / path.relative_to(folder)).read_bytes() == path.read_bytes()
    for path in folder.rglob("*.*") if path.is_file() and not path.name.startswith(".")
    and path.name != "modular_model_index.json"  # which names the repository
]
client.load("own", str(pulled))
"""


def test_a_repeated_push_keeps_the_card_and_drops_stale_weights(
    checkpoint: Path, hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    code = REPEAT.format(folder=str(checkpoint), output=str(tmp_path / "pulled"))
    result = run_python(code)
    variants = {name for name in result["variant"] if ".fp16." in name}
    assert len(variants) == 7
    assert set(result["again"]) == set(result["variant"]) - variants
    assert result["card"].endswith("mine")
    assert result["proposal"].endswith("/discussions/1")
    assert result["same"]
    assert all(result["same"])
    assert hub.repositories["org/again"].private


PUSH = """
from svp_diffusers.cli.main import app

for arguments in {commands!r}:
    app(arguments, standalone_mode=False)
result = None
"""


def test_a_lora_is_pushed_private_and_with_a_card(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    weights = {"unet.to_q.lora_A.weight": torch.zeros(2, 2)}
    save_file(weights, tmp_path / "pytorch_lora_weights.safetensors")
    (tmp_path / "card.yaml").write_text("base_model: org/base\nlimits: it is of one speaker.\n")
    push = ["push", str(tmp_path)]
    run_python(PUSH.format(commands=[[*push, "org/lora"], [*push, "org/everybodys", "--public"]]))
    for repository in ("org/lora", "org/everybodys"):
        card = hub.files(repository)["README.md"].decode()
        assert "**Limits: it is of one speaker.**" in card
        assert "base_model: org/base" in card
        assert "Responsible use" in card
    assert hub.repositories["org/lora"].private
    assert not hub.repositories["org/everybodys"].private


@pytest.mark.parametrize("stage", ["image", "video", "style-adapter"])
def test_what_was_trained_is_pushed_private_unless_the_user_says_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    values = "data: d\npipeline: svp-tiny\noutput_dir: o\nhub_model_id: org/of-the-file\n"
    (tmp_path / "run.yaml").write_text(values)
    pushed: list[tuple[Path, str, bool | None]] = []
    name = stage.replace("-", "_")
    module = f"svp_diffusers.training.denoiser.{name}_stage.train_{name}"
    monkeypatch.setattr(module, lambda *_: tmp_path / "lora")
    monkeypatch.setattr(
        "svp_diffusers.hub.push.push_folder",
        lambda folder, repository, private: pushed.append((folder, repository, private)),
    )
    command = ["train", stage, "--config", str(tmp_path / "run.yaml")]
    for options in ([], ["--push-to-hub", "org/lora", "--public"]):
        done = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    trained = tmp_path / "lora"
    assert pushed == [(trained, "org/of-the-file", True), (trained, "org/lora", False)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", ".", "org/nothing"], "holds no checkpoint, LoRA, style or style adapter"),
        (["pull", "org/nothing"], "org/nothing cannot be pulled"),
    ],
)
def test_a_failure_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, client_environment: Environment
) -> None:
    unreachable = client_environment(HF_ENDPOINT="http://127.0.0.1:9")
    done = subprocess.run(
        [SVP, *arguments], env=unreachable, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
