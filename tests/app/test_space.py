"""The Space of `examples/space`: its front matter, and the page that it builds."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from svp_diffusers.app.form import Form

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


def test_on_zerogpu_a_form_goes_to_another_process_and_what_came_of_it_back(
    tmp_path: Path,
) -> None:
    """The decorator there pickles the arguments, and the result."""
    gr = pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from svp_diffusers.app.page import build_page
    from svp_diffusers.app.performer import Performance
    from svp_diffusers.errors import MediaError

    made = Performance(tmp_path / "talk.mp4", [tmp_path / "talk.mp4"], ["soft"])
    answers: list[Performance | MediaError] = [made, MediaError("no portrait")]

    def perform(form: Form, report: Any, *here: Any) -> Performance:
        report("denoising", 1, 2)
        answer = answers.pop(0)
        if isinstance(answer, MediaError):
            raise answer
        return answer

    def lend(task: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *sent: pickle.loads(pickle.dumps(task(*pickle.loads(pickle.dumps(sent)))))

    performer: Any = SimpleNamespace(
        name="svp", styles={"happy": None}, map=None, can_stream=True, watched={}, perform=perform
    )
    page = build_page(performer, lend)
    functions = {getattr(each.fn, "__name__", ""): each.fn for each in page.fns.values()}
    session = SimpleNamespace(session_hash="anna")
    form = ("a line", "by name", "happy", "happy", 0.5, 0.5, 0.5, "", 1, 0, 1, "", 0)
    asked = ({"path": str(tmp_path / "a.png")}, *form, session)
    said = functions["generate"](*asked)
    assert said == (str(made.video), [str(made.video)], "- soft")
    with pytest.raises(gr.Error, match="no portrait") as raised:
        functions["generate"](*asked)
    assert raised.value.title == "MediaError"
    assert functions["show_live"](1, session)[0]["visible"] is False  # nothing comes to be shown
