"""Speech with the lips that belong to it, and windows of it for training the audio front-end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from librosa import hz_to_mel
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.pipelines.sound_svp import AUDIO_RECEPTIVE_FIELD
from svp_diffusers.pipelines.speech_svp import AUDIO_STRIDE
from svp_diffusers.talkers.manner import Manner
from svp_diffusers.talkers.speech import parse_phonemes
from svp_diffusers.talkers.visemes import blend_visemes
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.audio.encoder import build_feature_extractor

_GRID = 40
"""Samples between two moments at which lips and loudness are known: 2.5 ms."""


@dataclass(frozen=True)
class SpeechClip:
    """One recording.

    waveform: `(n,)`, mean 0 and variance 1.
    lips: `(n // 40 + 1, 9)`, the coefficients of `blend_visemes` every 40 samples, neutral lips.
    loudness: `(n // 40 + 1,)`, 0 to about 1, at the same moments.
    """

    key: str
    waveform: NDArray[np.float32]
    lips: NDArray[np.float32]
    loudness: NDArray[np.float32]

    def at(self, samples: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
        """Lips `(t, 9)` and loudness `(t,)` at `t` samples, to the nearest moment known."""
        moments = np.round(samples / _GRID).astype(int)
        return self.lips[moments], self.loudness[moments]


class SpeechBatch(NamedTuple):
    """waveform: `(b, samples)`; lips: `(b, t, 9)`; loudness: `(b, t)`; t embeddings a window."""

    waveform: torch.Tensor
    lips: torch.Tensor
    loudness: torch.Tensor


def read_speech_clips(source: str, split: str) -> list[SpeechClip]:
    """Read the sound and the phonemes of one split of a dataset.

    Raises:
        DatasetError: the split is empty, or a clip has no phonemes.
    """
    dataset = ClipDataset(source, split)
    normalise = build_feature_extractor()
    clips = []
    for index in range(len(dataset)):
        stored = dataset.read_members(index, ("flac",))
        if "phonemes" not in stored.metadata:
            raise DatasetError(
                f"clip {stored.key!r} has no phonemes; the audio front-end learns from procedural "
                "talkers (`svp data synth`)"
            )
        waveform = stored.decode_waveform()
        phonemes = parse_phonemes(stored.metadata["phonemes"])
        moments = np.arange(len(waveform) // _GRID + 1) * _GRID
        lips = blend_visemes(phonemes, moments / SAMPLING_RATE, Manner().onset)
        values = normalise(waveform, sampling_rate=SAMPLING_RATE).input_values[0]
        clips.append(
            SpeechClip(
                stored.key,
                np.asarray(values, np.float32),
                lips.astype(np.float32),
                _measure_loudness(waveform, moments),
            )
        )
    if not clips:
        raise DatasetError(f"{source} has no clips in its split {split}")
    return clips


def locate_embeddings(samples: int) -> NDArray[np.float64]:
    """The centre of each embedding's receptive field, in samples: `(t,)`."""
    number = (samples - AUDIO_RECEPTIVE_FIELD) // AUDIO_STRIDE + 1
    return np.array([AUDIO_STRIDE * i + AUDIO_RECEPTIVE_FIELD / 2 for i in range(number)])


class SpeechBatchSampler:
    """Draws windows of clips; a batch follows from the seed and its number alone.

    Raises `DatasetError` for a clip shorter than a window.
    """

    def __init__(
        self, clips: Sequence[SpeechClip], configuration: AudioTrainingConfiguration
    ) -> None:
        self.clips, self.configuration = clips, configuration
        self.samples = round(configuration.window * SAMPLING_RATE)
        needed = math.ceil(self.samples * (1 + configuration.speed)) + 1
        for clip in clips:
            if len(clip.waveform) < needed:
                raise DatasetError(
                    f"clip {clip.key!r} of {len(clip.waveform) / SAMPLING_RATE:.2f} s is shorter "
                    f"than the {needed / SAMPLING_RATE:.2f} s that a fast window takes"
                )

    def batch(self, number: int, rank: int = 0, world_size: int = 1) -> SpeechBatch:
        """The windows of global batch `number` that belong to process `rank`."""
        size = self.configuration.batch_size
        if size % world_size:
            raise ConfigurationError(
                f"a batch of {size} windows cannot be shared by {world_size} processes"
            )
        share = size // world_size
        windows = [
            self._draw_window(default_rng([self.configuration.seed, number, row]))
            for row in range(rank * share, (rank + 1) * share)
        ]
        return SpeechBatch(
            *(torch.from_numpy(np.stack(parts)) for parts in zip(*windows, strict=True))
        )

    def _draw_window(self, generator: Generator) -> tuple[NDArray[np.float32], ...]:
        clip = self.clips[int(generator.integers(len(self.clips)))]
        speed = 1 + self.configuration.speed * generator.uniform(-1, 1)
        length = math.ceil(self.samples * speed) + 1
        start = int(generator.integers(len(clip.waveform) - length + 1))
        heard = np.interp(
            speed * np.arange(self.samples),
            np.arange(length),
            clip.waveform[start : start + length],
        )
        heard = self._colour(heard, generator)
        level = self.configuration.noise * 10 ** -generator.uniform(0, 2)
        heard += level * generator.standard_normal(self.samples)
        lips, loudness = clip.at(start + speed * locate_embeddings(self.samples))
        return heard.astype(np.float32), lips, loudness

    def _colour(self, heard: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
        """Change loudness and, smoothly over the mel scale, the spectrum."""
        spectrum = np.fft.rfft(heard)
        mel = hz_to_mel(np.fft.rfftfreq(len(heard), 1 / SAMPLING_RATE), htk=True)
        waves = np.cos(np.outer(np.arange(1, 4), np.pi * mel / mel[-1]))
        decibels = self.configuration.colour * generator.normal(size=3) @ waves
        decibels += self.configuration.gain * generator.uniform(-1, 1)
        return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(heard))


def _measure_loudness(
    waveform: NDArray[np.float32], moments: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Root mean square over a receptive field, relative to the recording's 95th percentile;
    as `measure_loudness` of the performance, at other moments."""
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    first = np.clip(moments - AUDIO_RECEPTIVE_FIELD // 2, 0, len(waveform))
    last = np.clip(moments + AUDIO_RECEPTIVE_FIELD // 2, 0, len(waveform))
    loudness = np.sqrt((energy[last] - energy[first]) / AUDIO_RECEPTIVE_FIELD)
    return (loudness / max(float(np.percentile(loudness, 95)), 1e-6)).astype(np.float32)
