"""Picture metrics give the values that can be worked out by hand."""

import numpy as np
import pytest

from svp_diffusers.measures.pictures import (
    measure_frechet_distance,
    measure_motion,
    measure_psnr,
    measure_ssim,
)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 230, (2, 24, 32, 3), dtype=np.uint8)


@pytest.fixture
def everywhere(frames: np.ndarray) -> np.ndarray:
    return np.ones(frames.shape[:3], dtype=bool)


def test_psnr_is_that_of_the_mean_squared_error(frames: np.ndarray) -> None:
    assert measure_psnr(frames + 10, frames, 255) == pytest.approx(20 * np.log10(25.5))
    assert measure_psnr(frames, frames, 255) == float("inf")
    zeros = np.zeros((2, 3), dtype=np.float32)  # of values in [-1, 1]
    assert measure_psnr(zeros + 0.2, zeros, 2) == pytest.approx(20)


def test_pixels_outside_the_mask_do_not_count(frames: np.ndarray, everywhere: np.ndarray) -> None:
    wrong = frames.copy()
    wrong[:, 10:, 16:] = 0
    outside = everywhere.copy()
    outside[:, 10:, 16:] = False
    # Windows of SSIM reach 3 pixels into what is masked.
    outside[:, 7:, 13:] = False
    assert measure_ssim(wrong, frames, outside) == pytest.approx(1)
    assert measure_ssim(wrong, frames, everywhere) < 0.9


def test_similarity_is_that_of_the_definition(frames: np.ndarray, everywhere: np.ndarray) -> None:
    truth = (frames * 0.7 + 40).astype(np.uint8)
    here = np.zeros_like(everywhere)
    here[0, 7, 12] = True
    window = (0, slice(4, 11), slice(9, 16))
    luma = np.array([0.299, 0.587, 0.114])
    x, y = (frames @ luma)[window].ravel(), (truth @ luma)[window].ravel()
    (variance, covariance), (_, true_variance) = np.cov(x, y)
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + c1) * (variance + true_variance + c2)
    assert measure_ssim(frames, truth, here) == pytest.approx(expected)


def test_motion_is_the_difference_of_neighbours() -> None:
    frames = np.stack([np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 51, 0)])
    assert measure_motion(frames) == pytest.approx(0.2)
    assert np.isnan(measure_motion(frames[:1]))


def test_frechet_distance_of_moved_and_widened_features() -> None:
    features = np.random.default_rng(0).normal(size=(500, 4)) * (1, 2, 3, 0)
    assert measure_frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    moved = features + np.array([3, 0, 0, 4])
    assert measure_frechet_distance(moved, features) == pytest.approx(25, abs=1e-6)
    centred = features - features.mean(0)
    # Standard deviations s and 2 s are a distance of s apart in each direction.
    assert measure_frechet_distance(2 * centred, centred) == pytest.approx(
        np.var(features, axis=0, ddof=1).sum()
    )
