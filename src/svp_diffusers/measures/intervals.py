"""How sure a figure is: 95 % intervals that take people, not clips or frames, as independent.

Clips of one person are alike, and frames of one clip are more so: counted as independent they make
every interval too narrow. For a mean of few people Student's interval holds what it promises where
a bootstrap does not: of samples of 4, 8 and 16 people, 95, 95 and 95 % against 76, 88 and 91 % of
BCa (measured on normal people; on exponential ones 92, 92 and 93 % against 78, 84 and 89).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, t

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 1000

Measure = Callable[[NDArray[np.int64]], float]
"""From the numbers of some clips to a figure of them."""

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A measured value, its 95 % interval, and on how many people and clips it was measured.

    An interval that is not known, as of one person or of infinite values, is all that is possible.
    """

    value: float
    low: float
    high: float
    people: int
    clips: int


def estimate(
    measure: Measure, people: Sequence[str], bounds: tuple[float, float] = UNBOUNDED
) -> Estimate:
    """A figure of all clips, with the interval of a jackknife over people.

    The figure is taken again without each of the `n` people, and Student's distribution of `n - 1`
    degrees of freedom makes an interval of how it changes (Tukey 1958). For a mean of people with
    equally many clips this is the usual t interval of the people's means.

    Args:
        measure: smooth in the clips, as means and their ratios are. See `estimate_jumping`.
        people: whose each clip is.
        bounds: what the figure can be at the least and at the most.
    """
    names, numbers = np.unique(people, return_inverse=True)
    value = measure(np.arange(len(numbers)))
    count = len(names)
    if count < 2:
        return Estimate(value, *bounds, count, len(numbers))
    without = np.array([measure(np.flatnonzero(numbers != number)) for number in range(count)])
    if not np.isfinite([value, *without]).all():
        return Estimate(value, *bounds, count, len(numbers))
    error = math.sqrt(count - 1) * float(without.std())
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    low, high = max(bounds[0], value - reach), min(bounds[1], value + reach)
    return Estimate(value, low, high, count, len(numbers))


def estimate_jumping(
    measure: Measure, people: Sequence[str], bounds: tuple[float, float]
) -> Estimate:
    """As `estimate`, for a figure that jumps, such as a place of a maximum.

    Its interval is that between percentiles of a bootstrap over people, which a figure of few
    values hardly leaves; of fewer than about 16 people it is too narrow.
    """
    names, numbers = np.unique(people, return_inverse=True)
    value = measure(np.arange(len(numbers)))
    if len(names) < 2:
        return Estimate(value, *bounds, len(names), len(numbers))
    clips = [np.flatnonzero(numbers == number) for number in range(len(names))]
    interval = bootstrap(
        (np.arange(len(names)),),
        lambda drawn: measure(np.concatenate([clips[number] for number in drawn])),
        n_resamples=BOOTSTRAP_DRAWS,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), len(names), len(numbers))


def estimate_mean(
    values: Sequence[float] | NDArray[np.float64],
    people: Sequence[str],
    bounds: tuple[float, float] = UNBOUNDED,
) -> Estimate | None:
    """The mean of one value a clip. NaN is a clip that cannot tell; None if none can."""
    every = np.asarray(values, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(every))
    if not len(kept):
        return None
    known = every[kept]
    return estimate(
        lambda rows: float(known[rows].mean()), np.asarray(people)[kept].tolist(), bounds
    )
