"""One correlation for lips, front-ends and expression encoders."""

import numpy as np
import pytest

from svp_diffusers.measures.correlation import correlate


def test_it_is_pearsons_along_either_axis() -> None:
    random = np.random.default_rng(0)
    read, truth = random.normal(size=(2, 50, 3))
    expected = [np.corrcoef(read[:, k], truth[:, k])[0, 1] for k in range(3)]
    assert correlate(read, truth, axis=0) == pytest.approx(expected)
    assert correlate(read.T, truth.T) == pytest.approx(expected)
    assert correlate(3 * read + 2, read, axis=0) == pytest.approx(1)


def test_a_still_truth_cannot_be_followed_and_what_stays_still_does_not_follow() -> None:
    moving, still = np.array([0.0, 1.0, 2.0]), np.full(3, 0.3)
    assert correlate(still, moving) == 0
    assert np.isnan(correlate(moving, still))
    assert np.isnan(correlate(still, still))
    assert np.isnan(correlate(moving[:2], moving[:2]))
    assert np.isnan(correlate(moving[:0], moving[:0]))
    # Rounding is no motion.
    assert correlate(still + 1e-7 * moving, moving) == 0
