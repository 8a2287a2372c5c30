"""Does the face go all the way between two styles, and only forward."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from svp_diffusers.evaluation.talking_head.clips import TrueClips
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.measurements import Progress
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader
from svp_diffusers.evaluation.talking_head.style_recovery import NEUTRAL, TrainingStyles, project
from svp_diffusers.evaluation.talking_head.table import Aim, PartResult, Row
from svp_diffusers.measures.intervals import estimate_mean

WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def evaluate_interpolation(
    sampler: Sampler,
    reader: ExpressionReader,
    clips: TrueClips,
    training: TrainingStyles,
    seed: int,
    on_progress: Progress,
) -> PartResult:
    """Rank correlation of the face with the weight from neutral (0) to an emotion (1).

    Each clip takes one emotion, in turn; sound and noise stay. Two readings of the face: the
    coefficient that the emotion moves most, and the share of its whole shift (see `style`).
    """
    names = [name for name in np.unique(training.emotions).tolist() if name != NEUTRAL]
    neutral = sampler.get_style(NEUTRAL)
    strongest_ranks, share_ranks, curves = [], [], []
    for number in range(len(clips)):
        clip, emotion = clips[number], names[number % len(names)]
        shift = training.shift(training.truth, emotion)
        moved = training.find_moved(emotion)
        strongest = int(np.abs(shift).argmax())
        target = sampler.get_style(emotion)
        means = []
        for step, weight in enumerate(WEIGHTS):
            vector = neutral.interpolate(target, weight).mean
            frames = sampler.generate(clip, vector, seed + number)
            means.append(reader.read(frames).coefficients.mean(axis=0))
            on_progress(
                "interpolations", number * len(WEIGHTS) + step + 1, len(WEIGHTS) * len(clips)
            )
        driven = [float(mean[strongest] * np.sign(shift[strongest])) for mean in means]
        shares = [project((mean - means[0])[moved], shift[moved]) for mean in means]
        strongest_ranks.append(rank_correlation(driven))
        share_ranks.append(rank_correlation(shares))
        curves.append({"emotion": emotion, "coefficient": reader.names[strongest], "share": shares})
    details: dict[str, Any] = {"weights": list(WEIGHTS), "curves": curves}
    return PartResult(
        [
            _row("the coefficient that the emotion moves most", strongest_ranks, clips.people),
            _row("the share of the emotion's whole shift", share_ranks, clips.people),
        ],
        details,
    )


def rank_correlation(values: list[float]) -> float:
    """Spearman correlation of values with their order; 0 if they are all equal."""
    from scipy.stats import spearmanr

    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(np.arange(len(values)), values).statistic)


def _row(measure: str, ranks: list[float], people: Sequence[str]) -> Row:
    return Row(
        "interpolation",
        f"neutral to emotion, Spearman of the weight with {measure}",
        generated=estimate_mean(ranks, people, (-1, 1)),
        aim=Aim(low=0.9),
    )
