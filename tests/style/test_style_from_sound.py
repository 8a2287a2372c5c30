"""A style from a recording alone, with the checkpoint that ships with the package and others."""

import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from svp_diffusers.checkpoints.loading import SVP_TINY, find_checkpoint, load_style_encoder
from svp_diffusers.cli.main import app
from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.generation.styles import load_styles
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.sound_svp import StoredSound, prepare_waveform
from svp_diffusers.pipelines.speech_svp import encode_speech
from svp_diffusers.samples import PORTRAITS, SPEECH
from svp_diffusers.speech.features import load_audio_features, load_speech_encoder
from svp_diffusers.style.parse import parse_style
from svp_diffusers.style.storage import load_style


def svp(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def encode(output: Path, *options: object) -> StyleDistribution:
    svp("style", "encode", SPEECH[0], "-o", output, *options)
    return load_style(output)


def test_the_shipped_checkpoint_takes_a_style_from_a_recording(tmp_path: Path) -> None:
    output = tmp_path / "mine.style.safetensors"
    style = encode(output)
    assert style.encoder_id == load_style_encoder("svp-tiny").config.encoder_id
    encoder = SVP_TINY / "audio_encoder"  # the folder that the help names
    for options in (
        ["--model", "svp-tiny"],
        ["--model", SVP_TINY],
        ["--model", SVP_TINY / "style_encoder", "--audio-encoder", encoder],
        ["--audio-encoder", SVP_TINY],
    ):
        assert torch.equal(encode(output, *options).mean, style.mean)
    with pytest.raises(ConfigurationError, match="give the audio encoder"):
        encode(output, "--model", SVP_TINY / "style_encoder")
    with pytest.raises(CheckpointError, match="no speech encoder"):
        encode(output, "--audio-encoder", SVP_TINY / "vae")


def test_a_checkpoint_hears_with_its_own_audio_encoder(
    tmp_path: Path, tiny_pipeline: SVPTalkingHeadPipeline
) -> None:
    shutil.copytree(SVP_TINY, tmp_path / "other")
    pipeline = SVPTalkingHeadPipeline.from_pretrained(tmp_path / "other")
    for weight in pipeline.audio_encoder.parameters():
        weight.data *= 1.1
    pipeline.audio_encoder.save_pretrained(tmp_path / "other" / "audio_encoder")
    output = tmp_path / "mine.style.safetensors"
    other = encode(output, "--model", tmp_path / "other")
    assert not torch.allclose(other.mean, encode(output).mean)


def test_a_video_in_the_style_of_a_recording(tmp_path: Path) -> None:
    for name, model in (("a", ()), ("b", ("--model", "svp-tiny"))):
        svp("generate", PORTRAITS[0], SPEECH[1], "-o", tmp_path / f"{name}.mp4", "--steps", 1,
            "--style", SPEECH[0], "--fps", 5, *model)  # fmt: skip
    first, second = (np.stack(list(read_frames(tmp_path / f"{name}.mp4"))) for name in "ab")
    assert np.array_equal(first, second)


@pytest.mark.parametrize("seconds", [3, 31])
def test_a_recording_as_style_is_the_style_from_audio(
    tmp_path: Path, tiny_pipeline: SVPTalkingHeadPipeline, seconds: int
) -> None:
    noise = np.random.default_rng(0).standard_normal(16000 * seconds)
    # Loud at first and quiet at the end: a part that is normalised alone is another one.
    waveform = (noise * np.linspace(0.3, 0.01, len(noise))).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", waveform, 16000, subtype="FLOAT")
    named = load_styles(parse_style(str(tmp_path / "x.wav"), ()), tiny_pipeline)
    vectors = [
        tiny_pipeline(
            np.zeros((64, 64, 3), np.float32), waveform, style, style_temperature=0.0, fps=1,
            height=64, width=64, num_inference_steps=1, guidance_scale=1.0, output_type="latent",
        ).styles[0]
        for style in (named, "from_audio")
    ]  # fmt: skip
    torch.testing.assert_close(*vectors, rtol=0, atol=1e-6)


def test_a_long_recording_is_heard_piece_by_piece() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 65 * 44100).astype(np.float32)
    seconds = [noise[start : start + 44100] for start in range(0, len(noise), 44100)]
    held: list[weakref.ref[np.ndarray]] = []
    most = 0

    def read() -> Iterator[np.ndarray]:
        nonlocal most
        for second in seconds:
            piece = second.copy()
            held.append(weakref.ref(piece))
            yield piece
            del piece
            most = max(most, sum(each() is not None for each in held))

    hear = load_audio_features("wav2vec2", SVP_TINY)
    features = hear(StoredSound(read, 44100))
    encoder, extractor = load_speech_encoder(SVP_TINY)
    with torch.no_grad():
        whole = encode_speech(prepare_waveform(noise, 44100), encoder, extractor)
    np.testing.assert_allclose(features, whole.numpy(), atol=1e-4)
    assert most <= 2  # of 130 that were read


def test_every_command_knows_the_shipped_checkpoint_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_checkpoint("svp-tiny") == find_checkpoint(None) == SVP_TINY
    assert svp("style", "list") == svp("style", "list", "--model", SVP_TINY)
    assert svp("info", "svp-tiny") == svp("info")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "svp-tiny").mkdir()  # a folder is what it is, as with ids of the Hub
    with pytest.raises(CheckpointError, match="has no model_index"):
        find_checkpoint("svp-tiny")
