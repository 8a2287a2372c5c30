"""The app by its API: what it makes, what it says, and what it refuses."""

import http.server
import json
import os
import socketserver
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from svp_diffusers.app.form import StyleKind
from svp_diffusers.app.page import WAITING
from svp_diffusers.media.manifest import hash_file
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import probe
from svp_diffusers.samples import PORTRAITS, SPEECH

from .conftest import Server

pytest.importorskip("gradio_client", reason="the extra `app` is not installed")

import httpx
from gradio_client import handle_file
from gradio_client.exceptions import AppError

Generate = Callable[..., Any]


def names_of(files: list[str]) -> set[str]:
    return {Path(path).name for path in files}


def test_a_video_with_its_manifest_comes_back(generate: Generate) -> None:
    made, files, notes = generate(seed=3)
    path = Path(made["video"] if isinstance(made, dict) else made)
    assert names_of(files) == {"talk.mp4", "talk.mp4.json"}
    manifest = json.loads(next(Path(each).read_text() for each in files if each.endswith("json")))
    assert manifest["output"]["sha256"] == hash_file(path)
    assert manifest["arguments"]["style"] == "happy"
    assert manifest["seed"] == 3
    assert read_mark(path) is not None
    assert probe(path).has_audio
    assert isinstance(notes, str)


STYLES: dict[str, tuple[dict[str, Any], str | None]] = {
    StyleKind.PRIOR: ({}, None),
    StyleKind.BLEND: ({"second_name": "sad", "blend": 0.5}, "between.style.safetensors"),
    StyleKind.MAP: ({"map_x": 0.3, "map_y": 0.6}, "map.style.safetensors"),
    StyleKind.SCHEDULE: ({"schedule": "0:sad,0.2:happy"}, "0:sad,0.2:happy"),
    StyleKind.CLIP: ({"clip": handle_file(str(SPEECH[1]))}, "clip.wav"),
}


@pytest.mark.parametrize("kind", STYLES)
def test_a_style_is_taken_from_wherever_the_form_says(generate: Generate, kind: StyleKind) -> None:
    changes, expected = STYLES[kind]
    _, files, _ = generate(style_kind=kind.value, **changes)
    manifest = next(path for path in files if path.endswith(".json"))
    assert json.loads(Path(manifest).read_text())["arguments"]["style"] == expected
    styles = {name for name in names_of(files) if name.endswith(".safetensors")}
    assert styles == ({expected} if str(expected).endswith(".safetensors") else set())


def test_a_style_that_was_downloaded_can_be_handed_in_again(generate: Generate) -> None:
    first, files, _ = generate(style_kind=StyleKind.MAP.value, map_x=0.2, map_y=0.2)
    style = next(path for path in files if path.endswith(".safetensors"))
    again, _, _ = generate(style_kind=StyleKind.FILE.value, style_file=handle_file(style))
    frames = [each["video"] if isinstance(each, dict) else each for each in (first, again)]
    assert hash_file(frames[0]) == hash_file(frames[1])


def test_several_performances_are_side_by_side_and_each_by_itself(generate: Generate) -> None:
    made, files, _ = generate(performances=2)
    assert {"talk.mp4", "talk-1.mp4", "talk-2.mp4"} < names_of(files)
    assert len(files) == 6
    whole = probe(made["video"] if isinstance(made, dict) else made)
    assert whole.width == 2 * whole.height


def test_a_point_of_the_map_is_described(client: Any) -> None:
    picture, words = client.predict(x=0.5, y=0.5, api_name="/describe_point")
    assert "%" in words
    with Image.open(picture["path"] if isinstance(picture, dict) else picture) as image:
        assert image.width == image.height


def faceless(folder: Path) -> str:
    Image.new("RGB", (128, 128), "green").save(folder / "green.png")
    return str(folder / "green.png")


def silent(folder: Path) -> str:
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    return str(folder / "silence.wav")


