"""Speaking styles whose truth is known: a distribution over manners for a (speaker, emotion).

A `Manner` says how one clip is performed. A style is a diagonal Gaussian over manners: its mean is
neutral speech, plus what the emotion changes (times its intensity), plus the habits of the speaker;
its spread is what varies from one clip to the next. All numbers are our choice.
"""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from svp_diffusers.errors import StyleError
from svp_diffusers.talkers.speech import Voice, sample_voice

EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
"""The eight emotions as MEAD names them."""


@dataclass(frozen=True)
class Manner:
    """How a clip is performed; the defaults are neutral speech.

    Args:
        opening: gain of the jaw's opening.
        articulation: gain of the lips' shapes.
        onset: time constant of the lips in seconds.
        smile, frown, stretch, dimple, sneer, press, upper_lip: resting mouth and nose, ARKit units.
        brow_inner, brow_outer, brow_down: resting brows, ARKit units.
        eye_wide, squint, cheek: resting eyes and cheeks, ARKit units.
        lopsided: -1 (all on the subject's right) to 1 (left).
        brow_emphasis: rise of the brows with loud syllables.
        blink_rate: blinks a second.
        nod: radians of nodding with loud syllables.
        sway: gain of slow head motion.
        tempo: gain of the speed of head motion.
        head_pitch, head_roll: resting pose, radians.
        gaze_down: resting gaze, -1 (up) to 1 (down).
        gaze_wander: how far the eyes stray.
    """

    opening: float = 1.0
    articulation: float = 1.0
    onset: float = 0.030
    smile: float = 0.06
    frown: float = 0.03
    stretch: float = 0.0
    dimple: float = 0.0
    sneer: float = 0.0
    press: float = 0.0
    upper_lip: float = 0.0
    brow_inner: float = 0.05
    brow_outer: float = 0.05
    brow_down: float = 0.05
    eye_wide: float = 0.05
    squint: float = 0.05
    cheek: float = 0.0
    lopsided: float = 0.0
    brow_emphasis: float = 0.15
    blink_rate: float = 0.30
    nod: float = 0.035
    sway: float = 1.0
    tempo: float = 1.0
    head_pitch: float = 0.0
    head_roll: float = 0.0
    gaze_down: float = 0.0
    gaze_wander: float = 0.12


MANNER_NAMES = tuple(field.name for field in fields(Manner))

_EMOTION_CHANGES: dict[str, dict[str, float]] = {
    "angry": {
        **{"opening": 0.25, "articulation": 0.25, "onset": -0.008, "frown": 0.30, "press": 0.10},
        **{"brow_down": 0.85, "squint": 0.30, "sneer": 0.40, "upper_lip": 0.15, "nod": 0.045},
        **{"brow_emphasis": -0.10, "head_pitch": 0.06, "tempo": 0.4, "blink_rate": -0.1},
    },
    "contempt": {
        **{"opening": -0.20, "smile": 0.34, "dimple": 0.40, "lopsided": 0.85, "squint": 0.28},
        **{"brow_down": 0.15, "brow_outer": 0.20, "head_pitch": -0.07, "head_roll": 0.07},
        **{"sneer": 0.10, "gaze_down": 0.22, "nod": -0.02},
    },
    "disgusted": {
        **{"opening": -0.10, "sneer": 0.90, "upper_lip": 0.45, "frown": 0.30, "brow_down": 0.55},
        **{"squint": 0.45, "cheek": 0.40, "head_pitch": -0.05, "sway": 0.2, "stretch": 0.1},
    },
    "fear": {
        **{"opening": -0.05, "onset": -0.005, "stretch": 0.55, "brow_inner": 0.85, "frown": 0.15},
        **{"brow_outer": 0.25, "brow_down": 0.15, "eye_wide": 0.80, "blink_rate": 0.5},
        **{"gaze_wander": 0.20, "sway": 0.3, "tempo": 0.8, "nod": -0.015, "head_pitch": 0.02},
    },
    "happy": {
        **{"opening": 0.20, "smile": 0.82, "cheek": 0.65, "squint": 0.12, "brow_outer": 0.22},
        **{"upper_lip": 0.38, "dimple": 0.20, "brow_emphasis": 0.20, "nod": 0.025, "sway": 0.4},
        **{"head_roll": 0.03},
    },
    "neutral": {},
    "sad": {
        **{"opening": -0.32, "articulation": -0.20, "onset": 0.015, "frown": 0.75, "smile": -0.06},
        **{"brow_inner": 0.85, "brow_down": 0.10, "eye_wide": -0.05, "squint": 0.18},
        **{"head_pitch": 0.09, "gaze_down": 0.35, "nod": -0.015, "tempo": -0.4, "head_roll": -0.04},
        **{"brow_emphasis": -0.08, "blink_rate": 0.1},
    },
    "surprised": {
        **{"opening": 0.40, "brow_inner": 0.80, "brow_outer": 0.90, "eye_wide": 0.90},
        **{"brow_emphasis": 0.15, "head_pitch": -0.04, "blink_rate": -0.12, "nod": 0.01},
    },
}

