"""How alike two signals move."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

STILL = 1e-3
"""Standard deviation below which a signal counts as still; expression coefficients are 0..1."""

LEAST_VALUES = 3
"""Two values always lie on a line."""


def correlate(read: NDArray[Any], truth: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    """Pearson's correlation of two arrays of one shape along an axis, which the result lacks.

    Returns:
        -1..1; 0 where `read` is still and the truth moves; NaN where the truth is still or has
        fewer than 3 values, since nothing can be said there.
    """
    if truth.shape[axis] < LEAST_VALUES:
        return np.full(truth.sum(axis).shape, np.nan)
    read, truth = (
        values - values.mean(axis, keepdims=True, dtype=np.float64) for values in (read, truth)
    )
    deviation, true_deviation = read.std(axis), truth.std(axis)
    moves, defined = deviation >= STILL, true_deviation >= STILL
    product = np.where(moves & defined, deviation * true_deviation, 1.0)
    correlation = np.where(moves, (read * truth).mean(axis) / product, 0.0)
    return np.asarray(np.where(defined, correlation, np.nan))
