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

Audio = str | Path | np.ndarray | torch.Tensor
"""Speech: the path of a file, or a waveform (samples,) or (channels, samples) in [-1, 1]."""

Piece = np.ndarray | torch.Tensor
"""A piece of a waveform: (samples,) or (channels, samples) in [-1, 1]."""


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
        audio: a waveform (samples,) or (channels, samples) in [-1, 1], whose channels are averaged;
            or the path of a file, which needs soundfile (installed with librosa).
        sampling_rate: of the waveform; a file says its own.
        target_rate: the encoder's. Other rates than that need scipy.

    Returns:
        A waveform (samples,) of the encoder's rate, float32 on the CPU.

    Raises:
        ValueError: if it is no waveform, has non-finite samples, is too short or cannot be
            read, or if scipy or soundfile is needed and not installed.
    """
    if isinstance(audio, (str, Path)):
        audio, sampling_rate = read_audio_file(audio)
    waveform = torch.from_numpy(resample(average_channels(audio), sampling_rate, target_rate))
    check_length(len(waveform))
    return waveform


def average_channels(samples: np.ndarray | torch.Tensor) -> np.ndarray:
    """The mean (samples,) of the channels of a waveform, float32.

    Args:
        samples: (samples,) or (channels, samples).

    Raises:
        ValueError: if it has another shape, or non-finite samples.
    """
    samples = torch.as_tensor(samples, dtype=torch.float32, device="cpu").numpy()
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and len(samples) > MOST_CHANNELS):
        raise ValueError(
            "`audio` must be a waveform (samples,) or (channels, samples), or a list of them; got "
            f"the shape {samples.shape}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("`audio` has samples that are NaN or infinite.")
    return samples.mean(axis=0, dtype=np.float32) if samples.ndim == 2 else samples


def check_length(num_samples: int) -> None:
    """Check that speech of the encoder's rate is long enough for one embedding.

    Raises:
        ValueError: if not.
    """
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
        pieces = resample_pieces(self.read(), self.sampling_rate, target_rate)
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
    length = PIECE_SECONDS * sampling_rate
    starts = range(0, audio.shape[-1] if audio.ndim else 1, length)
    return StoredSound(
        lambda: (audio[..., start : start + length] for start in starts), sampling_rate
    )


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
    """Read a file with soundfile, 30 s (channels, samples) at a time.

    Raises:
        ValueError: if it cannot be read.
    """
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
        held = np.concatenate([held, average_channels(piece)])
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
        held.append(piece)
        length += len(piece)
        while length >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held, length = [joined[size:]], length - size
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
