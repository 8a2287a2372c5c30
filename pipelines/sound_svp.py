"""Sound for SVP: files and waveforms, whole or piece by piece, brought to an encoder's rate.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

AUDIO_RECEPTIVE_FIELD = 400  # samples that the first embedding of speech needs
PIECE_SECONDS = 30  # of a recording that are read at once
MOST_CHANNELS = 8  # of a waveform; more are taken for samples in the wrong order

SAMPLING_RATES = range(1_000, 400_001)  # Hz; telephones take 8,000, recorders up to 384,000
FULL_SCALES = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
LOUDEST = 2.0  # of floats, whose full scale is 1: lossy decoders overshoot it
# Channels cancel each other out where their mean has less than this part of the power of the
# loudest, and that is louder than the noise of a room (-50 dBFS). Our choices.
CANCELLED, AUDIBLE = 0.005, 1e-5

Piece = np.ndarray | torch.Tensor
"""A piece of a waveform: (samples,) or (channels, samples), of floats in [-1, 1] or of integers."""

Audio = str | Path | Piece | tuple[int, Piece]
"""Speech: the path of a file; a waveform (samples,) or (channels, samples), of floats in [-1, 1] or
of integers; or its rate and a waveform (samples,) or (samples, channels), as Gradio gives it."""


def read_audio_file(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a file with soundfile: a waveform (channels, samples), and its sampling rate.

    Raises:
        ValueError: if soundfile is not installed, or cannot read the file.
    """
    if importlib.util.find_spec("soundfile") is None:
        raise ValueError("Reading audio needs soundfile: `pip install librosa` brings it.")
    import soundfile

    try:
        samples, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"The audio file {path} cannot be read: {error}") from error
    return samples.T, sampling_rate


def prepare_waveform(audio: Audio, sampling_rate: int, target_rate: int = 16000) -> torch.Tensor:
    """Bring speech to what an audio encoder takes.

    Args:
        audio: see `Audio`; channels are averaged. A file needs soundfile (installed with librosa).
        sampling_rate: of the waveform; a file says its own.
        target_rate: the encoder's. Other rates than that need scipy.

    Returns:
        A waveform (samples,) of the encoder's rate, float32 on the CPU.

    Raises:
        ValueError: if it is no waveform, has non-finite or unscaled samples or channels that cancel
            each other out, is too short or cannot be read, or if scipy or soundfile is needed and
            not installed.
    """
    if isinstance(audio, (str, Path)):
        audio, sampling_rate = read_audio_file(audio)
    else:
        audio, sampling_rate = take_rate(audio, sampling_rate)
    waveform = torch.from_numpy(resample(average_channels(audio), sampling_rate, target_rate))
    check_length(len(waveform))
    return waveform


def take_rate(audio: Piece | tuple[int, Piece], sampling_rate: int) -> tuple[Piece, int]:
    """A waveform and its rate, which a pair says itself.

    Raises:
        ValueError: if it is neither a waveform nor a pair, or no recording has such a rate.
    """
    if isinstance(audio, tuple):
        if len(audio) != 2 or not isinstance(audio[1], (np.ndarray, torch.Tensor)):
            raise ValueError("`audio`, as a pair, must be (sampling rate, waveform).")
        sampling_rate, audio = audio[0], audio[1].T
    if not isinstance(audio, (np.ndarray, torch.Tensor)):
        raise ValueError(
            "`audio` must be a waveform, a pair of rate and waveform, the path of a file, or a "
            f"list of them; got {type(audio).__name__}."
        )
    check_rate(sampling_rate)
    return audio, int(sampling_rate)


def check_rate(sampling_rate: int) -> None:
    """Raise `ValueError` for a sampling rate that no recording of speech has."""
    whole = isinstance(sampling_rate, (int, np.integer)) or float(sampling_rate).is_integer()
    if not whole or int(sampling_rate) not in SAMPLING_RATES:
        raise ValueError(
            f"The sampling rate must be a whole number of {SAMPLING_RATES[0]:,} to "
            f"{SAMPLING_RATES[-1]:,} Hz, got {sampling_rate}."
        )


def to_full_scale(samples: Piece) -> np.ndarray:
    """Bring samples, floats in [-1, 1] or integers of 16, 32 or (unsigned) 8 bits, to float32.

    Raises:
        ValueError: if they are anything else, not finite, or floats that are not scaled.
    """
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.dtype.is_floating_point else samples).numpy()
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"A waveform is an array or a tensor, got {type(samples).__name__}.")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype in FULL_SCALES:
        return samples.astype(np.float32) / np.float32(FULL_SCALES[samples.dtype])
    if samples.dtype.kind != "f":
        raise ValueError(
            f"`audio` must hold floats in [-1, 1], or int16, int32 or uint8; got {samples.dtype}."
        )
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise ValueError("`audio` has samples that are NaN or infinite.")
    peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
    if peak > LOUDEST:
        raise ValueError(f"`audio` has samples up to {peak:.0f}: scale floats to [-1, 1].")
    return samples


