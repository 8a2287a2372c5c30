"""A video signed by C2PA says who made it and how, and that nobody changed it since."""

import sys
from collections.abc import Callable
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from certificates import read_statement, write_credentials
from svp_diffusers import __version__
from svp_diffusers.errors import (
    ConfigurationError,
    MediaError,
    MissingDependencyError,
    OutputError,
    SVPError,
)
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE, read_mark
from svp_diffusers.media.signing import choose_signer, open_signer
from svp_diffusers.media.video import read_frames, write_video

from .samples import make_frames

FPS = Fraction(25)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    write_video(path, make_frames(5), FPS)
    return path


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("P-256", "Es256"),
        ("P-384", "Es384"),
        ("P-521", "Es512"),
        ("RSA-2048", "Ps256"),
        ("Ed25519", "Ed25519"),
    ],
)
def test_the_statement_says_who_signed_and_that_a_model_made_the_video(
    tmp_path: Path, video: Path, kind: str, algorithm: str
) -> None:
    open_signer(*write_credentials(tmp_path, kind)).sign(video, "talk.mp4")
    statement, state = read_statement(video)
    assert state == "Valid"
    assert statement["title"] == "talk.mp4"
    assert statement["signature_info"]["alg"] == algorithm
    assert statement["signature_info"]["issuer"] == "Studio"
    assert "time" not in statement["signature_info"]  # no server was asked for it
    (actions,) = (each for each in statement["assertions"] if "actions" in each["label"])
    (action,) = actions["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert action["softwareAgent"] == {"name": "svp-diffusers", "version": __version__}


def test_the_frames_and_the_mark_stay_and_the_video_is_the_only_file(
    tmp_path: Path, video: Path
) -> None:
    frames, mark = np.stack(list(read_frames(video))), read_mark(video)
    signer = open_signer(*write_credentials(tmp_path))
    before = sorted(tmp_path.iterdir())
    signer.sign(video, "talk.mp4")
    assert (np.stack(list(read_frames(video))) == frames).all()
    assert read_mark(video) == mark
    assert sorted(tmp_path.iterdir()) == before


def test_a_change_of_one_bit_is_noticed(tmp_path: Path, video: Path) -> None:
    open_signer(*write_credentials(tmp_path)).sign(video, "talk.mp4")
    content = bytearray(video.read_bytes())
    content[content.index(b"mdat") + 40] ^= 1
    video.write_bytes(content)
    assert read_statement(video)[1] == "Invalid"


def test_nothing_is_sent_anywhere(tmp_path: Path, video: Path) -> None:
    asked: list[str] = []

    class Responder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_POST = do_GET  # noqa: N815 - http.server names it

    with HTTPServer(("127.0.0.1", 0), Responder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        open_signer(*write_credentials(tmp_path, responder=address)).sign(video, "talk.mp4")
        server.shutdown()
    assert asked == []
    assert read_statement(video)[1] == "Valid"


def test_what_cannot_be_signed_stays_as_it_was(tmp_path: Path) -> None:
    signer = open_signer(*write_credentials(tmp_path))
    damaged = tmp_path / ".partial-talk.mp4"
    damaged.write_bytes(b"hello" * 100)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"talk\.mp4 cannot be signed"):
        signer.sign(damaged, "talk.mp4")
    assert damaged.read_bytes() == b"hello" * 100
    assert sorted(tmp_path.iterdir()) == before


def changed(which: int, content: bytes) -> Callable[[Path], tuple[Path, Path]]:
    def make(folder: Path) -> tuple[Path, Path]:
        made = write_credentials(folder)
        made[which].write_bytes(content)
        return made

    return make


def of_another(folder: Path) -> tuple[Path, Path]:
    (folder / "other").mkdir()
    return write_credentials(folder)[0], write_credentials(folder / "other")[1]


def authority_first(folder: Path) -> tuple[Path, Path]:
    certificate, key = write_credentials(folder)
    first, second = certificate.read_text().split("-----END CERTIFICATE-----\n")[:2]
    end = "-----END CERTIFICATE-----\n"
    certificate.write_text(second + end + first + end)
    return certificate, key


BAD: dict[str, tuple[Callable[[Path], tuple[Path, Path]], type[SVPError], str]] = {
    "no such certificate": (
        lambda f: (f / "absent.pem", write_credentials(f)[1]),
        MediaError,
        "absent.pem does not exist",
    ),
    "no such key": (
        lambda f: (write_credentials(f)[0], f / "absent.pem"),
        MediaError,
        "absent.pem does not exist",
    ),
    "a folder": (lambda f: (f, write_credentials(f)[1]), MediaError, "is a folder"),
    "an empty key": (changed(1, b""), MediaError, "key.pem is empty"),
    "a certificate of text": (changed(0, b"hello"), ConfigurationError, "not a certificate in PEM"),
    "a key of text": (changed(1, b"hello"), ConfigurationError, "not a private key in PEM"),
    "a key that is binary": (changed(1, bytes(256)), ConfigurationError, "not a private key"),
    "2 MiB of a key": (changed(1, b"-" * 2**21), ConfigurationError, "larger than 1 MiB"),
    "2 MiB of certificates": (changed(0, b"-" * 2**21), ConfigurationError, "larger than 1 MiB"),
    "an encrypted key": (
        lambda f: write_credentials(f, password=b"secret"),
        ConfigurationError,
        "key.pem is encrypted",
    ),
    "a key as certificate": (
        lambda f: (write_credentials(f)[1], f / "key.pem"),
        ConfigurationError,
        "not a certificate in PEM",
    ),
    "a certificate as key": (
        lambda f: (write_credentials(f)[0], f / "certificate.pem"),
        ConfigurationError,
        "not a private key",
    ),
    "the key of another certificate": (of_another, ConfigurationError, "is not the key of"),
    "the authority's certificate first": (authority_first, ConfigurationError, "comes first"),
    "a key of an unknown curve": (
        lambda f: write_credentials(f, "secp256k1"),
        ConfigurationError,
        "P-256, P-384",
    ),
    "a short key": (
        lambda f: write_credentials(f, "RSA-1024"),
        ConfigurationError,
        "C2PA does not allow",
    ),
    "a certificate of the past": (
        lambda f: write_credentials(f, days=(-9, -1)),
        ConfigurationError,
        "valid today",
    ),
    "a certificate of the future": (
        lambda f: write_credentials(f, days=(1, 9)),
        ConfigurationError,
        "valid today",
    ),
    "an authority's certificate": (
        lambda f: write_credentials(f, is_authority=True),
        ConfigurationError,
        "an authority's",
    ),
    "a certificate for nothing": (
        lambda f: write_credentials(f, for_signing=False),
        ConfigurationError,
        "for signing",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_credentials_that_cannot_sign_are_refused(tmp_path: Path, kind: str) -> None:
    make, error, said = BAD[kind]
    with pytest.raises(error, match=said) as caught:
        choose_signer(*make(tmp_path))
    assert type(caught.value) is error
    assert "PRIVATE" not in str(caught.value)


def test_a_signer_does_not_show_its_key(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(open_signer(*write_credentials(tmp_path)))


def test_nobody_signs_where_nothing_is_asked_for() -> None:
    assert choose_signer(None, None) is None


@pytest.mark.parametrize("given", [(Path("a.pem"), None), (None, Path("a.pem"))])
def test_a_certificate_goes_with_its_key(given: tuple[Path | None, Path | None]) -> None:
    with pytest.raises(ConfigurationError, match="--sign and --sign-key"):
        choose_signer(*given)


@pytest.mark.parametrize("absent", ["c2pa", "cryptography.x509"])
def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingDependencyError, match=r"svp-diffusers\[c2pa\]"):
        open_signer(Path("a.pem"), Path("a.pem"))
