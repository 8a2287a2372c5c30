"""How sure a figure is: percentile intervals of a bootstrap over clips.

Frames and windows of one clip are not independent, and pretending so would make every interval too
narrow; so whole clips are drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 1000

Measure = Callable[[NDArray[np.int64]], float]
"""From the numbers of the clips that were drawn (with repetition) to a figure."""


@dataclass(frozen=True)
class Estimate:
    """A measured value, its 95 % interval, and how many clips it was measured on."""

    value: float
    low: float
    high: float
    number: int


def bootstrap_interval(
    measure: Measure, clips: int, draws: int = BOOTSTRAP_DRAWS
) -> tuple[float, float]:
    """The 95 % percentile interval of a figure over `draws` draws of `clips` clips."""
    generator = np.random.default_rng(0)
    values = [measure(generator.integers(clips, size=clips)) for _ in range(draws)]
    # Values that were drawn, none in between: some may be infinite.
    low, high = np.nanpercentile(values, [2.5, 97.5], method="inverted_cdf")
    return float(low), float(high)


def estimate(measure: Measure, clips: int, draws: int = BOOTSTRAP_DRAWS) -> Estimate:
    """A figure of all clips, with its interval."""
    return Estimate(measure(np.arange(clips)), *bootstrap_interval(measure, clips, draws), clips)


def estimate_mean(values: Sequence[float] | NDArray[np.float64]) -> Estimate | None:
    """The mean of one value a clip. NaN is a clip that cannot tell; None if none can."""
    told = np.asarray(values, dtype=np.float64)
    told = told[~np.isnan(told)]
    if not len(told):
        return None
    return estimate(lambda rows: float(told[rows].mean()), len(told))