def average_channels(samples: Piece) -> np.ndarray:
    """The mean (samples,) of the channels of a whole waveform, float32.

    Args:
        samples: (samples,) or (channels, samples), as `to_full_scale` takes them.

    Raises:
        ValueError: if it has another shape, non-finite or unscaled samples, or channels that cancel
            each other out.
    """
    (whole,) = check_pieces([samples])
    return mix_channels(whole)


def check_pieces(pieces: Iterable[Piece]) -> Iterator[np.ndarray]:
    """Pass on the pieces of a waveform at full scale, (samples,) or (channels, samples), float32.

    Raises:
        ValueError: as `average_channels`; channels may cancel each other out for a while, so that
            they are judged after the last piece.
    """
    of_mean, of_channels, num_samples = 0.0, np.zeros(1), 0
    for piece in pieces:
        samples = to_full_scale(piece)
        channels = np.atleast_2d(samples)
        mean = mix_channels(samples)
        of_mean += float(np.dot(mean, mean))
        of_channels = of_channels + [float(np.dot(each, each)) for each in channels]
        num_samples += len(mean)
        yield samples
    check_channels(of_mean, float(of_channels.max()), num_samples)


def mix_channels(samples: Piece) -> np.ndarray:
    """The mean (samples,) of the channels of a piece of a waveform, float32.

    Args:
        samples: (samples,) or (channels, samples), as `to_full_scale` takes them.

    Raises:
        ValueError: if it has another shape, or non-finite or unscaled samples.
    """
    samples = to_full_scale(samples)
    if samples.ndim == 1 or samples.shape[:-1] == (1,):
        return samples.reshape(-1)
    if samples.ndim != 2 or not 2 <= len(samples) <= MOST_CHANNELS:
        raise ValueError(
            "`audio` must be a waveform (samples,) or (channels, samples), or a list of them; got "
            f"the shape {samples.shape}."
        )
    mean: np.ndarray = samples.mean(axis=0, dtype=np.float32)
    return mean


def check_channels(of_mean: float, of_loudest: float, num_samples: int) -> None:
    """Raise `ValueError` for channels that cancel each other out.

    Args:
        of_mean: sum of the squares of the channels' mean.
        of_loudest: that of the loudest channel.
        num_samples: of a channel.
    """
    if of_mean < CANCELLED * of_loudest and of_loudest > AUDIBLE * num_samples:
        raise ValueError(
            "The channels of the recording cancel each other out: one is the other upside down. "
            "Take one of them."
        )


def check_length(num_samples: int) -> None:
    """Raise `ValueError` for speech of the encoder's rate that is too short for an embedding."""
    if num_samples < AUDIO_RECEPTIVE_FIELD:
        raise ValueError(
            f"`audio` has {num_samples} samples at the encoder's rate; at least "
            f"{AUDIO_RECEPTIVE_FIELD} are needed."
        )


def resample(waveform: np.ndarray, sampling_rate: int, target_rate: int) -> np.ndarray:
    """Bring a waveform (samples,) to another rate, by a zero-phase polyphase filter.

    Returns:
        `resampled_length` samples, float32, so the duration stays.

    Raises:
        ValueError: if the rates differ and scipy is not installed.
    """
    if sampling_rate == target_rate:
        return waveform
    if importlib.util.find_spec("scipy") is None:
        raise ValueError(
            f"Resampling audio from {sampling_rate} Hz needs scipy: `pip install scipy`, or pass "
            f"a waveform of {target_rate} Hz."
        )
    from scipy.signal import resample_poly

    ratio = Fraction(target_rate, sampling_rate)
    resampled = resample_poly(waveform, ratio.numerator, ratio.denominator)
    return resampled.astype(np.float32, copy=False)


def resampled_length(num_samples: int, sampling_rate: int, target_rate: int) -> int:
    """Samples of a waveform after `resample`: its duration at the new rate, rounded up."""
    return math.ceil(Fraction(num_samples * target_rate, sampling_rate))


@dataclass(frozen=True)
class StoredSound:
    """Speech that can be read more than once, a piece at a time, so that its length costs no
    memory.

    Attributes:
        read: gives the pieces, from the first on whenever it is called.
        sampling_rate: of the pieces.
    """

    read: Callable[[], Iterable[Piece]]
    sampling_rate: int

    def waveform(self, target_rate: int) -> Iterator[np.ndarray]:
        """The waveform (samples,) as an audio encoder of this rate takes it, 30 s at a time.

        Raises:
            ValueError: as `prepare_waveform`.
        """
        pieces = resample_pieces(check_pieces(self.read()), self.sampling_rate, target_rate)
        return regroup(pieces, PIECE_SECONDS * target_rate)


