"""Lips follow the sound, styles differ as they should, and no performance comes twice."""

import numpy as np
import pytest

from svp_diffusers.errors import StyleError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.manner import EMOTIONS, MANNER_NAMES, Manner, SpeakingStyle
from svp_diffusers.talkers.performance import Performance, measure_loudness, perform
from svp_diffusers.talkers.portrait import UNDRAWN_COEFFICIENTS
from svp_diffusers.talkers.speech import Phoneme
from svp_diffusers.talkers.utterance import say, say_for
from svp_diffusers.talkers.visemes import LIP_COEFFICIENTS, blend_visemes

FPS = 25.0
JAW = ARKIT_BLENDSHAPES.index("jawOpen")


def act(style: SpeakingStyle, seed: int, seconds: float = 3.0) -> tuple[Performance, np.ndarray]:
    generator = np.random.default_rng(seed)
    utterance = say_for(seconds, style, "train", generator)
    frames = round(seconds * FPS)
    manner = style.sample(generator)
    acted = perform(utterance.phonemes, utterance.waveform, manner, frames, FPS, generator)
    return acted, utterance.waveform


def track(performance: Performance, name: str) -> np.ndarray:
    return performance.expression[:, ARKIT_BLENDSHAPES.index(name)]


def test_the_jaw_moves_with_the_voice() -> None:
    """Over 50 clips of all emotions, sound and jaw agree best when neither is shifted."""
    lags = range(-5, 6)
    correlations = []
    for clip in range(50):
        style = SpeakingStyle(clip, EMOTIONS[clip % len(EMOTIONS)])
        performance, waveform = act(style, clip)
        jaw = performance.expression[:, JAW]
        loudness = measure_loudness(waveform, len(jaw), FPS)
        middle = slice(5, -5)
        correlations.append(
            [np.corrcoef(loudness[middle], np.roll(jaw, lag)[middle])[0, 1] for lag in lags]
        )

    peaks = np.array([lags[int(np.argmax(row))] for row in correlations])
    assert np.abs(peaks).max() <= 1
    assert lags[int(np.argmax(np.mean(correlations, axis=0)))] == 0


def test_lips_close_for_p_b_m_and_round_for_u() -> None:
    names = list(LIP_COEFFICIENTS)
    phonemes = (Phoneme("ɑ", 0.0, 0.2), Phoneme("m", 0.2, 0.28), Phoneme("uː", 0.28, 0.5))
    lips = blend_visemes(phonemes, np.array([0.1, 0.24, 0.4]), 0.04)

    open_, closed, round_ = lips
    assert closed[names.index("jawOpen")] < 0.25 * open_[names.index("jawOpen")]
    assert closed[names.index("mouthPress")] > 0.3
    assert round_[names.index("mouthPucker")] > 0.7
    # Coarticulation: the "m" before a "u" is already rounded.
    assert closed[names.index("mouthPucker")] > 0.15


def test_loudness_moves_the_jaw_little() -> None:
    """Real mouths open by the sound that is said, hardly by its loudness."""
    phonemes = (Phoneme("ɑ", 0.0, 1.0),)
    half_silent = np.concatenate([np.full(8_000, 0.01), np.ones(8_000)]).astype(np.float32)

    performance = perform(phonemes, half_silent, Manner(), 25, FPS, np.random.default_rng(0))

    silent, loud = (track(performance, "jawOpen")[[3, 21]]).tolist()
    assert 0.7 < silent / loud < 0.9


def test_a_short_pause_leaves_the_lips_parted() -> None:
    phonemes = (Phoneme("m", 0.0, 0.2), Phoneme("", 0.2, 0.6), Phoneme("m", 0.6, 0.8))
    moments = np.array([0.1, 0.4])

    jaw = blend_visemes(phonemes, moments, 0.03)[:, LIP_COEFFICIENTS.index("jawOpen")]

    assert jaw[0] < 0.01
    assert 0.1 < jaw[1] < 0.2


def test_a_long_pause_brings_the_lips_to_rest() -> None:
    phonemes = (Phoneme("ɑ", 0.0, 0.2), Phoneme("", 0.2, 1.0))

    assert blend_visemes(phonemes, np.array([0.8]), 0.03).max() < 0.01


