"""Is the requested style to be seen: recovered among all, and how far the face moves for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import DatasetError
from svp_diffusers.evaluation.talking_head.clips import TrueClips
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.measurements import (
    RECONSTRUCTED,
    TRUE,
    Measurement,
    Progress,
)
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader
from svp_diffusers.evaluation.talking_head.sheets import SHEET_CLIPS, draw_grid
from svp_diffusers.evaluation.talking_head.table import Aim, PartResult, Row
from svp_diffusers.measures.intervals import Estimate, estimate, estimate_mean

NEUTRAL = "neutral"
FRAME_STEP = 5  # every which frame of a training clip is read
ALL = slice(None)
MOVED = 0.1  # true shift, of a range of 0..1, from which on an emotion moves a coefficient


@dataclass(frozen=True)
class TrainingStyles:
    """What the styles of `n` training clips look like.

    Args:
        people: `(n,)` who is seen.
        emotions: `(n,)` names.
        truth: `(n, coefficients)` rig coefficients, averaged over time.
        read: the same, read from VAE reconstructions of the frames.
    """

    people: NDArray[np.str_]
    emotions: NDArray[np.str_]
    truth: NDArray[np.float64]
    read: NDArray[np.float64]

    def shift(
        self, values: NDArray[np.float64], emotion: str, rows: NDArray[np.int64] | slice = ALL
    ) -> NDArray[np.float64]:
        """How `values` differ from neutral ones on average over `rows`, `(coefficients,)`."""
        emotions, values = self.emotions[rows], values[rows]
        means = [values[emotions == name].mean(axis=0) for name in (emotion, NEUTRAL)]
        return np.asarray(means[0] - means[1])

    def find_moved(self, emotion: str) -> NDArray[np.bool_]:
        """Which coefficients an emotion truly moves; at least the one that it moves most."""
        shift = np.abs(self.shift(self.truth, emotion))
        return np.asarray(shift >= min(MOVED, shift.max()))


def read_training_styles(
    sampler: Sampler, reader: ExpressionReader, clips: TrueClips, on_progress: Progress
) -> TrainingStyles:
    """Read every fifth frame of training clips, after the VAE.

    Reconstructions are what generated videos look like at best, so a style is told from what is
    drawn, and not from what the VAE loses.

    Raises:
        DatasetError: there is no neutral clip, or fewer than two of an emotion.
    """
    emotions, counts = np.unique(clips.emotions, return_counts=True)
    if NEUTRAL not in emotions or len(emotions) < 2 or counts.min() < 2:
        raise DatasetError(
            "to tell styles, training clips of several emotions are needed, two of each, one of "
            f"them {NEUTRAL}; got {dict(zip(emotions.tolist(), counts.tolist(), strict=True))}"
        )
    truth, read = [], []
    for number in range(len(clips)):
        clip = clips[number]
        frames = sampler.reconstruct(clip.frames[::FRAME_STEP])
        truth.append(reader.select(clip.expression).mean(axis=0))
        read.append(reader.read(frames).coefficients.mean(axis=0))
        on_progress("training clips", number + 1, len(clips))
    people, emotions = np.array(clips.people), np.array(clips.emotions)
    return TrainingStyles(people, emotions, np.array(truth), np.array(read))


def fit_classifier(training: TrainingStyles) -> Any:
    """A linear discriminant from mean coefficients to the emotion.

    All emotions count alike; the covariance is shrunk by Ledoit and Wolf's rule.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    names = np.unique(training.emotions)
    classifier = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(len(names), 1 / len(names))
    )
    return classifier.fit(training.read, training.emotions)


def project(shift: NDArray[np.float64], true_shift: NDArray[np.float64]) -> float:
    """How much of a true shift `(n,)` a shift `(n,)` has: 1 is all of it, 0 none."""
    return float(shift @ true_shift / (true_shift @ true_shift))


