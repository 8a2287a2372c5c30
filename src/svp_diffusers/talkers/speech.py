"""Synthetic speech whose phonemes are known to the sample, by espeak-ng (extra `data`)."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path

import numpy as np

from svp_diffusers.errors import (
    ConfigurationError,
    DatasetError,
    MediaError,
    MissingDependencyError,
)

SAMPLING_RATE = 16_000

ACCENTS = (
    "en-us",
    "en",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
"""English accents of espeak-ng."""

TIMBRES = (
    *("f1", "f2", "f3", "f4", "f5", "Annie", "belinda", "linda", "steph", "steph2", "anika"),
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "adam", "david", "Denis", "ed", "edward"),
    *("benjamin", "Gene", "ian", "john", "Lee", "max", "Michael", "paul", "rob", "victor"),
)
"""Voice variants of espeak-ng that sound like a person; the robots and whispers are left out."""


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng.

    Args:
        accent: one of `ACCENTS`.
        timbre: one of `TIMBRES`.
        rate: words a minute, 80 to 450.
        pitch: 0 to 100, 50 is normal.
        pitch_range: 0 (monotone) to 100, 50 is normal.

    Raises:
        ConfigurationError: an unknown accent or timbre; espeak-ng itself would speak with another.
    """

    accent: str = "en-us"
    timbre: str = "f3"
    rate: int = 165
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        for name, known in ((self.accent, ACCENTS), (self.timbre, TIMBRES)):
            if name not in known:
                raise ConfigurationError(f"no voice {name!r}; choose one of {', '.join(known)}")


@dataclass(frozen=True)
class Phoneme:
    """A phoneme: IPA symbol with its stress mark ("" is a pause), start and end in seconds."""

    symbol: str
    start: float
    end: float


def format_phonemes(phonemes: Sequence[Phoneme]) -> str:
    """Write phonemes as an Audacity label track: start, end and symbol, a line each, with tabs."""
    return "\n".join(f"{p.start:.4f}\t{p.end:.4f}\t{p.symbol}" for p in phonemes)


def parse_phonemes(track: str) -> tuple[Phoneme, ...]:
    """Read what `format_phonemes` wrote; times are rounded to a tenth of a millisecond.

    Raises:
        DatasetError: it is no label track.
    """
    try:
        rows = [line.split("\t") for line in track.split("\n")]
        return tuple(Phoneme(symbol, float(start), float(end)) for start, end, symbol in rows)
    except ValueError as error:
        raise DatasetError(f"{track[:40]!r} is no label track of phonemes ({error})") from error


def sample_voice(generator: np.random.Generator) -> Voice:
    """Draw a voice: accent, timbre, speed, pitch and liveliness."""
    return Voice(
        accent=str(generator.choice(ACCENTS)),
        timbre=str(generator.choice(TIMBRES)),
        rate=int(generator.integers(140, 191)),
        pitch=int(generator.integers(35, 66)),
        pitch_range=int(generator.integers(35, 76)),
    )


def synthesise_speech(
    text: str, voice: Voice | None = None
) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """Say a text; the same text and voice give the same bytes.

    Args:
        text: one or more English sentences.
        voice: the speaker; a clear American voice by default.

    Returns:
        waveform `(n,)` float32 in [-1, 1], mono, 16 kHz, and its phonemes in order of time.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
        MediaError: the text holds nothing to say.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError(
            "speech synthesis needs espeak-ng: pip install 'svp-diffusers[data]'"
        ) from error
    voice = voice or Voice()
    request = {
        **asdict(voice),
        "voice": f"{voice.accent}+{voice.timbre}",
        "text": text,
        "library": espeakng_loader.get_library_path(),
        "data": espeakng_loader.get_data_path(),
    }
    script = Path(__file__).with_name("espeak_process.py")
    process = subprocess.run(
        [sys.executable, "-I", "-S", str(script)],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=True,
    )
    header, samples = process.stdout.split(b"\n", 1)
    answer = json.loads(header)
    native = np.frombuffer(samples, np.int16).astype(np.float32) / 32768
    if not native.any():
        raise MediaError(f"espeak-ng is silent for the text {text!r}; give it some words")
    rate = answer["sampling_rate"]
    return _resample(native, rate), _to_phonemes(answer["phonemes"], rate, len(native) / rate)


def _resample(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    divisor = gcd(SAMPLING_RATE, sampling_rate)
    resampled = resample_poly(samples, SAMPLING_RATE // divisor, sampling_rate // divisor)
    return np.clip(resampled, -1, 1).astype(np.float32)


def _to_phonemes(
    events: list[tuple[int, str]], sampling_rate: int, duration: float
) -> tuple[Phoneme, ...]:
    starts = [sample / sampling_rate for sample, _ in events]
    ends = [*starts[1:], duration]
    return tuple(
        Phoneme(symbol, start, end)
        for (_, symbol), start, end in zip(events, starts, ends, strict=True)
        if end > start
    )
