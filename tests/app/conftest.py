"""A server of the app on this machine, and a client of it."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import soundfile

from svp_diffusers.app.form import StyleKind
from svp_diffusers.app.page import build_page
from svp_diffusers.app.performer import Performer
from svp_diffusers.app.serving import keep_to, launch_options
from svp_diffusers.samples import PORTRAITS, SPEECH


@dataclass
class Server:
    """The running app: its address, its folder, and the files it has opened while watched."""

    url: str
    folder: Path
    performer: Performer
    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event == "open" and isinstance(arguments[0], str):
            mode = arguments[1] or ""
            flags = arguments[2] or 0
            writes = any(letter in mode for letter in "wxa+") if mode else flags & 0o3
            (self.written if writes else self.read).add(arguments[0])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    keep_to(folder)  # before Gradio is imported for the first time
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    performer = Performer(folder, device="cpu")
    page = build_page(performer)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(performer))
    running = Server(url, folder, performer)
    sys.addaudithook(running.watch)
    yield running
    page.close()


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.4 seconds."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    samples, rate = soundfile.read(SPEECH[0])
    soundfile.write(path, samples[rate // 2 : rate // 2 + int(0.4 * rate)], rate)
    return path


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Any]:
    from gradio_client import Client

    connected = Client(server.url, verbose=False, download_files=str(tmp_path / "downloads"))
    yield connected
    connected.close()


@pytest.fixture
def generate(client: Any, short_speech: Path) -> Callable[..., Any]:
    """Call the app's API with some arguments changed; with `submit` the job is not awaited."""
    from gradio_client import handle_file

    def generate(submit: bool = False, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "image": handle_file(str(PORTRAITS[2])),
            "audio": handle_file(str(short_speech)),
            "style_kind": StyleKind.NAME.value,
            "style_name": "happy",
        }
        call = client.submit if submit else client.predict
        return call(**{**arguments, **changes}, api_name="/generate")

    return generate
