"""Which commit of a repository `svp convert --from-hub` asks for."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from svp_diffusers.cli.main import main
from svp_diffusers.conversion import aniportrait, echomimic, hallo, v_express


@pytest.mark.parametrize(
    "published",
    [
        *(echomimic.PUBLISHED, hallo.PUBLISHED, hallo.PUBLISHED_2),
        *(v_express.PUBLISHED, aniportrait.PUBLISHED),
    ],
    ids=lambda published: published.repository,
)
def test_it_is_a_whole_commit(published: Any) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", published.revision)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], (echomimic.PUBLISHED.repository, echomimic.PUBLISHED.revision)),
        (["--revision", "v1"], (echomimic.PUBLISHED.repository, "v1")),
        (["--repository", "me/copy"], ("me/copy", "main")),
        (["--repository", "me/copy", "--revision", "v1"], ("me/copy", "v1")),
        (["--accelerated"], (echomimic.PUBLISHED.repository, "main")),
    ],
)
def test_which_one_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    asked: tuple[str, str],
) -> None:
    seen = []

    def answer(self: HfApi, repository: str, *, revision: str, **rest: Any) -> None:
        seen.append((repository, revision))
        raise OSError("no such revision")

    monkeypatch.setattr(HfApi, "model_info", answer)
    command = ["svp", "convert", "echomimic", "--from-hub", "-o", str(tmp_path / "out"), *options]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert seen == [asked]
    assert "--revision (main)" in capsys.readouterr().err.replace("\n", " ")