def test_spread_lips_show_the_teeth_and_voiced_stops_close_the_jaw() -> None:
    names = list(LIP_COEFFICIENTS)
    phonemes = (Phoneme("iː", 0.0, 0.3), Phoneme("d", 0.3, 0.6), Phoneme("ɛ", 0.6, 0.9))

    spread, stop, vowel = blend_visemes(phonemes, np.array([0.15, 0.45, 0.75]), 0.03)

    parting = [names.index("mouthLowerDown"), names.index("mouthUpperUp")]
    assert (spread[parting] > 0.15).all()
    jaw = names.index("jawOpen")
    assert stop[jaw] < 0.3 * spread[jaw] + 0.01 < 0.5 * vowel[jaw]


def test_silence_without_phonemes_is_a_still_mouth() -> None:
    generator = np.random.default_rng(0)
    silence = np.zeros(16_000, np.float32)

    performance = perform((), silence, Manner(), 25, FPS, generator)

    assert track(performance, "jawOpen").max() == 0


def test_coefficients_stay_in_range_and_undrawn_ones_stay_zero() -> None:
    for index, emotion in enumerate(EMOTIONS):
        performance, _ = act(SpeakingStyle(index, emotion, 1.0), index)

        assert performance.expression.dtype == np.float32
        assert performance.expression.min() >= 0
        assert performance.expression.max() <= 1
        for name in UNDRAWN_COEFFICIENTS:
            assert not track(performance, name).any()


def test_emotions_show_what_they_are_named_for() -> None:
    def mean(emotion: str, name: str) -> float:
        clips = [act(SpeakingStyle(speaker, emotion), speaker)[0] for speaker in range(2)]
        return float(np.mean([track(clip, name).mean() for clip in clips]))

    for emotion, name in (
        ("happy", "mouthSmileLeft"),
        ("sad", "mouthFrownLeft"),
        ("angry", "browDownLeft"),
        ("disgusted", "noseSneerLeft"),
        ("surprised", "browOuterUpLeft"),
        ("fear", "mouthStretchLeft"),
        ("contempt", "mouthDimpleLeft"),
    ):
        assert mean(emotion, name) > 0.2 + mean("neutral", name)


def test_intensity_goes_from_neutral_to_the_emotion() -> None:
    neutral = SpeakingStyle(3, "neutral").mean
    half, full = (SpeakingStyle(3, "happy", share).mean for share in (0.5, 1.0))

    np.testing.assert_allclose(half - neutral, (full - neutral) / 2)
    np.testing.assert_allclose(SpeakingStyle(3, "happy", 0.0).mean, neutral)


def test_the_same_style_never_gives_the_same_clip_twice() -> None:
    style = SpeakingStyle(5, "happy")
    utterance = say("We could open a window and let the summer in.", style)
    clips = []
    for seed in (1, 2, 1):
        generator = np.random.default_rng(seed)
        manner = style.sample(generator)
        clips.append(perform(utterance.phonemes, utterance.waveform, manner, 50, FPS, generator))

    first, other, again = clips
    assert np.abs(first.expression - other.expression).max() > 0.05
    assert first.poses != other.poses
    assert np.array_equal(first.expression, again.expression)
    assert first.poses == again.poses


def test_samples_of_a_style_have_its_mean_and_spread() -> None:
    style = SpeakingStyle(2, "sad")
    generator = np.random.default_rng(0)
    drawn = np.array([list(vars(style.sample(generator)).values()) for _ in range(2000)])

    # Four standard errors of 2,000 draws.
    assert (np.abs(drawn.mean(0) - style.mean) < 4 * style.std / np.sqrt(2000)).all()
    np.testing.assert_allclose(drawn.std(0), style.std, rtol=0.1)
    assert drawn.shape[1] == len(MANNER_NAMES)


def test_a_voice_tells_of_the_emotion() -> None:
    happy, sad = (SpeakingStyle(1, emotion).voice for emotion in ("happy", "sad"))

    assert (happy.accent, happy.timbre) == (sad.accent, sad.timbre)
    assert happy.rate > sad.rate
    assert happy.pitch_range > sad.pitch_range


def test_an_unknown_emotion_lists_the_known_ones() -> None:
    with pytest.raises(StyleError, match="happy, neutral, sad"):
        SpeakingStyle(0, "joyful")
