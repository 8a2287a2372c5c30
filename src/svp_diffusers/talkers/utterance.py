"""What a talker says in a style: sound, phonemes and text together."""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.errors import MediaError
from svp_diffusers.talkers.manner import SpeakingStyle
from svp_diffusers.talkers.sentences import SENTENCES
from svp_diffusers.talkers.speech import SAMPLING_RATE, Phoneme, synthesise_speech

MOST_CHARACTERS = 10_000
"""Of a text that is said at once: a quarter of an hour."""

_PAUSE = 0.12
"""Silence before every sentence, seconds."""

_LOUDNESS = 0.08
"""Root mean square of every recording."""


@dataclass(frozen=True)
class Utterance:
    """Speech whose truth is known.

    Args:
        waveform: `(n,)` float32 in [-1, 1], 16 kHz.
        phonemes: in order of time.
        text: what is said; the last sentence may be cut off.
    """

    waveform: np.ndarray
    phonemes: tuple[Phoneme, ...]
    text: str


def say(text: str, style: SpeakingStyle) -> Utterance:
    """Say a text with the voice of a style.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
        MediaError: the text holds nothing to say, or more than is said at once.
    """
    if len(text) > MOST_CHARACTERS:
        raise MediaError(
            f"the text has {len(text):,} characters; say at most {MOST_CHARACTERS:,} at once"
        )
    spoken, phonemes = synthesise_speech(text, style.voice)
    waveform = np.concatenate([np.zeros(round(_PAUSE * SAMPLING_RATE), np.float32), spoken])
    return Utterance(_normalise(waveform), _delay(phonemes, _PAUSE), text)


def say_for(
    seconds: float, style: SpeakingStyle, split: str, generator: np.random.Generator
) -> Utterance:
    """Say sentences of a split until the time is filled, and cut the sound there.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    samples = round(seconds * SAMPLING_RATE)
    waveform = np.zeros(0, np.float32)
    phonemes: tuple[Phoneme, ...] = ()
    texts: list[str] = []
    while len(waveform) < samples:
        sentence = say(str(generator.choice(SENTENCES[split])), style)
        phonemes += _delay(sentence.phonemes, len(waveform) / SAMPLING_RATE)
        waveform = np.concatenate([waveform, sentence.waveform])
        texts.append(sentence.text)
    heard = tuple(phoneme for phoneme in phonemes if phoneme.start < seconds)
    return Utterance(waveform[:samples], heard, " ".join(texts))


def _delay(phonemes: tuple[Phoneme, ...], seconds: float) -> tuple[Phoneme, ...]:
    return tuple(Phoneme(p.symbol, p.start + seconds, p.end + seconds) for p in phonemes)


def _normalise(waveform: np.ndarray) -> np.ndarray:
    level = float(np.sqrt(np.mean(waveform**2)))
    return np.clip(waveform * (_LOUDNESS / level), -1, 1).astype(np.float32)