def evaluate_style(
    sampler: Sampler,
    reader: ExpressionReader,
    clips: TrueClips,
    measured: Sequence[Measurement],
    training: TrainingStyles,
    seed: int,
    on_progress: Progress,
) -> tuple[PartResult, Image.Image]:
    """Make each clip in every style with the same sound and noise, and see which is recognised.

    Args:
        sampler: makes the videos.
        reader: reads them.
        clips: whose references and sounds are used.
        measured: true clips and reconstructions, for the ceilings.
        training: defines each style's expressions.
        seed: clip `i` is made from `seed + i`.
        on_progress: called at every video.

    Returns:
        Rows and details, and a picture of some people (rows) in all styles (columns).
    """
    names = np.unique(training.emotions).tolist()
    classifier = fit_classifier(training)
    means = np.empty((len(clips), len(names), len(reader.names)))
    pictures = []
    for number in range(len(clips)):
        clip = clips[number]
        row = []
        for column, name in enumerate(names):
            frames = sampler.generate(clip, name, seed + number)
            means[number, column] = reader.read(frames).coefficients.mean(axis=0)
            row.append(frames[len(frames) // 2])
            on_progress("styles", number * len(names) + column + 1, len(clips) * len(names))
        if number < SHEET_CLIPS:
            pictures.append([clip.reference, *row])
    said = classifier.predict(means.reshape(-1, len(reader.names))).reshape(len(clips), -1)
    requested = np.array(names)
    rows = [_measure_recovery(said, requested, clips, measured, classifier)]
    effects, details = _measure_effects(means, clips.people, names, training, reader.names)
    confusion = [[int((said[:, i] == name).sum()) for name in names] for i in range(len(names))]
    details |= {"emotions": names, "requested by recognised": confusion}
    return PartResult([*rows, *effects], details), draw_grid(pictures)


def _measure_recovery(
    said: NDArray[np.str_],
    requested: NDArray[np.str_],
    clips: TrueClips,
    measured: Sequence[Measurement],
    classifier: Any,
) -> Row:
    """The control asks of videos in a wrong style whether they show the right one, which the sound
    may give away: how often is the clip's own emotion seen, though another was requested?"""
    ceilings = {}
    measured_people = [clip.person for clip in measured]
    for condition in (RECONSTRUCTED, TRUE):
        reads = np.stack([clip.readings[condition].coefficients.mean(axis=0) for clip in measured])
        right = classifier.predict(reads) == np.array([clip.emotion for clip in measured])
        ceilings[condition] = estimate_mean(right.astype(float), measured_people, (0, 1))
    wrong = [
        (row == emotion)[requested != emotion].mean()
        for row, emotion in zip(said, clips.emotions, strict=True)
    ]
    chance = 1 / len(requested)
    return Row(
        "style",
        f"requested style recovered among {len(requested)} (chance {chance:.3f})",
        generated=estimate_mean((said == requested).mean(axis=1), clips.people, (0, 1)),
        control=estimate_mean(wrong, clips.people, (0, 1)),
        reconstructed=ceilings[RECONSTRUCTED],
        true=ceilings[TRUE],
        aim=Aim(low=0.85),
    )


def _measure_effects(
    means: NDArray[np.float64],
    people: Sequence[str],
    names: list[str],
    training: TrainingStyles,
    coefficients: Sequence[str],
) -> tuple[list[Row], dict[str, Any]]:
    """How far from neutral each style moves the face, over how far the rig moves for it."""
    neutral = means[:, names.index(NEUTRAL)]
    rows, effects, shifts = [], [], {}
    for column, name in enumerate(names):
        if name == NEUTRAL:
            continue
        moved = training.find_moved(name)
        true_shift = training.shift(training.truth, name)
        generated = means[:, column] - neutral
        effect = np.array([project(each[moved], true_shift[moved]) for each in generated])
        ceiling = _measure_ceiling(training, name)
        effects.append(effect)
        rows.append(_effect_row(name, estimate_mean(effect, people), ceiling))
        read_shift = training.shift(training.read, name)
        shifts[name] = {
            coefficients[int(index)]: {
                "true": float(true_shift[index]),
                "reconstructed": float(read_shift[index]),
                "generated": float(generated[:, index].mean()),
            }
            for index in np.flatnonzero(moved)
        }
    overall = _effect_row("all emotions", estimate_mean(np.mean(effects, axis=0), people), None)
    return [overall, *rows], {"shift from neutral": shifts}


def _measure_ceiling(training: TrainingStyles, emotion: str) -> Estimate:
    """The effect that is read of reconstructed training clips, which have all of it."""
    moved = training.find_moved(emotion)
    true_shift = training.shift(training.truth, emotion)[moved]
    used = np.flatnonzero(np.isin(training.emotions, (emotion, NEUTRAL)))
    return estimate(
        lambda rows: project(training.shift(training.read, emotion, used[rows])[moved], true_shift),
        training.people[used].tolist(),
    )


def _effect_row(what: str, generated: Estimate | None, reconstructed: Estimate | None) -> Row:
    measure = f"{what}: shift from neutral over the rig's own"
    return Row("style", measure, generated=generated, reconstructed=reconstructed)
