"""Videos that are written as their frames are finished."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.generation import generate, streaming
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media import audio
from svp_diffusers.media.audio import open_recording, read_audio
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.video import read_frames
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .conftest import write_speech


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint without motion modules."""
    pipeline = build_random_pipeline()
    pipeline.unet.enable_motion_modules(False)
    folder = tmp_path_factory.mktemp("still")
    pipeline.save_pretrained(folder)
    return str(folder)


def make(files: Path, output: Path, speech: Path, model: str, **changes: Any) -> dict[str, Any]:
    """The arguments in the manifest of a video."""
    request = GenerationRequest(
        image=files / "portrait.png",
        audio=speech,
        output=output,
        model=model,
        **{"steps": 1, "size": 64, "guidance_scale": 1.0, "detect_face": False, **changes},
    )
    generate_video(request)
    arguments: dict[str, Any] = json.loads(get_manifest_path(output).read_text())["arguments"]
    return arguments


def test_a_streamed_video_is_that_of_a_call(files: Path, tmp_path: Path, still: str) -> None:
    speech = write_speech(tmp_path / "speech.wav", 2.2, 22050)
    called = make(files, tmp_path / "called.mp4", speech, still)
    streamed = make(files, tmp_path / "streamed.mp4", speech, still, stream=True)
    assert (called["stream"], streamed["stream"]) == (False, True)
    frames = [
        np.stack(list(read_frames(tmp_path / f"{each}.mp4"))) for each in ("called", "streamed")
    ]
    assert len(frames[0]) == 55
    assert np.array_equal(*frames)
    sounds = [read_audio(tmp_path / f"{each}.mp4").samples for each in ("called", "streamed")]
    assert np.array_equal(*sounds)


@pytest.mark.slow
def test_long_speech_is_streamed_by_itself_where_frames_are_the_same(
    files: Path, tmp_path: Path, still: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = write_speech(tmp_path / "speech.wav", 0.3)
    moving = str(files / "checkpoint")
    monkeypatch.setattr(streaming, "LONG_SECONDS", 0.2)

    def is_streamed(name: str, **changes: Any) -> bool:
        arguments = make(files, tmp_path / f"{name}.mp4", speech, **changes)
        return bool(arguments["stream"])

    assert is_streamed("still", model=still)
    assert not is_streamed("moving", model=moving)
    assert not is_streamed("two", model=still, num_styles=2)
    monkeypatch.setattr(streaming, "LONG_SECONDS", 0.4)
    assert not is_streamed("short", model=still)


def test_motion_modules_stream_when_asked(files: Path, tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", 1.9)
    windows = {"context_length": 16, "context_overlap": 4}
    make(files, tmp_path / "v.mp4", speech, str(files / "checkpoint"), stream=True, **windows)
    assert len(list(read_frames(tmp_path / "v.mp4"))) == 48


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_styles": 2}, "one performance of one face"),
        ({"style": "from_audio"}, "needs all of the speech"),
        ({"style": "0:prior,0.1:from_audio"}, "needs all of the speech"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_weights_are_loaded(
    files: Path, tmp_path: Path, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "load_pipeline", None)
    with pytest.raises(ConfigurationError, match=said):
        make(
            *(files, tmp_path / "v.mp4", files / "speech.wav", str(files / "checkpoint")),
            stream=True,
            **changes,
        )


def test_a_failure_half_way_leaves_nothing(
    files: Path, tmp_path: Path, still: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = write_speech(tmp_path / "speech.wav", 2.0)
    decode = SVPTalkingHeadPipeline.decode_latents
    decoded: list[int] = []

    def fail(self: SVPTalkingHeadPipeline, latents: torch.Tensor, *detail: Any) -> Any:
        decoded.append(latents.shape[1])
        if len(decoded) == 2:
            raise FloatingPointError("NaN in the second piece")
        return decode(self, latents, *detail)

    monkeypatch.setattr(SVPTalkingHeadPipeline, "decode_latents", fail)
    with pytest.raises(CheckpointError, match="the second piece"):
        make(files, tmp_path / "v.mp4", speech, still, stream=True)
    assert decoded == [24, 24]
    assert [each.name for each in tmp_path.iterdir()] == ["speech.wav"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a", "mp4"])
def test_a_file_is_read_in_pieces_as_a_whole(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 44100 * 2)).astype(np.float32)
    path = tmp_path / f"speech.{suffix}"
    if suffix in ("wav", "flac"):
        soundfile.write(path, noise.T, 44100)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100, layout="stereo")
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="stereo")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    whole = read_audio(path)
    monkeypatch.setattr(audio, "PIECE_SECONDS", 0.1)
    recording = open_recording(path)
    pieces = list(recording.read())
    assert len(pieces) > 10
    assert np.array_equal(np.concatenate(pieces, axis=1), whole.samples)
    assert recording.num_samples == whole.num_samples
    assert (recording.channels, recording.duration) == (2, whole.duration)
