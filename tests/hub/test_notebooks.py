"""The notebooks run from top to bottom, as a user runs them, with the Hub on this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def read(path: Path) -> Any:
    nbformat = pytest.importorskip("nbformat", reason="pip install 'svp-diffusers[notebooks]'")
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_in_colab_and_installs_what_it_needs(path: Path) -> None:
    cells = read(path).cells
    assert (
        f"colab.research.google.com/github/svp-diffusers/svp-diffusers/blob/main/examples/{path.name}"
        in (cells[0].source)
    )
    assert "random" in cells[0].source
    assert "consent" in cells[0].source
    assert "%pip install" in cells[1].source
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_video(
    path: Path,
    client_environment: Callable[..., dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="pip install 'svp-diffusers[notebooks]'")
    for name, value in client_environment().items():
        monkeypatch.setenv(name, value)
    book = read(path)
    nbclient.NotebookClient(
        book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/html", "") for output in outputs]
    assert any("data:video/mp4;base64" in html for html in shown)
    if folder := os.environ.get("KEEP_NOTEBOOKS"):
        import nbformat

        nbformat.write(book, Path(folder) / path.name)
