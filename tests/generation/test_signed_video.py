"""`svp generate --sign`: the video says who made it, and that nobody changed it since."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from certificates import read_statement, write_credentials
from svp_diffusers.cli.main import app
from svp_diffusers.errors import OutputError
from svp_diffusers.generation import finished_video
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.provenance import is_made
from svp_diffusers.media.manifest import get_manifest_path, hash_file, hash_folder
from svp_diffusers.media.mark import read_mark

from .test_generation import request


def test_every_video_of_a_command_is_signed(files: Path, tmp_path: Path) -> None:
    certificate, key = write_credentials(tmp_path)
    given = [str(files / "portrait.png"), str(files / "speech.wav"), "--no-detect-face"]
    given += ["--model", str(files / "checkpoint"), "--steps", "1", "--size", "64"]
    given += ["-o", str(tmp_path / "talk.mp4"), "--num-styles", "2"]
    given += ["--sign", str(certificate), "--sign-key", str(key)]
    done = CliRunner().invoke(app, ["generate", *given], catch_exceptions=False)
    assert done.exit_code == 0
    for name in ("talk.mp4", "talk-1.mp4", "talk-2.mp4"):
        statement, state = read_statement(tmp_path / name)
        assert (state, statement["title"]) == ("Valid", name)
        assert read_mark(tmp_path / name)
        manifest = json.loads(get_manifest_path(tmp_path / name).read_text())
        assert manifest["output"]["sha256"] == hash_file(tmp_path / name)
        assert manifest["inputs"]["certificate"]["sha256"] == hash_file(certificate)
        assert hash_file(key) not in json.dumps(manifest)


def test_a_batch_makes_a_video_again_for_another_certificate_alone(
    files: Path, tmp_path: Path
) -> None:
    certificate, key = write_credentials(tmp_path)
    signed = request(files, tmp_path / "talk.mp4", sign=certificate, sign_key=key)
    generate_video(signed)
    assert is_made(signed, hash_folder)
    assert not is_made(request(files, tmp_path / "talk.mp4"), hash_folder)
    write_credentials(tmp_path)
    assert not is_made(signed, hash_folder)


@pytest.mark.parametrize("failing", ["sign", "write_manifest"])
def test_no_video_is_left_without_its_signature_or_manifest(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    certificate, key = write_credentials(tmp_path)
    before = sorted(tmp_path.iterdir())

    def fail(*_: Any, **__: Any) -> None:
        raise OutputError("no space is left")

    place = finished_video.VideoSigner if failing == "sign" else finished_video
    monkeypatch.setattr(place, failing, fail)
    with pytest.raises(OutputError, match="no space"):
        generate_video(request(files, tmp_path / "talk.mp4", sign=certificate, sign_key=key))
    assert sorted(tmp_path.iterdir()) == before
