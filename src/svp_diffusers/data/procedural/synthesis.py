"""Clips and datasets of procedural talkers: the same seed gives the same bytes."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from svp_diffusers.data.clips import ClipSample, StoredClip, encode_clip
from svp_diffusers.data.procedural.geometry import locate_head_keypoints
from svp_diffusers.data.procedural.identity import Identity, sample_identity
from svp_diffusers.data.procedural.manner import EMOTIONS, SpeakingStyle
from svp_diffusers.data.procedural.performance import Performance, perform
from svp_diffusers.data.procedural.portrait import draw_frame
from svp_diffusers.data.procedural.sentences import SENTENCES
from svp_diffusers.data.procedural.speech import SAMPLING_RATE, Phoneme, synthesise_speech
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.style.arkit import ARKIT_BLENDSHAPES

CLIPS_PER_IDENTITY = 4
"""Clips in a row that show the same person, each in another style: a reference frame can then come
from a clip whose style is not the one to be learned."""

_SPLITS = ("train",) * 8 + ("validation", "test")
_SPEAKERS = {"train": range(0, 32), "validation": range(32, 40), "test": range(40, 48)}
_LEAD = 0.12
"""Silence before the first word, seconds."""


@dataclass(frozen=True)
class SynthesisSettings:
    """What kind of clips to make.

    Args:
        seed: everything follows from it.
        size: height and width in pixels, a multiple of 8.
        fps: frames a second.
        seconds: length of every clip.

    Raises:
        ConfigurationError: an impossible size or length.
    """

    seed: int = 0
    size: int = 128
    fps: Fraction = Fraction(25)
    seconds: float = 4.0

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 8:
            raise ConfigurationError(f"size {self.size} is not a multiple of 8 of at least 16")
        if self.frames < 1:
            raise ConfigurationError(f"{self.seconds} seconds at {self.fps} fps hold no frame")
        if self.seed < 0:
            raise ConfigurationError(f"seed {self.seed} is negative")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return round(self.seconds * self.fps)


def say_for(
    seconds: float, style: SpeakingStyle, split: str, generator: np.random.Generator
) -> tuple[np.ndarray, tuple[Phoneme, ...], str]:
    """Say sentences of a split until the time is filled, and cut the sound there.

    Returns:
        waveform `(round(seconds * 16000),)`, its phonemes, and the text.
    """
    samples = round(seconds * SAMPLING_RATE)
    waveform = np.zeros(0, np.float32)
    phonemes: list[Phoneme] = []
    texts: list[str] = []
    while len(waveform) < samples:
        text = str(generator.choice(SENTENCES[split]))
        spoken, sounds = synthesise_speech(text, style.voice)
        start = len(waveform) / SAMPLING_RATE + _LEAD
        pause = np.zeros(round(_LEAD * SAMPLING_RATE), np.float32)
        waveform = np.concatenate([waveform, pause, spoken])
        shifted = [Phoneme(p.symbol, start + p.start, start + p.end) for p in sounds]
        phonemes += [phoneme for phoneme in shifted if phoneme.start < seconds]
        texts.append(text)
    waveform = waveform[:samples]
    level = np.sqrt(np.mean(waveform**2))
    waveform = np.clip(waveform * (0.08 / max(float(level), 1e-4)), -1, 1)
    return waveform.astype(np.float32), tuple(phonemes), " ".join(texts)


def draw_frames(identity: Identity, performance: Performance, size: int) -> Iterator[np.ndarray]:
    """Draw a performance frame by frame, `(size, size, 3)` uint8 RGB each."""
    for row, pose in zip(performance.expression.tolist(), performance.poses, strict=True):
        yield draw_frame(identity, dict(zip(ARKIT_BLENDSHAPES, row, strict=True)), pose, size)


def make_clip(settings: SynthesisSettings, index: int) -> ClipSample:
    """Make one clip of a dataset; it depends on the settings and its index alone.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    person = index // CLIPS_PER_IDENTITY
    split = _SPLITS[person % len(_SPLITS)]
    generator = np.random.default_rng([settings.seed, index])
    identity_seed = int(np.random.default_rng([settings.seed, person, 1]).integers(2**31))
    emotions = np.random.default_rng([settings.seed, person, 2]).permutation(EMOTIONS)
    style = SpeakingStyle(
        speaker=int(generator.choice(_SPEAKERS[split])),
        emotion=str(emotions[index % CLIPS_PER_IDENTITY]),
        intensity=float(np.round(generator.uniform(0.6, 1.0), 3)),
    )
    seconds = settings.frames / settings.fps
    waveform, phonemes, text = say_for(float(seconds), style, split, generator)
    manner = style.sample(generator)
    fps = float(settings.fps)
    performance = perform(phonemes, waveform, manner, settings.frames, fps, generator)
    identity = sample_identity(identity_seed)
    keypoints = [locate_head_keypoints(identity, pose) for pose in performance.poses]
    return ClipSample(
        key=f"talker-{index:06d}",
        fps=settings.fps,
        waveform=waveform,
        frames=np.stack(list(draw_frames(identity, performance, settings.size))),
        head_keypoints=(np.stack(keypoints) * settings.size).astype(np.float32),
        expression=performance.expression,
        expression_space="arkit52",
        metadata={
            "split": split,
            "identity": f"identity-{identity_seed}",
            "speaker": f"speaker-{style.speaker:02d}",
            "emotion": style.emotion,
            "intensity": style.intensity,
            "sentence": text,
            "phonemes": [[p.symbol, round(p.start, 4), round(p.end, 4)] for p in phonemes],
            "manner": {name: round(value, 5) for name, value in asdict(manner).items()},
            "source": "svp-diffusers procedural talkers",
            "licence": "CC0-1.0",
            "consent": "not a real person",
        },
    )


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
    if clips < 1 or workers < 1:
        raise ConfigurationError(f"{clips} clips by {workers} workers: both must be at least 1")
    with ShardWriter(directory) as writer:
        for clip in _make_clips(clips, settings, workers):
            writer.write(clip)
            yield clip


def _make_clips(clips: int, settings: SynthesisSettings, workers: int) -> Iterator[StoredClip]:
    """Make clips in order; at most four clips a worker wait in memory."""
    if workers == 1:
        yield from (_make_stored_clip(settings, index) for index in range(clips))
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        waiting: deque[Future[StoredClip]] = deque()
        for index in range(clips):
            waiting.append(pool.submit(_make_stored_clip, settings, index))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
