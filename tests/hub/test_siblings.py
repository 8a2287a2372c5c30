"""The pipeline's file imports siblings: they come from the same checkpoint, wherever that lies."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackHub

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.contents import check_contents, list_files

Run = Callable[..., Any]

BLOCK = "sys.meta_path.insert(0, client.PackageBlocker())\n"
LOAD = "from diffusers import DiffusionPipeline\n" + BLOCK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    build_random_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def changed(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint whose code differs in a sibling file alone."""
    folder = shutil.copytree(checkpoint, tmp_path / "changed")
    sibling = folder / "speech_svp.py"
    sibling.write_text(sibling.read_text() + "\nAUDIO_STRIDE = 640\n")
    return folder


TWO = """
def stride(pipe):
    return type(pipe).encode_audio.__globals__["encode_speech"].__globals__["AUDIO_STRIDE"]

strides = []
for where in {places!r}:
    strides.append(stride(DiffusionPipeline.from_pretrained(where, trust_remote_code=True)))
result = strides
"""


@pytest.mark.slow
def test_checkpoints_of_different_code_run_their_own_in_one_process(
    checkpoint: Path, changed: Path, hub: LoopbackHub, run_python: Run
) -> None:
    hub.add_folder("org/first", checkpoint)
    hub.add_folder("org/second", changed)
    places = [str(checkpoint), str(changed), "org/first", "org/second", str(checkpoint)]
    assert run_python(LOAD + TWO.format(places=places)) == [320, 640, 320, 640, 320]


NAMED = """
pipe = DiffusionPipeline.from_pretrained("org/svp-v1.5", trust_remote_code=True)
custom = DiffusionPipeline.from_pretrained(
    "org/svp-v1.5", custom_pipeline="org/svp-v1.5", trust_remote_code=True
)
result = [client.digest_frames(each) for each in (pipe, custom)]
"""


@pytest.mark.slow
def test_a_repository_may_have_a_dot_in_its_name(
    checkpoint: Path, hub: LoopbackHub, run_python: Run
) -> None:
    hub.add_folder("org/svp-v1.5", checkpoint)
    first, second = run_python(LOAD + NAMED)
    assert first == second


PINNED = """
result = []
for revision in ({revision!r}, "main"):
    pinned = {{"revision": revision, "trust_remote_code": True}}
    pipe = DiffusionPipeline.from_pretrained("org/pinned", **pinned)
    speech = type(pipe).encode_audio.__globals__["encode_speech"].__globals__
    result.append(speech["AUDIO_STRIDE"])
"""


@pytest.mark.slow
def test_a_pinned_revision_runs_its_own_siblings(
    checkpoint: Path, changed: Path, hub: LoopbackHub, run_python: Run
) -> None:
    hub.add_folder("org/pinned", changed)
    revision = hub.repositories["org/pinned"].refs["main"]
    hub.add_folder("org/pinned", checkpoint)
    assert run_python(LOAD + PINNED.format(revision=revision)) == [640, 320]


def test_a_missing_sibling_is_named_before_a_push(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "incomplete")
    (folder / "speech_svp.py").unlink()
    with pytest.raises(CheckpointError, match=r"there is no file speech_svp\.py"):
        check_contents(folder, list_files(folder))


COMPONENT = """
from pathlib import Path
pipe = DiffusionPipeline.from_pretrained({folder!r}, trust_remote_code=True)
result = [type(pipe.style_encoder).__name__]
try:
    DiffusionPipeline.from_pretrained("org/split", trust_remote_code=True)
except FileNotFoundError as error:
    result.append(Path(error.filename).name)
"""


@pytest.mark.slow
def test_a_components_file_has_no_siblings_since_diffusers_would_not_download_them(
    checkpoint: Path, tmp_path: Path, hub: LoopbackHub, run_python: Run
) -> None:
    """Why models/style_encoder_svp.py holds the distribution too; if this fails, split it."""
    folder = shutil.copytree(checkpoint, tmp_path / "split")
    code = folder / "style_encoder" / "style_encoder_svp.py"
    code.write_text(code.read_text() + "\nfrom .distribution_svp import STYLE_DIM\n")
    code.with_name("distribution_svp.py").write_text("STYLE_DIM = 128\n")
    hub.add_folder("org/split", folder)
    result = run_python(LOAD + COMPONENT.format(folder=str(folder)))
    assert result == ["StyleEncoder", "distribution_svp.py"]


ONLINE = """
from huggingface_hub import snapshot_download
pipe = DiffusionPipeline.from_pretrained(snapshot_download("org/cached"), trust_remote_code=True)
result = client.digest_frames(pipe)
"""
OFFLINE = """
from huggingface_hub import snapshot_download
folder = snapshot_download("org/cached", local_files_only=True)
pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
result = client.digest_frames(pipe)
"""


@pytest.mark.slow
def test_a_folder_that_was_downloaded_works_offline(
    checkpoint: Path, hub: LoopbackHub, run_python: Run, tmp_path: Path
) -> None:
    """By its id it does not: diffusers then asks the Hub for the commit of any remote code. Nor
    does the folder of a load by the id, which lacks what diffusers does not need."""
    hub.add_folder("org/cached", checkpoint)
    first = run_python(LOAD + ONLINE, HF_HOME=str(tmp_path))
    assert run_python(LOAD + OFFLINE, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1") == first
