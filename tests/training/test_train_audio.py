"""The audio front-end: it has wav2vec 2.0's timing, learns the lips from sound, and a run that was
killed goes on exactly."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from librosa import mel_frequencies

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.pipelines.sound_svp import AUDIO_RECEPTIVE_FIELD as HEARD
from svp_diffusers.pipelines.sound_svp import open_sound
from svp_diffusers.pipelines.speech_svp import AUDIO_STRIDE as STRIDE
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.talkers.manner import Manner
from svp_diffusers.talkers.speech import parse_phonemes
from svp_diffusers.talkers.synthesis import SynthesisSettings, make_clip
from svp_diffusers.talkers.visemes import blend_visemes
from svp_diffusers.training.audio.batches import (
    SpeechBatchSampler,
    locate_embeddings,
    read_speech_clips,
)
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.audio.encoder import build_audio_encoder, build_feature_extractor
from svp_diffusers.training.audio.stage import train_audio
from training_runs import check_resumption, read_metrics

Configure = Callable[..., AudioTrainingConfiguration]


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 clips to train on and 2 to validate with; the pictures are few and small, unused."""
    folder = tmp_path_factory.mktemp("talkers")
    settings = SynthesisSettings(seed=5, size=16, fps=Fraction(5), seconds=2.0)
    with ShardWriter(folder) as writer:
        for index in (*range(16), 32, 33):
            writer.write(encode_clip(make_clip(settings, index)))
    return folder


