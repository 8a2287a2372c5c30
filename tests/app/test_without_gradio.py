"""What of the app needs no Gradio: the map, the form, and the word that it is missing."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from svp_diffusers.app.form import StyleKind, read_form, write_request
from svp_diffusers.app.guard import MOST_BYTES, Guard, has_link
from svp_diffusers.app.style_map import StyleMap, mark_point
from svp_diffusers.checkpoints.loading import SVP_TINY, load_style_encoder
from svp_diffusers.cli.main import main
from svp_diffusers.errors import ConfigurationError, MediaError, StyleError, SVPError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.samples import PORTRAITS, SPEECH
from svp_diffusers.style.storage import load_style


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    return load_style_encoder(SVP_TINY)


@pytest.fixture(scope="module")
def style_map(encoder: StyleEncoder) -> StyleMap:
    return StyleMap(encoder)


def test_svp_app_without_gradio_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["svp", "app"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "pip install 'svp-diffusers[app]'" in capsys.readouterr().err


def test_a_point_of_the_map_is_the_style_there_and_a_mixture_in_between(
    style_map: StyleMap, encoder: StyleEncoder
) -> None:
    assert list(style_map.styles)[-1] == "prior"
    assert (style_map.points >= 0).all()
    assert (style_map.points <= 1).all()
    for name, (x, y) in zip(style_map.styles, style_map.points, strict=True):
        assert next(iter(style_map.find_shares(x, y).items())) == pytest.approx((name, 1.0))
        np.testing.assert_allclose(
            style_map.find_style(x, y).mean, style_map.styles[name].mean, atol=1e-4
        )
    shares = style_map.find_shares(0.5, 0.5)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) < 0.9
    encoder.check_style(style_map.find_style(0.5, 0.5))


def test_the_map_is_drawn_where_its_points_are(style_map: StyleMap) -> None:
    pytest.importorskip("matplotlib")
    picture = style_map.draw()
    for x, y in style_map.points:
        there = picture.getpixel((int(x * picture.width), int(y * picture.height)))
        assert there != (255, 255, 255)
    marked = np.asarray(mark_point(picture, 0.25, 0.75)).astype(int)
    changed = np.argwhere((marked != np.asarray(picture)).any(2)).mean(0)
    np.testing.assert_allclose(changed, [0.75 * picture.height, 0.25 * picture.width], atol=1)


def fields(uploads: Path, **changes: Any) -> dict[str, Any]:
    image, audio = uploads / "me.PNG", uploads / "a,b;0:x.wav"
    image.write_bytes(PORTRAITS[0].read_bytes())
    audio.write_bytes(SPEECH[0].read_bytes())
    values: dict[str, Any] = {
        **{"image": str(image), "audio": str(audio), "text": "", "style_kind": StyleKind.NAME},
        **{"style_name": "happy", "second_name": "sad", "blend": 0.25, "map_x": 0.1, "map_y": 0.9},
        **{"schedule": "0:sad,1:angry", "clip": None, "style_file": None, "temperature": 1},
        **{"guidance_scale": 0, "performances": 1, "head_motion": "", "seed": 0},
    }
    return {**values, **changes}


@pytest.fixture
def write(tmp_path: Path, encoder: StyleEncoder, style_map: StyleMap) -> Any:
    """Write the request of a form with some fields changed."""
    uploads, folder = tmp_path / "uploads", tmp_path / "folder"
    uploads.mkdir()
    folder.mkdir()
    styles = {**encoder.style_bank, "prior": encoder.prior()}

    def write(**changes: Any) -> Any:
        form = read_form(fields(uploads, **changes))
        return write_request(form, uploads, folder, styles, style_map)

    return write


def test_files_are_copied_to_names_of_our_own(write: Any, tmp_path: Path) -> None:
    request = write()
    assert request.image == tmp_path / "folder" / "portrait.png"
    assert request.audio == tmp_path / "folder" / "speech.wav"
    assert request.audio.read_bytes() == SPEECH[0].read_bytes()
    assert (request.style, request.head_motion, request.guidance_scale) == ("happy", None, None)


def test_each_kind_of_style_reaches_the_request(
    write: Any, tmp_path: Path, encoder: StyleEncoder, style_map: StyleMap
) -> None:
    assert write(style_kind=StyleKind.PRIOR).style is None
    assert write(style_kind=StyleKind.SCHEDULE).style == "0:sad,1:angry"
    between = load_style(write(style_kind=StyleKind.BLEND).style)
    happy, sad = encoder.get_style("happy"), encoder.get_style("sad")
    np.testing.assert_allclose(between.mean, happy.interpolate(sad, 0.25).mean, atol=1e-6)
    pointed = load_style(write(style_kind=StyleKind.MAP).style)
    np.testing.assert_allclose(pointed.mean, style_map.find_style(0.1, 0.9).mean, atol=1e-6)
    clip = str(tmp_path / "uploads" / "a,b;0:x.wav")
    assert write(style_kind=StyleKind.CLIP, clip=clip).style == str(tmp_path / "folder/clip.wav")
    happy.save(tmp_path / "uploads/given.safetensors")
    given = write(style_kind=StyleKind.FILE, style_file=str(tmp_path / "uploads/given.safetensors"))
    np.testing.assert_allclose(load_style(given.style).mean, happy.mean)


REFUSED: dict[str, tuple[type[SVPError], dict[str, Any]]] = {
    "no portrait": (MediaError, {"image": None}),
    "nothing said": (MediaError, {"audio": None, "text": " "}),
    "a file elsewhere": (MediaError, {"image": "/etc/passwd"}),
    "a file above": (MediaError, {"audio": "{uploads}/../folder/x.wav"}),
    "a name that is a path": (StyleError, {"style_name": "/etc/x.style.safetensors"}),
    "a name that is a schedule": (StyleError, {"style_name": "0:sad,1:happy"}),
    "a schedule of files": (
        StyleError,
        {"style_kind": StyleKind.SCHEDULE, "schedule": "0:sad,1:/etc/x.wav"},
    ),
    "a schedule of one file": (
        StyleError,
        {"style_kind": StyleKind.SCHEDULE, "schedule": "/etc/x.style.safetensors"},
    ),
    "a style file elsewhere": (
        MediaError,
        {"style_kind": StyleKind.FILE, "style_file": "/etc/x.style.safetensors"},
    ),
    "a clip elsewhere": (MediaError, {"style_kind": StyleKind.CLIP, "clip": "/etc/passwd"}),
    "no clip": (StyleError, {"style_kind": StyleKind.CLIP}),
    "no style file": (StyleError, {"style_kind": StyleKind.FILE}),
    "an unknown kind": (StyleError, {"style_kind": "by magic"}),
    "performances without end": (ConfigurationError, {"performances": 10**9}),
    "a text for a number": (ConfigurationError, {"seed": "0"}),
    "no number": (ConfigurationError, {"temperature": float("nan")}),
    "a list for a text": (ConfigurationError, {"style_name": ["happy"]}),
    "a book": (ConfigurationError, {"text": "word " * 1000}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(write: Any, tmp_path: Path, what: str) -> None:
    kind, changes = REFUSED[what]
    (tmp_path / "folder" / "x.wav").write_bytes(SPEECH[0].read_bytes())
    changes = {
        name: value.format(uploads=tmp_path / "uploads") if isinstance(value, str) else value
        for name, value in changes.items()
    }
    with pytest.raises(kind):
        write(**changes)


def test_a_link_out_of_the_uploads_is_refused(write: Any, tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(PORTRAITS[0].read_bytes())
    (tmp_path / "uploads" / "link.png").symlink_to(outside)
    with pytest.raises(MediaError, match="not uploaded"):
        write(image=str(tmp_path / "uploads" / "link.png"))


def test_long_speech_and_large_files_are_refused_unread(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = tmp_path / "uploads" / "hour.flac"
    soundfile.write(hour, np.zeros(8000 * 3600, np.int16), 8000)
    assert hour.stat().st_size < 2**20
    with pytest.raises(MediaError, match="longer than 60 s"):
        write(audio=str(hour))
    with pytest.raises(MediaError, match="longer than 60 s"):
        write(style_kind=StyleKind.CLIP, clip=str(hour))
    huge = tmp_path / "uploads" / "huge.png"
    with huge.open("wb") as file:
        file.truncate(51 * 2**20)
    with pytest.raises(MediaError, match="50 MiB"):
        write(image=str(huge))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"data": [{"path": "/uploads/a.png", "url": "http://host/file=a.png"}]}', False),
        ('{"data": [{"path": "http://10.0.0.1/a.png"}]}', True),
        ('{"data": [[{"a": {"path": " HTTPS:\\/\\/10.0.0.1/a.png"}}]]}', True),
        ('{"data": [{"path": "file:///etc/passwd"}]}', True),
        ("[" * 100_000, True),
        ("no json", False),
        ("", False),
    ],
)
def test_links_are_seen_wherever_they_are(body: str, expected: bool) -> None:
    assert has_link(body.encode()) is expected


def ask_guard(parts: list[bytes], path: str = "/gradio_api/queue/join") -> tuple[int, bytes]:
    """The status that the guard answers with, and the body that the app behind it receives."""
    received, statuses = b"", []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal received
        more = True
        while more:
            message = await receive()
            received += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})

    waiting = [
        {"type": "http.request", "body": part, "more_body": i < len(parts) - 1}
        for i, part in enumerate(parts)
    ]

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    asyncio.run(Guard(app)({"type": "http", "method": "POST", "path": path}, receive, send))
    return statuses[0], received


def test_the_guard_passes_forms_and_uploads_and_refuses_links_and_floods() -> None:
    form = json.dumps({"data": ["happy"]}).encode()
    assert ask_guard([form[:5], form[5:]]) == (200, form)
    assert ask_guard([b'{"path": "http://x"}']) == (400, b"")
    assert ask_guard([b"x" * (MOST_BYTES // 2)] * 3) == (413, b"")
    upload = [b"x" * MOST_BYTES] * 3
    assert ask_guard(upload, "/gradio_api/upload") == (200, b"".join(upload))
