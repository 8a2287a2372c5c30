"""Clips and datasets of procedural talkers: the same seed gives the same bytes.

For rendered people that holds on one kind of processor; on another, single pixels may differ by a
level or two.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from svp_diffusers.data.clips import ClipSample, StoredClip, encode_clip
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.data.workers import map_in_order
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.media.numbers import MOST_SECONDS, check_option, check_options
from svp_diffusers.talkers.manner import EMOTIONS, Manner, SpeakingStyle
from svp_diffusers.talkers.performance import Performance, perform
from svp_diffusers.talkers.speech import format_phonemes
from svp_diffusers.talkers.subject import LOOKS, film, prepare_subject
from svp_diffusers.talkers.utterance import Utterance, say_for

CLIPS_PER_IDENTITY = 4
"""Clips in a row that show the same person, each in another style: a reference frame can then come
from a clip whose style is not the one to be learned."""

_SPLITS = ("train",) * 8 + ("validation", "test")
SPEAKERS = {"train": range(0, 32), "validation": range(32, 40), "test": range(40, 48)}
"""Numbers of the speakers of each split."""
_MOUTH = ("jaw", "mouth", "tongue")
"""How the names of the mouth's coefficients begin."""


@dataclass(frozen=True)
class SynthesisSettings:
    """What kind of clips to make.

    Args:
        seed: everything follows from it.
        size: height and width in pixels, a multiple of 8.
        fps: frames a second.
        seconds: length of every clip.
        look: "drawn", "rendered", or "mixed": half of the people of every split are rendered.
        mixed_expressions: the mouth of every frame and the rest of its face are of two moments and
            two emotions, and do not follow the sound. A network that is to read expressions learns
            from clips like these; from others it learns which clip it looks at, and what that
            clip's one emotion is.

    Raises:
        ConfigurationError: an impossible size or length, or another look.
    """

    seed: int = 0
    size: int = 128
    fps: Fraction = Fraction(25)
    seconds: float = 4.0
    look: str = "drawn"
    mixed_expressions: bool = False

    def __post_init__(self) -> None:
        check_options(seed=self.seed, size=self.size)
        check_option("seconds", self.seconds, 0, MOST_SECONDS)
        if self.size < 16 or self.size % 8:
            raise ConfigurationError(f"size {self.size} is not a multiple of 8 of at least 16")
        if self.seconds * self.fps < 1:
            raise ConfigurationError(f"{self.seconds} seconds at {self.fps} fps hold no frame")
        if self.look not in (*LOOKS, "mixed"):
            raise ConfigurationError(f"no look {self.look!r}: drawn, rendered or mixed")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return round(self.seconds * self.fps)


@dataclass(frozen=True)
class Take:
    """One clip as it is acted, not yet drawn.

    Args:
        split: "train", "validation" or "test".
        look: how the person looks.
        identity_seed: who it is; see `prepare_subject`.
        shot: number of the shot in which a rendered person is shown.
        style: who speaks in which emotion.
        manner: how this take performs the style.
        utterance: what is said.
        performance: what face and head do.
        reference: ARKit coefficients by name of the same person at a moment of saying the same in
            another emotion.
    """

    split: str
    look: str
    identity_seed: int
    shot: int
    style: SpeakingStyle
    manner: Manner
    utterance: Utterance
    performance: Performance
    reference: dict[str, float]