ERRORS: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no portrait": (lambda t: {"image": None}, "There is no portrait"),
    "nothing said": (lambda t: {"audio": None}, "Nothing is said"),
    "no face": (lambda t: {"image": handle_file(faceless(t))}, "no face was found in portrait.png"),
    "silence": (lambda t: {"audio": handle_file(silent(t))}, "speech.wav is silent"),
    "a late style": (
        lambda t: {"style_kind": StyleKind.SCHEDULE.value, "schedule": "0:sad,9:happy"},
        "starts a style at 9 s",
    ),
    "a schedule that is none": (
        lambda t: {"style_kind": StyleKind.SCHEDULE.value, "schedule": "sad then happy"},
        "unknown style",
    ),
    "a style file that is none": (
        lambda t: {
            "style_kind": StyleKind.FILE.value,
            "style_file": handle_file(str(PORTRAITS[0])),
        },
        "not a style file",
    ),
    "too many performances": (lambda t: {"performances": 9}, "performances"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_went_wrong_is_said_without_any_place_on_the_server(
    generate: Generate, server: Server, tmp_path: Path, what: str
) -> None:
    changes, words = ERRORS[what]
    with pytest.raises(AppError) as raised:
        generate(**changes(tmp_path))
    assert words in str(raised.value)
    assert str(server.folder) not in str(raised.value)
    assert not list(server.folder.glob("performance-*/portrait*"))


def begin_long(generate: Generate, folder: Path) -> Any:
    """Ask for a video of 45 seconds, and wait until it is begun."""
    sound, rate = soundfile.read(SPEECH[0])
    soundfile.write(folder / "long.wav", np.tile(sound, 15)[: 45 * rate], rate)
    job = generate(submit=True, audio=handle_file(str(folder / "long.wav")))
    while not job.done() and "writing" not in str(job.status().progress_data):
        time.sleep(0.05)
    return job


def test_a_video_can_be_stopped_and_the_next_one_made(
    generate: Generate, client: Any, server: Server, tmp_path: Path
) -> None:
    job = begin_long(generate, tmp_path)
    client.predict(api_name="/stop")
    with pytest.raises(Exception, match=r"Stopped|ancel"):
        job.result(timeout=120)
    made, _, _ = generate()
    assert probe(made["video"] if isinstance(made, dict) else made).has_audio


# What hostile users try.


@pytest.fixture
def local_service() -> Iterator[tuple[str, list[str]]]:
    """A web server of this machine that nobody else may reach, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PORTRAITS[0].read_bytes())

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_address[1]}", asked
        service.shutdown()


def file_at(path: str) -> dict[str, Any]:
    return {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}


def upload(server: Server, content: bytes) -> dict[str, Any]:
    """Upload a file as a browser does."""
    sent = httpx.post(f"{server.url}gradio_api/upload", files={"files": ("a", content)})
    return file_at(sent.json()[0])


def send_form(server: Server, image: Any, audio: Any = None) -> httpx.Response:
    """Send a form as a browser does, with any files; the answer names the event, or refuses."""
    fields = [
        *(image, "a line", StyleKind.PRIOR.value, "happy", "sad", 0.5, 0.5, 0.5, ""),
        *(1, 0, 1, "", 0, audio, None, None),
    ]
    address = f"{server.url}gradio_api/call/generate"
    return httpx.post(address, json={"data": fields}, timeout=60)


def wait_for(server: Server, sent: httpx.Response) -> str:
    """What became of a form that was accepted."""
    event = sent.json()["event_id"]
    return httpx.get(f"{server.url}gradio_api/call/generate/{event}", timeout=120).text


def call_raw(server: Server, image: Any) -> str:
    sent = send_form(server, image)
    return wait_for(server, sent) if sent.status_code == 200 else f"{sent.status_code} {sent.text}"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.png"
    path.write_bytes(PORTRAITS[0].read_bytes())
    return path


def test_no_file_of_the_server_is_opened_as_an_input(server: Server, secret: Path) -> None:
    up = os.path.relpath(secret, server.folder)
    for path in (str(secret), f"{server.folder}/{up}", f"{server.folder}/./../../{secret}"):
        server.read.clear()
        answer = call_raw(server, file_at(path))
        assert "error" in answer
        assert '"video"' not in answer
        assert not [each for each in server.read if os.path.realpath(each) == str(secret)], path


def test_no_file_of_the_server_is_given_away(server: Server, secret: Path) -> None:
    here = Path(__file__)
    for path in (secret, "/etc/passwd", here, Path.cwd() / "setup.cfg"):
        for prefix in ("", f"{server.folder}/../../../../.."):
            answer = httpx.get(f"{server.url}gradio_api/file={prefix}{path}")
            assert answer.status_code in (403, 404), path


def test_no_link_is_followed(server: Server, local_service: tuple[str, list[str]]) -> None:
    url, asked = local_service
    for link in (f"{url}/a.png", f"{url}/a.png".replace("http", "HTTP"), "http://[::1]/a.png"):
        assert call_raw(server, file_at(link)).startswith("400")
    with_url = {**file_at(""), "path": None, "url": f"{url}/a.png"}
    assert "error" in call_raw(server, with_url)
    proxied = httpx.get(f"{server.url}gradio_api/proxy={url}/a.png")
    assert proxied.status_code >= 400
    assert asked == []


def test_endless_uploads_and_messages_are_cut_off(server: Server) -> None:
    def pour() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(60):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    answer = httpx.post(
        f"{server.url}gradio_api/upload",
        content=pour(),
        headers={"content-type": "multipart/form-data; boundary=x"},
        timeout=60,
    )
    assert answer.status_code == 413
    answer = httpx.post(
        f"{server.url}gradio_api/call/generate",
        content=(bytes(2**20) for _ in range(60)),
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 413


def test_an_upload_stays_in_the_folder_whatever_its_name(server: Server, tmp_path: Path) -> None:
    server.written.clear()
    for name in ("../../evil.png", f"{tmp_path}/evil.png", "..\\evil.png", "a\x00b.png"):
        answer = httpx.post(
            f"{server.url}gradio_api/upload", files={"files": (name, PORTRAITS[0].read_bytes())}
        )
        for path in answer.json() if answer.status_code == 200 else ():
            assert Path(path).resolve().is_relative_to(server.folder)
    assert not (tmp_path / "evil.png").exists()


def wrong_types(folder: Path) -> Iterator[dict[str, Any]]:
    with zipfile.ZipFile(folder / "bomb.png", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**24))
    bomb = folder / "pixels.png"
    Image.new("1", (30000, 30000)).save(bomb)
    text = folder / "text.wav"
    text.write_text("#EXTM3U\nfile:///etc/passwd\n")
    playlist = folder / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    vector = folder / "drawing.svg"
    vector.write_text('<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>')
    for image in (folder / "bomb.png", bomb, vector):
        yield {"image": handle_file(str(image))}
    for audio in (text, playlist, PORTRAITS[0]):
        yield {"audio": handle_file(str(audio))}
    for kind, name in ((StyleKind.FILE, "style_file"), (StyleKind.CLIP, "clip")):
        yield {"style_kind": kind.value, name: handle_file(str(text))}


def test_files_of_a_wrong_type_are_refused_and_lead_nowhere_else(
    generate: Generate, server: Server, tmp_path: Path
) -> None:
    server.read.clear()
    for changes in wrong_types(tmp_path):
        with pytest.raises(AppError):
            generate(**changes)
    assert "/etc/passwd" not in server.read


def test_impossible_values_are_refused(generate: Generate) -> None:
    for changes in (
        {"performances": 10**9},
        {"seed": -1},
        {"temperature": -1},
        {"guidance_scale": "all"},
        {"style_name": {"path": "/etc/passwd"}},
        {"head_motion": "sideways"},
        {"text": "x" * 10**5, "audio": None},
    ):
        with pytest.raises(AppError):
            generate(**changes)


def test_fifty_requests_at_once_are_made_in_turn_or_told_to_come_back(
    generate: Generate, client: Any, server: Server, tmp_path: Path
) -> None:
    job = begin_long(generate, tmp_path)
    green = Path(faceless(tmp_path)).read_bytes()
    image = upload(server, green)
    with ThreadPoolExecutor(50) as pool:
        sent = list(pool.map(lambda _: send_form(server, image), range(50)))
    assert not job.done()
    accepted = [each for each in sent if each.status_code == 200]
    refused = [each for each in sent if each.status_code != 200]
    assert len(accepted) == WAITING
    assert all("full" in each.text for each in refused)
    stop = {"data": [], "session_hash": client.session_hash}
    stopped = httpx.post(f"{server.url}gradio_api/run/stop", json=stop)  # as the button does
    assert stopped.status_code == 200
    for each in accepted:
        assert "no face was found" in wait_for(server, each)


def test_nothing_is_written_outside_the_folder(server: Server, short_speech: Path) -> None:
    server.written.clear()
    image = upload(server, PORTRAITS[0].read_bytes())
    audio = upload(server, short_speech.read_bytes())
    assert "talk.mp4" in wait_for(server, send_form(server, image, audio))
    folders = (str(server.folder), "/dev/")
    assert [path for path in server.written if not os.path.realpath(path).startswith(folders)] == []