def open_sound(audio: Audio | StoredSound, sampling_rate: int) -> StoredSound:
    """Speech of any kind that is whole.

    Args:
        audio: the path of a file, which needs soundfile; a waveform; or speech that is stored.
        sampling_rate: of a waveform.

    Raises:
        ValueError: if the file cannot be read.
    """
    if isinstance(audio, StoredSound):
        return audio
    if isinstance(audio, (str, Path)):
        return StoredSound(lambda: read_file_pieces(audio), read_sampling_rate(audio))
    waveform, rate = take_rate(audio, sampling_rate)
    length = PIECE_SECONDS * rate
    starts = range(0, waveform.shape[-1] if waveform.ndim else 1, length)
    return StoredSound(lambda: (waveform[..., start : start + length] for start in starts), rate)


def read_sampling_rate(path: str | Path) -> int:
    """The sampling rate of a file.

    Raises:
        ValueError: if soundfile is not installed, or cannot read the file.
    """
    if importlib.util.find_spec("soundfile") is None:
        raise ValueError("Reading audio needs soundfile: `pip install librosa` brings it.")
    import soundfile

    try:
        return int(soundfile.info(path).samplerate)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"The audio file {path} cannot be read: {error}") from error


def read_file_pieces(path: str | Path) -> Iterator[np.ndarray]:
    """Read a file 30 s (channels, samples) at a time; raise `ValueError` where it is damaged."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            size = PIECE_SECONDS * file.samplerate
            for block in file.blocks(size, dtype="float32", always_2d=True):
                yield block.T
    except (RuntimeError, OSError) as error:
        raise ValueError(f"The audio file {path} cannot be read: {error}") from error


def resample_pieces(
    pieces: Iterable[Piece], sampling_rate: int, target_rate: int
) -> Iterator[np.ndarray]:
    """Average the channels of pieces and bring them to another rate; they are, one after another,
    what `resample` makes of the whole.

    Its filter reaches a few milliseconds around a sample, for which the piece before and the one
    after are seen.

    Raises:
        ValueError: if a piece is no waveform or has non-finite samples.
    """
    ratio = Fraction(target_rate, sampling_rate)
    up, down = ratio.numerator, ratio.denominator
    reach = math.ceil((10 * max(up, down) / up + 1) / down) * down  # input samples
    margin = reach if up != down else 0
    held, before = np.zeros(0, np.float32), 0  # samples that are held; those of them that are done
    for piece in pieces:
        held = np.concatenate([held, mix_channels(piece)])
        ready = (len(held) - before - margin) // down * down
        if ready <= 0:
            continue
        made = resample(held[: before + ready + margin], sampling_rate, target_rate)
        yield made[before * up // down : (before + ready) * up // down]
        kept = min(margin, before + ready)
        held, before = held[before + ready - kept :], kept
    if len(held) > before:
        yield resample(held, sampling_rate, target_rate)[before * up // down :]


def regroup(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Make pieces (samples,) of one size, the last of which may be shorter."""
    held: list[np.ndarray] = []
    length = 0
    for piece in pieces:
        while length + len(piece) >= size:
            needed = size - length
            yield np.concatenate([*held, piece[:needed]])  # a copy, which keeps no long piece alive
            held, length, piece = [], 0, piece[needed:]
        if len(piece):
            held.append(piece)
            length += len(piece)
    if length:
        yield np.concatenate(held)


@dataclass(frozen=True)
class Level:
    """What a waveform is normalised by.

    num_samples: its length
    mean: of its samples
    variance: of them
    """

    num_samples: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def add(self, piece: np.ndarray) -> "Level":
        """The level with a piece (samples,) more."""
        if not len(piece):
            return self
        total = self.num_samples + len(piece)
        share, apart = len(piece) / total, float(piece.mean()) - self.mean
        variance = (1 - share) * self.variance + share * float(piece.var())
        return Level(
            total, self.mean + share * apart, variance + share * (1 - share) * apart * apart
        )

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """Bring a waveform (samples,), float32, to mean 0 and variance 1, as transformers does."""
        scale = np.sqrt(np.float32(self.variance) + 1e-7)
        return (waveform - np.float32(self.mean)) / scale


def measure_level(pieces: Iterable[np.ndarray]) -> Level:
    """The level of a whole recording, given in pieces (samples,) of the encoder's rate.

    Raises:
        ValueError: if it is too short.
    """
    level = Level()
    for piece in pieces:
        level = level.add(piece)
    check_length(level.num_samples)
    return level
