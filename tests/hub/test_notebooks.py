"""The notebooks run from top to bottom, as a user runs them, with the Hub on this machine."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
COLAB = "colab.research.google.com/github/svp-diffusers/svp-diffusers/blob/main/examples"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_in_colab_and_installs_what_it_needs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    introduction, install = "".join(cells[0]["source"]), "".join(cells[1]["source"])
    assert f"{COLAB}/{path.name}" in introduction
    assert "svp-tiny" in introduction or "random weights" in introduction
    assert "consent" in introduction
    assert "%pip install" in install
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_video(
    path: Path,
    client_environment: Callable[..., dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for name, value in client_environment().items():
        monkeypatch.setenv(name, value)
    # As in an activated environment: `svp` is on the path.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=1800, resources=resources).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/html", "") for output in outputs]
    assert any("data:video/mp4;base64" in html for html in shown)
    if folder := os.environ.get("KEEP_NOTEBOOKS"):  # to look at what it shows
        nbformat.write(book, Path(folder) / path.name)
