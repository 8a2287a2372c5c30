"""Measures of how well vectors of windows tell styles, and of how sure that is.

All intervals are over the speakers that are queried, or over clips where that is only one: they
then say nothing of other speakers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.evaluation.style_encoder.representations import Representation
from svp_diffusers.measures.intervals import estimate


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval and chance level; `number` counts what it was measured on
    (windows or clips)."""

    value: float
    low: float
    high: float
    chance: float
    number: int


@dataclass(frozen=True)
class WindowLabels:
    """Of each of n windows: clip number, speaker, style, and whether it is a query."""

    clip: NDArray[np.int64]
    speaker: NDArray[np.str_]
    style: NDArray[np.str_]
    query: NDArray[np.bool_]


def retrieve_within_recordings(
    representation: Representation, labels: WindowLabels
) -> Figure | None:
    """Top-1: is the nearest other window of the same speaker and style? Windows of the same
    recording count, so this is easy, and no evidence of style."""
    same = _equal(labels.speaker) & _equal(labels.style)
    return _retrieve(representation, labels, ~np.eye(len(labels.clip), dtype=bool), same)


def retrieve_across_recordings(
    representation: Representation, labels: WindowLabels
) -> Figure | None:
    """Top-1 among windows of other recordings: same speaker and style?"""
    same = _equal(labels.speaker) & _equal(labels.style)
    return _retrieve(representation, labels, ~_equal(labels.clip), same)


def retrieve_across_speakers(representation: Representation, labels: WindowLabels) -> Figure | None:
    """Top-1 among windows of other speakers: same style?"""
    return _retrieve(representation, labels, ~_equal(labels.speaker), _equal(labels.style))


def tell_speakers(representation: Representation, labels: WindowLabels) -> Figure | None:
    """Identity leakage: accuracy of a linear probe for the speaker, on styles it was not fitted to.

    Every style that several speakers have is held out once; queries are its windows of the
    speakers that the probe was trained on. At chance, a style vector contains no information on
    who speaks. None where no two speakers share two styles.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    speakers_of = {style: set(labels.speaker[labels.style == style]) for style in labels.style}
    shared = [style for style, speakers in speakers_of.items() if len(speakers) > 1]
    right, rows, asked = [], [], set()
    for style in shared:
        fit = np.isin(labels.style, shared) & (labels.style != style)
        test = (labels.style == style) & np.isin(labels.speaker, labels.speaker[fit])
        if not test.any() or len(np.unique(labels.speaker[fit])) < 2:
            continue
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        )
        probe.fit(representation.vectors[fit], labels.speaker[fit])
        right.append(probe.predict(representation.vectors[test]) == labels.speaker[test])
        rows.append(np.flatnonzero(test))
        asked |= set(labels.speaker[test])
    if not right:
        return None
    return _accuracy(np.concatenate(right), np.concatenate(rows), labels, 1 / len(asked))


def correlate_width_with_spread(
    representation: Representation, labels: WindowLabels
) -> Figure | None:
    """Calibration: Spearman correlation over clips of the mean width of a clip's windows with how
    far these windows lie apart (root mean squared distance from their mean)."""
    from scipy.stats import spearmanr

    clips = np.unique(labels.clip[labels.query])
    if len(clips) < 3:
        return None
    widths, spreads = [], []
    for clip in clips:
        own = labels.clip == clip
        vectors = representation.vectors[own]
        widths.append(representation.widths[own].mean())
        spreads.append(np.sqrt(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()))
    pairs = np.stack([widths, spreads], axis=1)

    def correlate(rows: NDArray[np.int64]) -> float:
        if len(rows) < 3:
            return float("nan")
        return float(spearmanr(pairs[rows, 0], pairs[rows, 1]).statistic)

    first = [int(np.flatnonzero(labels.clip == clip)[0]) for clip in clips]
    figure = estimate(correlate, _units(labels, first), (-1, 1))
    return Figure(figure.value, figure.low, figure.high, 0.0, len(clips))


def _retrieve(
    representation: Representation,
    labels: WindowLabels,
    candidates: NDArray[np.bool_],
    correct: NDArray[np.bool_],
) -> Figure | None:
    """None where no query has a correct candidate."""
    asked = labels.query & (candidates & correct).any(axis=1)
    if not asked.any():
        return None
    nearest = np.where(candidates, representation.distances, np.inf)[asked].argmin(axis=1)
    right = correct[asked][np.arange(len(nearest)), nearest]
    chance = ((candidates & correct)[asked].sum(axis=1) / candidates[asked].sum(axis=1)).mean()
    return _accuracy(right, np.flatnonzero(asked), labels, float(chance))


def _accuracy(
    right: NDArray[np.bool_], windows: NDArray[np.int64], labels: WindowLabels, chance: float
) -> Figure:
    """The share of `right`, one value for each of the numbered `windows`."""
    figure = estimate(
        lambda rows: float(right[rows].mean()), _units(labels, windows.tolist()), (0, 1)
    )
    return Figure(figure.value, figure.low, figure.high, chance, len(right))


def _units(labels: WindowLabels, windows: Sequence[int]) -> list[str]:
    """What is independent: the speaker of each window, or its clip if only one speaker is there."""
    speakers = [str(labels.speaker[window]) for window in windows]
    if len(set(speakers)) > 1:
        return speakers
    return [str(labels.clip[window]) for window in windows]


def _equal(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    return values[:, None] == values
