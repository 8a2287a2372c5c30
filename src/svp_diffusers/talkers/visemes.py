"""From phonemes to lips: a target for each sound, blended by dominance functions.

The blend is that of Cohen and Massaro, "Modeling coarticulation in synthetic visual speech" (1993):
every sound pulls each coefficient to its target with a strength that decays with the distance in
time, so that rounding is anticipated and closures are reached. The targets are our choice, held
against real mouths (docs/svp_tiny/real_pictures.md).
"""

from collections.abc import Sequence

import numpy as np

from svp_diffusers.talkers.speech import Phoneme

LIP_COEFFICIENTS = (
    "jawOpen",
    "mouthPucker",
    "mouthFunnel",
    "mouthStretch",
    "mouthPress",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthUpperUp",
    "mouthLowerDown",
)
"""What speech moves, in the order of the columns of `blend_visemes`; left and right are equal."""

_GROUPS: dict[str, dict[str, float]] = {
    "pbm": {"mouthPress": 0.5, "mouthRollLower": 0.35, "mouthRollUpper": 0.3},
    "fv": {"jawOpen": 0.05, "mouthRollLower": 0.65, "mouthUpperUp": 0.35},
    "θð": {"jawOpen": 0.08, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},
    "t": {"jawOpen": 0.10, "mouthLowerDown": 0.15},
    "dnlɾɫ": {"jawOpen": 0.06, "mouthLowerDown": 0.1},
    "sz": {"jawOpen": 0.04, "mouthStretch": 0.3, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2},
    "ʃʒ": {"jawOpen": 0.06, "mouthFunnel": 0.65, "mouthPucker": 0.2, "mouthUpperUp": 0.15},
    "kʔx": {"jawOpen": 0.16},
    "ɡgŋ": {"jawOpen": 0.09},
    "h": {"jawOpen": 0.22},
    "ɹr": {"jawOpen": 0.06, "mouthPucker": 0.35, "mouthFunnel": 0.25},
    "w": {"jawOpen": 0.02, "mouthPucker": 0.85},
    "j": {"jawOpen": 0.08, "mouthStretch": 0.3},
    "i": {"jawOpen": 0.22, "mouthStretch": 0.5, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2},
    "ɪᵻ": {"jawOpen": 0.26, "mouthStretch": 0.25, "mouthLowerDown": 0.1, "mouthUpperUp": 0.1},
    "eɛ": {"jawOpen": 0.42, "mouthStretch": 0.3},
    "æ": {"jawOpen": 0.62, "mouthStretch": 0.35, "mouthUpperUp": 0.15},
    "aɑɐ": {"jawOpen": 0.72},
    "ʌ": {"jawOpen": 0.50},
    "ɒɔ": {"jawOpen": 0.45, "mouthFunnel": 0.45},
    "o": {"jawOpen": 0.30, "mouthPucker": 0.45, "mouthFunnel": 0.3},
    "ʊ": {"jawOpen": 0.14, "mouthPucker": 0.55},
    "u": {"jawOpen": 0.07, "mouthPucker": 0.85},
    "ə": {"jawOpen": 0.28},
    "ɜɚ": {"jawOpen": 0.22, "mouthPucker": 0.25},
}
_TARGETS = {sound: target for sounds, target in _GROUPS.items() for sound in sounds}
_CLOSURES = frozenset("pbmfv")
_VOWELS = frozenset("iɪᵻeɛæaɑɐʌɒɔoʊuəɜɚ")
_PRIMARY_STRESS = "ˈ"
_BREATH = 0.5
"""Seconds of a pause in which lips stay parted, for breath; in a longer one they come to rest."""
_PARTED = 0.15
"""The jaw's target in such a pause."""


def blend_visemes(phonemes: Sequence[Phoneme], times: np.ndarray, onset: float) -> np.ndarray:
    """Lip coefficients at given times.

    Args:
        phonemes: in order of time; "" is a pause: lips stay parted in one of less than half a
            second, and come to rest in a longer one.
        times: `(t,)` seconds.
        onset: time constant of the lips in seconds; smaller is crisper, 0.02 to 0.06 is natural.

    Returns:
        `(t, len(LIP_COEFFICIENTS))` in 0..1.
    """
    sounds = [sound for phoneme in phonemes for sound in _split(phoneme)]
    if not sounds:
        return np.zeros((len(times), len(LIP_COEFFICIENTS)))
    targets = np.array([target for target, *_ in sounds])
    strengths = np.array([strength for _, strength, *_ in sounds])
    middles = np.array([(start + end) / 2 for *_, start, end in sounds])
    halves = np.array([(end - start) / 2 for *_, start, end in sounds])
    outside = np.maximum(np.abs(times[:, None] - middles) - halves, 0)
    # Rounding is anticipated further than the other gestures.
    reach = np.array(
        [1.7 if n in ("mouthPucker", "mouthFunnel") else 1.0 for n in LIP_COEFFICIENTS]
    )
    dominance = np.exp(-outside[:, :, None] / (onset * reach)) * strengths
    return np.einsum("tsc,sc->tc", dominance, targets) / (dominance.sum(1) + 1e-9)


def _split(phoneme: Phoneme) -> list[tuple[np.ndarray, np.ndarray, float, float]]:
    """Targets, strengths, start and end of every sound of a phoneme (a diphthong has two)."""
    sounds = [sound for sound in phoneme.symbol if sound in _TARGETS]
    if not sounds:
        rest = np.zeros(len(LIP_COEFFICIENTS))
        if phoneme.end - phoneme.start < _BREATH:
            rest[LIP_COEFFICIENTS.index("jawOpen")] = _PARTED
        return [(rest, np.full(len(LIP_COEFFICIENTS), 0.6), phoneme.start, phoneme.end)]
    stress = 1.15 if _PRIMARY_STRESS in phoneme.symbol else 0.92
    length = (phoneme.end - phoneme.start) / len(sounds)
    split = []
    for index, sound in enumerate(sounds):
        gain = stress if sound in _VOWELS else 1.0
        target = np.array([gain * _TARGETS[sound].get(name, 0.0) for name in LIP_COEFFICIENTS])
        strength = np.full(len(LIP_COEFFICIENTS), 3.0 if sound in _CLOSURES else 1.0)
        if sound not in _VOWELS and "mouthPucker" not in _TARGETS[sound]:
            # Consonants made behind the lips leave their rounding to the vowels around.
            strength[[1, 2]] = 0.15
        start = phoneme.start + index * length
        split.append((np.minimum(target, 1.0), strength, start, start + length))
    return split
