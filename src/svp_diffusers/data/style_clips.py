"""Clips to learn and judge styles from: expressions and audio features, in memory."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.people import find_speaker
from svp_diffusers.errors import DatasetError
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.track import Expressions, average_speakers
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.sound_svp import open_sound
from svp_diffusers.speech.features import SAMPLING_RATE, AudioFeatures

COLUMNS = ("expressions", "audio", "fps", "speaker", "style")


@dataclass(frozen=True)
class StyleClip:
    """One recording of one speaker in one style.

    expressions: at 25 frames per second
    audio: `(t, audio_dim)` features at 50 per second, or None for a silent clip
    """

    key: str
    speaker: str
    style: str
    expressions: Expressions
    audio: NDArray[np.float32] | None

    @property
    def label(self) -> tuple[str, str]:
        """What makes two clips positives: the same speaker in the same style."""
        return self.speaker, self.style


def read_style_clips(
    source: str, root: str | None, space: str, audio_features: AudioFeatures, split: str
) -> list[StyleClip]:
    """Read a manifest (`.csv`) or one split of a dataset of shards.

    Args:
        source: the manifest, or folder or address of the dataset.
        root: folder of the manifest's paths; default: the manifest's own.
        space: expression space that all clips must have.
        audio_features: turns speech into features.
        split: of a dataset; a manifest has none and is taken whole.

    Raises:
        DatasetError: a malformed manifest or dataset, or a clip of another expression space.
        MediaError, ExpressionError: a file of the manifest is missing or unreadable.
    """
    if source.endswith(".csv"):
        clips = _read_manifest(Path(source), root, audio_features)
    else:
        clips = _read_shards(source, split, audio_features)
    for clip in clips:
        if clip.expressions.space != space:
            raise DatasetError(
                f"clip {clip.key} has {clip.expressions.space} expressions, {space} is wanted"
            )
    return clips


def center_speakers(clips: Sequence[StyleClip]) -> list[StyleClip]:
    """Subtract from every clip the average expression of its speaker over these clips."""
    averages = average_speakers((clip.speaker, clip.expressions) for clip in clips)
    return [
        replace(clip, expressions=clip.expressions.center("speaker", averages[clip.speaker]))
        for clip in clips
    ]


def _read_manifest(path: Path, root: str | None, audio_features: AudioFeatures) -> list[StyleClip]:
    """A CSV with the columns expressions, audio (may be empty), fps (may be empty: the format's
    own), speaker and style; the expression file's name without its suffix is the clip's key."""
    folder = path.parent if root is None else Path(root)
    with check_input(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or set(rows[0]) != set(COLUMNS):
        raise DatasetError(f"{path} must have rows and exactly the columns {', '.join(COLUMNS)}")
    clips = []
    for row in rows:
        expressions = read_expressions(
            folder / row["expressions"], Fraction(row["fps"]) if row["fps"] else None
        )
        sound = None
        if row["audio"]:
            sound = open_sound(to_mono(read_audio(folder / row["audio"])), SAMPLING_RATE)
        clips.append(
            StyleClip(
                key=Path(row["expressions"]).stem,
                speaker=row["speaker"],
                style=row["style"],
                expressions=expressions,
                audio=None if sound is None else audio_features(sound),
            )
        )
    return clips


def _read_shards(source: str, split: str, audio_features: AudioFeatures) -> list[StyleClip]:
    dataset = ClipDataset(source, split)
    clips = []
    for index in range(len(dataset)):
        sample = dataset.read_members(index, ("expression.npy", "flac")).decode(pictures=False)
        expressions, speaker = sample.track_expression(), find_speaker(sample.metadata)
        if expressions is None or speaker is None or "emotion" not in sample.metadata:
            raise DatasetError(f"clip {sample.key} lacks expressions, its speaker or its emotion")
        clips.append(
            StyleClip(
                key=sample.key,
                speaker=speaker,
                style=str(sample.metadata["emotion"]),
                expressions=expressions.resample(),
                audio=audio_features(open_sound(sample.waveform, SAMPLING_RATE)),
            )
        )
    return clips
