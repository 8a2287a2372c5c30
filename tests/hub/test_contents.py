"""What is pushed, what is refused, and what a refusal leaves behind: nothing."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import LoopbackHub
from safetensors.torch import save_file

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.errors import CheckpointError, OutputError
from svp_diffusers.hub.code import export_code
from svp_diffusers.hub.contents import check_contents, check_names, choose_parts, list_files
from svp_diffusers.hub.pull import pull_repository

LORA = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        *("X.BIN", "weights.PKL", "unet/weights.pth.tar", "a.joblib", "a.dill", "a.pkl.gz", "a.Pt"),
        *("model.h5", "model.keras", "a.ckpt", "a.pickle.ZIP", "unet/a.T7", "a.cloudpickle"),
    ],
)
def test_a_file_that_runs_code_is_known_however_its_name_is_written(name: str) -> None:
    with pytest.raises(CheckpointError, match="a pickle, which can run any code"):
        check_names([LORA, name], "org/evil")


@pytest.mark.parametrize("name", ["binary.json", "samples.tar", "pt/notes.md", "a.pt.safetensors"])
def test_other_names_are_not_taken_for_one(name: str) -> None:
    assert check_names([LORA, name], "org/good") == "lora"


SECRETS = (
    *("id_rsa", "notes.md", "notes.txt", "unet/id_rsa", "talk.mp4", "talk.mp4.json", "log.csv"),
    *("samples/happy.mp4.json", "samples/.netrc", "samples/notes.txt", "private/face.png"),
    *("portrait.png", "steal.py", "styles/notes.txt", "wandb/run.log", "configuration.yaml"),
)


def test_only_what_belongs_to_a_checkpoint_is_pushed(tmp_path: Path) -> None:
    build_random_pipeline().save_pretrained(tmp_path)
    for name in ("LICENSE", "NOTICE.md", "README.md", "card.yaml", "samples/happy.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    own = list_files(tmp_path)
    for name in SECRETS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("secret")
    parts, others = choose_parts(tmp_path, list_files(tmp_path))
    assert sorted(parts) == sorted(own)
    assert set(others) == set(SECRETS) - {"samples/.netrc"}  # hidden ones are not even listed


def test_all_of_svp_tiny_belongs_to_it(tmp_path: Path) -> None:
    shutil.copytree(SVP_TINY, tmp_path, dirs_exist_ok=True)
    export_code(tmp_path)
    parts, others = choose_parts(tmp_path, list_files(tmp_path))
    assert others == []
    assert "face_landmarker/NOTICE.md" in parts


PUSH = """
import warnings
from pathlib import Path
from svp_diffusers.errors import SVPError
from svp_diffusers.hub.push import push_folder

result = []
for folder in {folders!r}:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            error = None
            push_folder(Path(folder), {repository!r})
        except SVPError as raised:
            error = str(raised)
    result.append([error, [str(e.message) for e in caught if "not pushed" in str(e.message)]])
"""


def test_a_lora_is_pushed_without_what_lies_beside_it(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    save_file({"unet.to_q.lora_A.weight": torch.zeros(2, 2)}, tmp_path / LORA)
    (tmp_path / "card.yaml").write_text("base_model: org/base\n")
    (tmp_path / "id_rsa").write_text("secret")
    code = PUSH.format(folders=[str(tmp_path)], repository="org/careful")
    assert run_python(code) == [[None, ["not pushed, as no part of a lora: 'id_rsa'"]]]
    assert set(hub.files("org/careful")) == {LORA, "card.yaml", "README.md"}


CARDS = {
    None: "write `base_model: OWNER/NAME` into .*card.yaml",
    "base_model: 3": "base_model",
    "datasets: mead\nbase_model: org/base": "datasets",
    "limits: [1, 2]\nbase_model: org/base": "limits",
    "licence: mit\nbase_model: org/base": "licence",
    "- a\n- b": "card.yaml holds fields",
    "a: &b [1]\nc: *b": "alias",
}
"""Of a style, and what is wrong with it."""


def test_a_push_that_fails_creates_nothing(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    """A repository that stays empty is public, and nobody knows what it is for."""
    folders = [tmp_path / str(number) for number in range(len(CARDS))]
    for folder, card in zip(folders, CARDS, strict=True):
        folder.mkdir()
        save_file({"mean": torch.zeros(4)}, folder / "style.safetensors")
        if card is not None:
            (folder / "card.yaml").write_text(card)
    code = PUSH.format(folders=list(map(str, folders)), repository="org/style")
    errors = [error for error, _ in run_python(code)]
    for error, message in zip(errors, CARDS.values(), strict=True):
        assert re.search(message, error), error
    assert "org/style" not in hub.repositories


PULL = """
from pathlib import Path
from svp_diffusers.errors import SVPError
from svp_diffusers.hub.pull import pull_repository
from huggingface_hub import scan_cache_dir

result = []
for repository, output in {pulls!r}:
    try:
        pull_repository(repository, output and Path(output))
        result.append(None)
    except SVPError as error:
        result.append(str(error))
result.append([repository.repo_id for repository in scan_cache_dir().repos])
"""


def test_a_refused_repository_leaves_nothing_on_disk(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path: Path
) -> None:
    good, damaged, named = tmp_path / "good", tmp_path / "damaged", tmp_path / "named"
    for folder in (good, damaged, named):
        folder.mkdir()
        save_file({"unet.to_q.lora_A.weight": torch.zeros(2, 2)}, folder / LORA)
    (damaged / LORA).write_bytes(b"not safetensors at all")
    (named / "X.BIN").write_bytes(b"pickle")
    for folder in (good, damaged, named):
        hub.add_folder(f"pulled/{folder.name}", folder)
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.txt").write_text("mine")
    pulls = [
        ("pulled/damaged", str(here / "new")),
        ("pulled/damaged", str(here)),
        ("pulled/damaged", None),
        ("pulled/named", str(here / "new")),
        ("pulled/good", str(here)),
        ("pulled/good", str(tmp_path / "new")),
    ]
    *errors, cached = run_python(PULL.format(pulls=pulls))
    assert [error is None for error in errors] == [False, False, False, False, True, True]
    assert cached == []
    assert {path.name for path in here.iterdir()} >= {"mine.txt", LORA}
    assert not (here / "new").exists()
    assert (tmp_path / "new" / LORA).read_bytes() == (good / LORA).read_bytes()
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".gitattributes"]


def test_a_copy_of_svp_tiny_carries_its_code_and_can_be_pushed(tmp_path: Path) -> None:
    copy = pull_repository("svp-tiny", tmp_path / "copy")
    names = list_files(copy)
    assert choose_parts(copy, names) == (names, [])
    check_contents(copy, names)
    assert "svp_diffusers" not in (copy / "modular_model_index.json").read_text()
    for place in (None, copy):
        with pytest.raises(OutputError, match="name a"):
            pull_repository("svp-tiny", place)
