"""Picture metrics give the values that can be worked out by hand."""

import numpy as np
import pytest

from svp_diffusers.evaluation.talking_head.clips import mark_mouth
from svp_diffusers.evaluation.talking_head.image_metrics import (
    map_similarity,
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


def test_psnr_is_that_of_the_mean_squared_error(frames: np.ndarray, everywhere: np.ndarray) -> None:
    assert measure_psnr(frames + 10, frames, everywhere) == pytest.approx(20 * np.log10(25.5))
    assert measure_psnr(frames, frames, everywhere) == float("inf")


def test_pixels_outside_the_mask_do_not_count(frames: np.ndarray, everywhere: np.ndarray) -> None:
    wrong = frames.copy()
    wrong[:, 10:, 16:] = 0
    outside = everywhere.copy()
    outside[:, 10:, 16:] = False
    assert measure_psnr(wrong, frames, outside) == float("inf")
    # Windows of SSIM reach 3 pixels into what is masked.
    outside[:, 7:, 13:] = False
    assert measure_ssim(wrong, frames, outside) == pytest.approx(1)
    assert measure_ssim(wrong, frames, everywhere) < 0.9


def test_similarity_is_that_of_the_definition(frames: np.ndarray) -> None:
    pictures, truth = frames[:, :, :, 0].astype(float), frames[:, :, :, 1].astype(float)
    window = (0, slice(4, 11), slice(9, 16))  # about row 7, column 12
    x, y = pictures[window].ravel(), truth[window].ravel()
    (variance, covariance), (_, true_variance) = np.cov(x, y)
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + c1) * (variance + true_variance + c2)
    assert map_similarity(pictures, truth)[0, 7, 12] == pytest.approx(expected)


def test_ssim_equals_that_of_scikit_image(frames: np.ndarray, everywhere: np.ndarray) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    luma = frames @ np.array([0.299, 0.587, 0.114])
    noisy = (frames * 0.7 + 40).astype(np.uint8)
    expected = np.mean(
        [
            metrics.structural_similarity(a, b, data_range=255)
            for a, b in zip(noisy @ np.array([0.299, 0.587, 0.114]), luma, strict=True)
        ]
    )
    assert measure_ssim(noisy, frames, everywhere) == pytest.approx(expected, rel=1e-9)


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


def test_the_mouth_is_below_the_eyes_and_turns_with_the_head() -> None:
    keypoints = np.zeros((2, 8, 2), dtype=np.float32)
    keypoints[0, 6:] = (24, 20), (44, 20)
    keypoints[1, 6:] = (20, 44), (20, 24)  # a quarter turn: down the face is to the right
    upright, turned = mark_mouth(keypoints, 64, 64)
    assert upright[40, 34]
    assert not upright[25, 34]
    assert not upright[40, 10]
    assert turned[34, 40]
    assert not turned[34, 25]
    assert upright.sum() == 29 * 23  # pixels strictly inside 30 by 24
