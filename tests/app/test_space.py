"""The Space of `examples/space`: its front matter, and the page that it builds."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SPACE = Path(__file__).parents[2] / "examples" / "space"


def test_the_front_matter_names_the_app() -> None:
    _, front_matter, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front_matter)
    assert settings["sdk"] == "gradio"
    assert (SPACE / settings["app_file"]).is_file()
    assert isinstance(settings["python_version"], str)


@pytest.mark.slow
def test_the_decorator_of_zerogpu_does_nothing_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    pytest.importorskip("spaces", reason="the package of Spaces is not installed")
    code = (
        f"import runpy; space = runpy.run_path({str(SPACE / 'app.py')!r}, run_name='space'); "
        "print([f.api_name for f in space['page'].fns.values()])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "'generate'" in ran.stdout
    assert not list(tmp_path.iterdir())