def act_clip(settings: SynthesisSettings, index: int) -> Take:
    """Act one clip of a dataset; it depends on the settings and its index alone.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    person = index // CLIPS_PER_IDENTITY
    split = _SPLITS[person % len(_SPLITS)]
    generator = np.random.default_rng([settings.seed, index])
    emotions = np.random.default_rng([settings.seed, person, 2]).permutation(EMOTIONS)
    style = SpeakingStyle(
        speaker=int(generator.choice(SPEAKERS[split])),
        emotion=str(emotions[index % CLIPS_PER_IDENTITY]),
        intensity=float(np.round(generator.uniform(0.6, 1.0), 3)),
    )
    fps = float(settings.fps)
    utterance = say_for(settings.frames / fps, style, split, generator)
    manner = style.sample(generator)
    performance = perform(
        utterance.phonemes, utterance.waveform, manner, settings.frames, fps, generator
    )
    if settings.mixed_expressions:
        performance = replace(
            performance,
            expression=_mix_expressions(
                style, utterance, settings, np.random.default_rng([settings.seed, index, 4])
            ),
        )
    identity_seed = int(np.random.default_rng([settings.seed, person, 1]).integers(2**31))
    # Draws of its own: a clip stays the same clip whatever its reference.
    reference = _act_reference(
        style, utterance, settings, np.random.default_rng([settings.seed, index, 3])
    )
    return Take(
        split=split,
        look=_choose_look(settings.look, person),
        identity_seed=identity_seed,
        shot=index % CLIPS_PER_IDENTITY,
        style=style,
        manner=manner,
        utterance=utterance,
        performance=performance,
        reference=reference,
    )


def _act_in(
    emotion: str,
    style: SpeakingStyle,
    utterance: Utterance,
    settings: SynthesisSettings,
    generator: np.random.Generator,
) -> np.ndarray:
    """ARKit coefficients `(f, 52)` of the utterance said in another emotion."""
    manner = replace(style, emotion=emotion).sample(generator)
    fps = float(settings.fps)
    performance = perform(
        utterance.phonemes, utterance.waveform, manner, settings.frames, fps, generator
    )
    return performance.expression


def _mix_expressions(
    style: SpeakingStyle,
    utterance: Utterance,
    settings: SynthesisSettings,
    generator: np.random.Generator,
) -> np.ndarray:
    """ARKit coefficients `(f, 52)` whose mouth and other parts are drawn apart, from performances
    of the utterance in all emotions."""
    performances = np.concatenate(
        [_act_in(emotion, style, utterance, settings, generator) for emotion in EMOTIONS]
    )
    mouth, face = performances[generator.integers(len(performances), size=(2, settings.frames))]
    return np.where([name.startswith(_MOUTH) for name in ARKIT_BLENDSHAPES], mouth, face)


def _choose_look(look: str, person: int) -> str:
    """Of a mixed dataset every other person of each split is rendered."""
    if look != "mixed":
        return look
    rounds, place = divmod(person, len(_SPLITS))
    return LOOKS[(rounds + place) % len(LOOKS)]


def _act_reference(
    style: SpeakingStyle,
    utterance: Utterance,
    settings: SynthesisSettings,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Coefficients of a random moment of the utterance said in another emotion.

    A reference in the clip's own style would give that style away, and the model would not learn to
    listen to its style input. As in most portraits, the eyes are open, and half of the references
    are neutral.
    """
    others = [emotion for emotion in EMOTIONS if emotion != style.emotion]
    neutral = style.emotion != "neutral" and generator.uniform() < 0.5
    emotion = "neutral" if neutral else str(generator.choice(others))
    expression = _act_in(emotion, style, utterance, settings, generator)
    moment = expression[generator.integers(settings.frames)]
    rig = dict(zip(ARKIT_BLENDSHAPES, moment.tolist(), strict=True))
    return {**rig, "eyeBlinkLeft": 0.0, "eyeBlinkRight": 0.0}


def make_clip(settings: SynthesisSettings, index: int) -> ClipSample:
    """Act and draw one clip of a dataset.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    take = act_clip(settings, index)
    subject = prepare_subject(take.look, take.identity_seed, settings.size, take.shot)
    poses = take.performance.poses
    keypoints = np.stack([subject.locate_head_keypoints(pose) for pose in poses])
    return ClipSample(
        key=f"talker-{index:06d}",
        fps=settings.fps,
        waveform=take.utterance.waveform,
        frames=np.stack(list(film(subject, take.performance))),
        head_keypoints=(keypoints * settings.size).astype(np.float32),
        expression=take.performance.expression,
        expression_space="arkit52",
        reference=subject.draw(take.reference, poses[0]),
        metadata=_describe(take),
    )


def _describe(take: Take) -> dict[str, Any]:
    rendered = {} if take.look == "drawn" else {"look": take.look}
    return {
        "split": take.split,
        **rendered,
        "identity": f"identity-{take.identity_seed}",
        "speaker": f"speaker-{take.style.speaker:02d}",
        "emotion": take.style.emotion,
        "intensity": take.style.intensity,
        "sentence": take.utterance.text,
        # As text, since the index keeps it for every clip, and text is small in memory.
        "phonemes": format_phonemes(take.utterance.phonemes),
        "manner": {name: round(value, 5) for name, value in asdict(take.manner).items()},
        "source": "svp-diffusers procedural talkers",
        "licence": "CC0-1.0",
        "consent": "not a real person",
    }


def _make_stored_clip(settings: SynthesisSettings, index: int) -> StoredClip:
    return encode_clip(make_clip(settings, index))


def synthesise_dataset(
    directory: Path, clips: int, settings: SynthesisSettings, workers: int = 1
) -> Iterator[StoredClip]:
    """Write a dataset of procedural talkers, yielding each clip once it is written.

    Args:
        directory: folder of the new dataset.
        clips: how many.
        settings: what kind.
        workers: processes; the bytes do not depend on their number.

    Raises:
        DatasetError: the folder already holds a dataset.
        ConfigurationError: fewer than one clip or worker.
    """
    check_options(clips=clips, workers=workers)
    with ShardWriter(directory) as writer:
        # Called in every process, the outer partial makes the inner one.
        for clip in map_in_order(
            partial(partial, _make_stored_clip, settings), range(clips), workers
        ):
            writer.write(clip)
            yield clip