@pytest.fixture
def configure(talkers: Path, tmp_path: Path) -> Configure:
    """Make a configuration that trains in seconds; keywords override it."""

    def configure(output: str = "run", **options: Any) -> AudioTrainingConfiguration:
        return AudioTrainingConfiguration(
            **{
                "data": str(talkers),
                "output_dir": str(tmp_path / output),
                "num_bands": 24,
                "conv_channels": 32,
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "num_conv_pos_embeddings": 16,
                "batch_size": 8,
                "window": 1.0,
                "learning_rate": 4e-3,
                "warmup_steps": 10,
                "log_every": 1,
                "checkpoint_every": 5,
                **options,
            }
        )

    return configure


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 32_001])
def test_it_gives_an_embedding_for_every_320_samples_as_the_pipeline_expects(
    configure: Configure, samples: int
) -> None:
    encoder = build_audio_encoder(configure()).eval()
    with torch.no_grad():
        found = encoder(torch.randn(1, samples)).last_hidden_state.shape
    assert found == (1, (samples - HEARD) // STRIDE + 1, 32)
    assert len(locate_embeddings(samples)) == found[1]


def test_an_embedding_hears_its_400_samples_and_no_other(configure: Configure) -> None:
    encoder = build_audio_encoder(configure()).eval()
    waveform = torch.randn(1, 4000)
    with torch.no_grad():
        before = encoder.feature_extractor(waveform)
        for place in (3, 7):
            first, last = place * STRIDE, place * STRIDE + HEARD
            assert (first + last) / 2 == locate_embeddings(4000)[place]
            outside = torch.randn(1, 4000)
            outside[:, first:last] = waveform[:, first:last]
            torch.testing.assert_close(
                encoder.feature_extractor(outside)[..., place], before[..., place]
            )
            for end in (first, last - 1):
                changed = waveform.clone()
                changed[:, end] += 100  # the window of the filters is 0 at its very ends
                changed[:, (end + 2 if end == first else end - 2)] += 100
                after = encoder.feature_extractor(changed)[..., place]
                assert not torch.allclose(after, before[..., place])


def test_a_recording_of_many_chunks_is_encoded_whole(configure: Configure) -> None:
    pipeline = build_random_pipeline()
    pipeline.audio_encoder = build_audio_encoder(configure()).eval()
    pipeline.feature_extractor = build_feature_extractor()
    samples = 65 * 16_000
    with torch.no_grad():
        embeddings = pipeline.encode_audio(0.1 * torch.randn(samples))
    assert embeddings.shape == (len(locate_embeddings(samples)), 32)


def test_the_filter_bank_answers_a_tone_in_the_band_of_the_tone(configure: Configure) -> None:
    convolution = build_audio_encoder(configure()).feature_extractor.conv_layers[0].conv
    frequencies = mel_frequencies(24, fmin=60, fmax=7600)
    for band in (4, 10, 16, 22):
        tone = torch.sin(2 * torch.pi * float(frequencies[band]) * torch.arange(16_000) / 16_000)
        with torch.no_grad():
            power = convolution(tone[None, None])[0].square().mean(-1).view(24, 4)
        assert power.sum(-1).argmax() == band
        assert power[band].std() < 0.1 * power[band].mean()  # whatever the phase of the tone


def test_a_window_carries_the_lips_of_its_moments(configure: Configure) -> None:
    configuration = configure(speed=0.0, colour=0.0, gain=0.0, noise=0.0, batch_size=1)
    clips = read_speech_clips(configuration.data, "train")[:1]
    batch = SpeechBatchSampler(clips, configuration).batch(0)
    window, whole = batch.waveform[0].numpy(), clips[0].waveform
    start = next(
        start
        for start in range(len(whole) - len(window) + 1)
        if np.allclose(whole[start : start + len(window)], window, atol=1e-5)
    )
    stored = ClipDataset(configuration.data, "train")[0]
    times = (start + locate_embeddings(len(window))) / 16_000
    lips = blend_visemes(parse_phonemes(stored.metadata["phonemes"]), times, Manner().onset)
    # Lips are known every 2.5 ms; in half of that they move by 3 % at the very most.
    np.testing.assert_allclose(batch.lips[0], lips, atol=0.03)


def test_the_processes_share_the_windows_of_one(configure: Configure) -> None:
    configuration = configure()
    sampler = SpeechBatchSampler(read_speech_clips(configuration.data, "train"), configuration)
    parts = [sampler.batch(3, rank, 2) for rank in range(2)]
    for whole, *shares in zip(sampler.batch(3), *parts, strict=True):
        assert torch.equal(whole, torch.cat(shares))
    assert not torch.equal(sampler.batch(3).waveform, sampler.batch(4).waveform)
    with pytest.raises(ConfigurationError, match="cannot be shared by 3"):
        sampler.batch(0, 0, 3)


def test_it_learns_the_lips_of_people_it_never_heard(configure: Configure) -> None:
    untrained = configure("untrained", steps=2, validate_every=2)
    train_audio(untrained)
    trained = configure("trained", steps=200, validate_every=200, checkpoint_every=200)
    folder = train_audio(trained)
    before, after = read_metrics(untrained)[-1], read_metrics(trained)[-1]
    assert np.isfinite(before["validation_jaw"])
    # 16 clips give 0.78; the shipped encoder has heard 1920.
    assert after["validation_jaw"] > max(0.6, before["validation_jaw"] + 0.2)
    assert after["validation_loudness"] > 0.8

    features = load_audio_features("wav2vec2", folder)(
        open_sound(np.zeros(16_000, np.float32), 16_000)
    )
    assert features.shape == (49, 32)  # every 320 samples, of 400 each


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    whole, broken = (configure(name, steps=40, validate_every=8) for name in ("whole", "broken"))
    check_resumption("audio", whole, broken, "audio_encoder")


def test_data_that_cannot_be_learned_from_are_refused(
    configure: Configure, talkers: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"shorter than the 2\.16 s that a fast window takes"):
        train_audio(configure(window=2.0))
    sample = ClipDataset(str(talkers), "train")[0].decode()
    metadata = {"split": "train", "speaker": "somebody"}
    with ShardWriter(tmp_path / "filmed") as writer:
        writer.write(encode_clip(type(sample)(**{**vars(sample), "metadata": metadata})))
    with pytest.raises(DatasetError, match="has no phonemes"):
        train_audio(configure(data=str(tmp_path / "filmed")))
    with pytest.raises(ConfigurationError, match="multiple of num_attention_heads"):
        configure(num_attention_heads=3)
