"""Everything a user can get wrong: one typed error, before any weight is loaded, no file left."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from certificates import write_credentials
from svp_diffusers.cli.main import main
from svp_diffusers.errors import (
    CheckpointError,
    ConfigurationError,
    FaceError,
    MediaError,
    OutputError,
    StyleError,
    SVPError,
)
from svp_diffusers.generation import generate
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.models.style_encoder_svp import StyleDistribution

from .conftest import write_speech
from .test_generation import FoundFaces

Change = dict[str, Any]


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def truncated_mp3(folder: Path) -> Path:
    whole = write_speech(folder / "whole.mp3", 4.0)
    content = whole.read_bytes()
    return write(folder / "cut.mp3", content[: len(content) // 2])


def samples(folder: Path, values: np.ndarray) -> Path:
    path = folder / "samples.wav"
    soundfile.write(path, values, 16000, subtype="FLOAT")
    return path


def foreign_style(folder: Path) -> Path:
    path = folder / "foreign.style.safetensors"
    StyleDistribution(torch.zeros(16), torch.ones(16), encoder_id="another").save(path)
    return path


def keypoints(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "keypoints.npy", array)
    return folder / "keypoints.npy"


def broken_checkpoint(files: Path, folder: Path, damage: Callable[[Path], Any]) -> str:
    copy = folder / "broken"
    shutil.copytree(files / "checkpoint", copy)
    damage(copy)
    return str(copy)


NOISE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
DOT = Image.new("RGB", (1, 1))
CLEAR = Image.new("RGBA", (96, 96), (255, 0, 0, 128))

UPRIGHT = np.array(
    [[30, 40], [30, 50], [70, 50], [70, 40], [50, 40], [50, 46], [40, 40], [60, 40]], np.float32
)

BAD: dict[str, tuple[type[SVPError], Callable[[Path, Path], Change]]] = {
    # the portrait
    "no such picture": (MediaError, lambda f, t: {"image": t / "none.png"}),
    "an empty picture": (MediaError, lambda f, t: {"image": write(t / "e.png", b"")}),
    "a PNG that is text": (MediaError, lambda f, t: {"image": write(t / "t.png", b"hello" * 99)}),
    "a folder for a picture": (MediaError, lambda f, t: {"image": t}),
    "a 1x1 picture": (
        MediaError,
        lambda f, t: {"image": save(Image.new("RGB", (1, 1)), t / "1.png")},
    ),
    "a truncated picture": (
        MediaError,
        lambda f, t: {"image": write(t / "p.png", (f / "portrait.png").read_bytes()[:5000])},
    ),
    "an animated picture": (
        MediaError,
        lambda f, t: {
            "image": save(
                Image.fromarray(NOISE),
                t / "g.gif",
                save_all=True,
                append_images=[Image.fromarray(255 - NOISE)],
            )
        },
    ),
    # the face
    "no face": (FaceError, lambda f, t: {"detector": FoundFaces()}),
    "not that many faces": (
        FaceError,
        lambda f, t: {"face_index": 2, "detector": FoundFaces((0, 0, 9, 9), (9, 9, 40, 40))},
    ),
    "a box beyond the picture": (FaceError, lambda f, t: {"bbox": (0.0, 0.0, 500.0, 50.0)}),
    "an empty box": (FaceError, lambda f, t: {"bbox": (10.0, 10.0, 10.0, 50.0)}),
    "a box where no face is looked for": (
        ConfigurationError,
        lambda f, t: {"bbox": (0.0, 0.0, 50.0, 50.0), "detect_face": False},
    ),
    "a box and the number of a face": (
        ConfigurationError,
        lambda f, t: {"bbox": (0.0, 0.0, 50.0, 50.0), "face_index": 0},
    ),
    "a picture that shows no face": (FaceError, lambda f, t: {}),
    "keypoints with y before x": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, UPRIGHT[:, ::-1])},
    ),
    "keypoints as fractions of the picture": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, np.linspace(0, 1, 16).reshape(8, 2))},
    ),
    "keypoints outside the picture": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, 999.0 + UPRIGHT)},
    ),
    "keypoints in one place": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, np.full((8, 2), 30.0))},
    ),
    "keypoints of another layout": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, np.ones((68, 2)))},
    ),
    "NaN keypoints": (
        FaceError,
        lambda f, t: {"portrait_keypoints": keypoints(t, np.full((8, 2), np.nan))},
    ),
    "a driver without the portrait's keypoints": (
        FaceError,
        lambda f, t: {"head_keypoints": keypoints(t, np.ones((5, 8, 2)))},
    ),
    "two drivers": (
        ConfigurationError,
        lambda f, t: {"head_keypoints": f / "speech.wav", "head_video": f / "speech.wav"},
    ),
    "head motion of another kind": (ConfigurationError, lambda f, t: {"head_motion": "nodding"}),
    "head motion of negative size": (ConfigurationError, lambda f, t: {"head_motion_scale": -1.0}),
    "a driver and generated motion": (
        ConfigurationError,
        lambda f, t: {"head_keypoints": f / "speech.wav", "head_motion": "generated"},
    ),
    "generated motion of a head whose place is not known": (
        FaceError,
        lambda f, t: {"head_motion": "generated", "detect_face": False},
    ),
    "generated motion of a checkpoint without a model of it": (
        CheckpointError,
        lambda f, t: {
            "head_motion": "generated",
            "detect_face": False,
            "portrait_keypoints": keypoints(t, UPRIGHT),
        },
    ),
    # the speech
    "no such recording": (MediaError, lambda f, t: {"audio": t / "none.wav"}),
    "an empty recording": (MediaError, lambda f, t: {"audio": write(t / "e.wav", b"")}),
    "a recording that is text": (
        MediaError,
        lambda f, t: {"audio": write(t / "t.wav", b"hello" * 99)},
    ),
    "a video without sound": (MediaError, lambda f, t: {"audio": silent_video(t / "v.mp4")}),
    "a truncated MP3": (MediaError, lambda f, t: {"audio": truncated_mp3(t)}),
    "a truncated WAV": (
        MediaError,
        lambda f, t: {"audio": write(t / "w.wav", (f / "speech.wav").read_bytes()[:4000])},
    ),
    "a silent recording": (MediaError, lambda f, t: {"audio": samples(t, np.zeros(16000))}),
    "a recording with NaN": (
        MediaError,
        lambda f, t: {"audio": samples(t, np.full(16000, np.nan))},
    ),
    "ten milliseconds": (MediaError, lambda f, t: {"audio": samples(t, NOISE.ravel()[:160] / 999)}),
    "nobody who speaks": (ConfigurationError, lambda f, t: {"audio": None}),
    "a speaker who is not in the picture": (
        FaceError,
        lambda f, t: {
            "speakers": {0: f / "speech.wav", 7: f / "speech.wav"},
            "paste_back": True,
            "detector": FoundFaces((10, 10, 50, 60)),
        },
    ),
    "speakers without the whole picture": (
        ConfigurationError,
        lambda f, t: {"speakers": {0: f / "speech.wav"}},
    ),
    "speakers and a face by hand": (
        ConfigurationError,
        lambda f, t: {"speakers": {0: f / "speech.wav"}, "paste_back": True, "face_index": 1},
    ),
    "a speaker who is missing": (
        MediaError,
        lambda f, t: {"speakers": {0: t / "none.wav"}, "paste_back": True},
    ),
    "a speaker who goes on after the sound": (
        MediaError,
        lambda f, t: {
            "speakers": {0: samples(t, 0.1 * np.resize(NOISE.ravel() / 255, 32000))},
            "paste_back": True,
        },
    ),
    "several performances of the whole picture": (
        ConfigurationError,
        lambda f, t: {"paste_back": True, "num_styles": 2},
    ),
    # the style
    "an unknown style": (StyleError, lambda f, t: {"style": "ecstatic"}),
    "a style of another encoder": (StyleError, lambda f, t: {"style": str(foreign_style(t))}),
    "a style file that is text": (
        StyleError,
        lambda f, t: {"style": str(write(t / "s.style.safetensors", b"hello" * 99))},
    ),
    "no such style file": (MediaError, lambda f, t: {"style": str(t / "n.style.safetensors")}),
    "a schedule out of order": (StyleError, lambda f, t: {"style": "0:prior,2:prior,1:prior"}),
    "a schedule that is none": (StyleError, lambda f, t: {"style": "0:prior,then:prior"}),
    "a schedule past the end": (StyleError, lambda f, t: {"style": "0:prior,2:prior"}),
    "a clip for a style that is missing": (MediaError, lambda f, t: {"style": str(t / "n.wav")}),
    # the options
    "no steps": (ConfigurationError, lambda f, t: {"steps": 0}),
    "a size that is no multiple of 8": (ConfigurationError, lambda f, t: {"size": 100}),
    "a tiny size": (ConfigurationError, lambda f, t: {"size": 8}),
    "a frame rate of words": (ConfigurationError, lambda f, t: {"fps": "fast"}),
    "a frame rate with an exponent": (ConfigurationError, lambda f, t: {"fps": "1e9"}),
    "a frame rate of 0": (ConfigurationError, lambda f, t: {"fps": "0"}),
    "a negative temperature": (ConfigurationError, lambda f, t: {"style_temperature": -1.0}),
    "an infinite guidance": (ConfigurationError, lambda f, t: {"guidance_scale": float("inf")}),
    "windows beyond the model": (ConfigurationError, lambda f, t: {"context_length": 33}),
    "an overlap of whole windows": (ConfigurationError, lambda f, t: {"context_overlap": 24}),
    "a device that is not there": (ConfigurationError, lambda f, t: {"device": "cuda:7"}),
    "a dtype that is none": (ConfigurationError, lambda f, t: {"dtype": "float12"}),
    "no performances": (ConfigurationError, lambda f, t: {"num_styles": 0}),
    # the checkpoint
    "no such checkpoint": (CheckpointError, lambda f, t: {"model": str(t)}),
    "a checkpoint without its UNet": (
        CheckpointError,
        lambda f, t: {"model": broken_checkpoint(f, t, lambda c: shutil.rmtree(c / "unet"))},
    ),
    "a checkpoint whose index is text": (
        CheckpointError,
        lambda f, t: {
            "model": broken_checkpoint(f, t, lambda c: write(c / "model_index.json", b"hello"))
        },
    ),
    # the output
    "a folder for an output": (
        OutputError,
        lambda f, t: {"output": (t / "folder.mp4").mkdir() or t / "folder.mp4"},
    ),
    "an output below a file": (
        OutputError,
        lambda f, t: {"output": write(t / "file", b"x") / "video.mp4"},
    ),
    "a scale of no motion": (
        ConfigurationError,
        lambda f, t: {"head_motion": "still", "head_motion_scale": 2.0},
    ),
    "a rate of no keypoints": (ConfigurationError, lambda f, t: {"head_keypoints_fps": "30"}),
    "a device without values": (ConfigurationError, lambda f, t: {"device": "meta"}),
    "a certificate without its key": (
        ConfigurationError,
        lambda f, t: {"sign": write(t / "c.pem", b"hello")},
    ),
    "no such certificate": (
        MediaError,
        lambda f, t: {"sign": t / "none.pem", "sign_key": t / "none.pem"},
    ),
    "a certificate of text": (
        ConfigurationError,
        lambda f, t: {
            "sign": write(write_credentials(t)[0], b"hello"),
            "sign_key": t / "key.pem",
        },
    ),
    "a key of text": (
        ConfigurationError,
        lambda f, t: {
            "sign_key": write(write_credentials(t)[1], b"hello"),
            "sign": t / "certificate.pem",
        },
    ),
    "an encrypted key": (
        ConfigurationError,
        lambda f, t: dict(
            zip(("sign", "sign_key"), write_credentials(t, password=b"secret"), strict=True)
        ),
    ),
    "an output over the key": (
        ConfigurationError,
        lambda f, t: {
            "sign": write_credentials(t)[0],
            "sign_key": (t / "key.pem").rename(t / "video.mp4.json"),
            "detect_face": False,
        },
    ),
    "an output that is no MP4": (OutputError, lambda f, t: {"output": t / "video.avi"}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kind, change = BAD[name]
    changes = change(files, tmp_path)
    detector = changes.pop("detector", None)
    monkeypatch.setattr(generate, "load_pipeline", lambda *_: pytest.fail("weights were loaded"))
    before = sorted(tmp_path.rglob("*"))
    arguments: Change = {
        "image": files / "portrait.png",
        "audio": files / "speech.wav",
        "output": tmp_path / "video.mp4",
        "model": str(files / "checkpoint"),
    }
    with pytest.raises(kind) as caught:
        generate_video(GenerationRequest(**{**arguments, **changes}), detector=detector)
    assert type(caught.value).__module__ == "svp_diffusers.errors"
    assert len(str(caught.value)) > 20
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_weights_are_a_checkpoint_error(files: Path, tmp_path: Path) -> None:
    weights = "unet/diffusion_pytorch_model.safetensors"
    model = broken_checkpoint(files, tmp_path, lambda c: write(c / weights, b"hello" * 99))
    request = GenerationRequest(
        files / "portrait.png",
        files / "speech.wav",
        tmp_path / "video.mp4",
        model,
        detect_face=False,
    )
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        generate_video(request)
    assert not (tmp_path / "video.mp4").exists()


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["svp", "generate", str(tmp_path / "no.png"), "no.wav", "-o", str(tmp_path / "v.mp4")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert "does not exist" in error
    assert "Traceback" not in error


LIMITED = """
import resource, sys
from svp_diffusers.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
main()
"""


def test_a_full_disk(files: Path, tmp_path: Path) -> None:
    """A limit on the size of files makes writing fail as a full disk does."""
    arguments = ["generate", files / "portrait.png", files / "speech.wav", "--steps", 1]
    arguments += ["-o", tmp_path / "video.mp4", "--model", files / "checkpoint"]
    arguments += ["--no-detect-face"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_small_tmpfs(files: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        request = GenerationRequest(
            files / "portrait.png",
            files / "speech.wav",
            disk / "video.mp4",
            str(files / "checkpoint"),
            steps=1,
            detect_face=False,
        )
        with pytest.raises(OutputError, match="No space"):
            generate_video(request)
        assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