_SPEAKER_SPREAD = Manner(
    **{"opening": 0.16, "articulation": 0.14, "onset": 0.004, "smile": 0.08, "frown": 0.05},
    **{"stretch": 0.03, "dimple": 0.05, "sneer": 0.03, "press": 0.03, "upper_lip": 0.05},
    **{"brow_inner": 0.08, "brow_outer": 0.08, "brow_down": 0.06, "eye_wide": 0.06, "squint": 0.06},
    **{"cheek": 0.05, "lopsided": 0.15, "brow_emphasis": 0.10, "blink_rate": 0.08, "nod": 0.014},
    **{"sway": 0.2, "tempo": 0.15, "head_pitch": 0.02, "head_roll": 0.025, "gaze_down": 0.05},
    **{"gaze_wander": 0.04},
)
_CLIP_SHARE = 0.4
"""Spread from clip to clip over the spread from speaker to speaker."""

_VOICE_CHANGES: dict[str, tuple[int, int, int]] = {
    "angry": (14, 2, 14),
    "contempt": (-14, -4, -16),
    "disgusted": (-8, -6, 4),
    "fear": (20, 12, 8),
    "happy": (8, 8, 22),
    "neutral": (0, 0, 0),
    "sad": (-26, -8, -24),
    "surprised": (4, 14, 30),
}
"""Change of rate, pitch and pitch range, so that the voice alone conveys the emotion."""


@dataclass(frozen=True)
class SpeakingStyle:
    """A speaker in an emotion.

    Args:
        speaker: number of the speaker; it seeds habits and voice.
        emotion: one of `EMOTIONS`.
        intensity: 0 (neutral) to 1 (full) and beyond.

    Raises:
        StyleError: an unknown emotion.
    """

    speaker: int
    emotion: str
    intensity: float = 1.0

    def __post_init__(self) -> None:
        if self.emotion not in EMOTIONS:
            raise StyleError(
                f"{self.emotion!r} is not an emotion; choose one of {', '.join(EMOTIONS)}"
            )

    @property
    def mean(self) -> np.ndarray:
        """Mean manner, `(len(MANNER_NAMES),)` in the order of `MANNER_NAMES`."""
        habits = np.random.default_rng([self.speaker, 0xFACE]).normal(size=len(MANNER_NAMES))
        changes = _EMOTION_CHANGES[self.emotion]
        change = np.array([changes.get(name, 0.0) for name in MANNER_NAMES])
        neutral, spread = _to_vector(Manner()), _to_vector(_SPEAKER_SPREAD)
        return neutral + self.intensity * change + spread * np.clip(habits, -2, 2)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation from clip to clip, same shape."""
        return _CLIP_SHARE * _to_vector(_SPEAKER_SPREAD)

    def sample(self, generator: np.random.Generator) -> Manner:
        """Draw the manner of one clip."""
        drawn = self.mean + self.std * generator.normal(size=len(MANNER_NAMES))
        return Manner(**dict(zip(MANNER_NAMES, drawn.tolist(), strict=True)))

    @property
    def voice(self) -> Voice:
        """The speaker's voice, with the prosody of the emotion."""
        voice = sample_voice(np.random.default_rng([self.speaker, 0x701CE]))
        rate, pitch, pitch_range = (
            round(self.intensity * change) for change in _VOICE_CHANGES[self.emotion]
        )
        return replace(
            voice,
            rate=voice.rate + rate,
            pitch=min(max(voice.pitch + pitch, 0), 99),
            pitch_range=min(max(voice.pitch_range + pitch_range, 0), 99),
        )


def _to_vector(manner: Manner) -> np.ndarray:
    return np.array(list(asdict(manner).values()))
