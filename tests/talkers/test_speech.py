"""Speech is the same every time, at 16 kHz, and its phonemes are where they are heard."""

from itertools import pairwise

import numpy as np
import pytest

from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.talkers import Voice, sample_voice, synthesise_speech
from svp_diffusers.talkers.sentences import SENTENCES
from svp_diffusers.talkers.speech import ACCENTS, SAMPLING_RATE, TIMBRES


def test_the_same_words_sound_the_same_whatever_was_said_before() -> None:
    first, phonemes = synthesise_speech("A quiet morning by the sea.")
    synthesise_speech("Something else entirely!", Voice(timbre="m3", rate=190))
    second, again = synthesise_speech("A quiet morning by the sea.")

    assert first.tobytes() == second.tobytes()
    assert phonemes == again


def test_phonemes_tile_the_recording_in_order() -> None:
    waveform, phonemes = synthesise_speech("Hello there. How are you today?")

    assert waveform.dtype == np.float32
    assert np.abs(waveform).max() <= 1
    for phoneme, following in pairwise(phonemes):
        assert phoneme.start < phoneme.end <= following.start + 1e-9
    assert phonemes[-1].end == pytest.approx(len(waveform) / SAMPLING_RATE, abs=0.001)


def test_phonemes_are_where_they_are_heard() -> None:
    waveform, phonemes = synthesise_speech("Papa.")

    def level(start: float, end: float) -> float:
        part = waveform[round(start * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
        return float(np.sqrt(np.mean(part**2)))

    stops = [p for p in phonemes if p.symbol == "p"]
    vowels = [p for p in phonemes if "ɑ" in p.symbol or "ə" in p.symbol]
    assert len(stops) == len(vowels) == 2
    # Until its burst a "p" is near silence.
    loud = level(vowels[0].start, vowels[0].end)
    for stop in stops:
        assert level(stop.start, (stop.start + stop.end) / 2) < 0.25 * loud


def test_every_accent_and_timbre_speaks() -> None:
    voices = [Voice(accent=accent) for accent in ACCENTS]
    voices += [Voice(timbre=timbre) for timbre in TIMBRES]

    recordings = {synthesise_speech("Good day.", voice)[0].tobytes() for voice in voices}

    # One voice is in both lists.
    assert len(recordings) == len(voices) - 1


def test_sampled_voices_differ() -> None:
    generator = np.random.default_rng(0)

    assert len({sample_voice(generator) for _ in range(50)}) == 50


def test_an_unknown_voice_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="klingon"):
        synthesise_speech("Hello.", Voice(accent="klingon"))


def test_an_unknown_timbre_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        synthesise_speech("Hello.", Voice(timbre="nobody"))


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(MediaError, match="is silent for the text"):
        synthesise_speech(" ")


def test_no_sentence_is_in_two_splits() -> None:
    sentences = [sentence for split in SENTENCES.values() for sentence in split]

    assert len(sentences) == len(set(sentences))
    assert set(SENTENCES) == {"train", "validation", "test"}
