"""Distances of pictures from their truth: PSNR, SSIM, flicker, and a Frechet distance of features.

PSNR and SSIM are scikit-image's, over the pixels that the caller picks, so that the mouth, which a
model has to invent, can be left out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
SSIM_WINDOW = 7


def measure_psnr(pictures: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, of the mean squared error of all values.

    Args:
        pictures: any shape; for a part of the picture, `frames[mask]`.
        truth: the same shape and type.
        data_range: from the smallest possible value to the largest, e.g. 255 or 2.

    Returns:
        dB; infinite for equal values.
    """
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(truth, pictures, data_range=data_range))


def measure_ssim(
    frames: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> float:
    """Mean structural similarity of the luma of `(f, H, W, 3)`, over `(f, H, W)` masked pixels.

    Wang et al. 2004 with a uniform window of 7 pixels and unbiased variances; the rim, whose
    windows leave the picture, is left out.
    """
    rim = SSIM_WINDOW // 2
    inside = (slice(None), slice(rim, -rim), slice(rim, -rim))
    _, similarity = structural_similarity(
        frames @ LUMA,
        truth @ LUMA,
        win_size=SSIM_WINDOW,
        data_range=255,
        channel_axis=0,
        full=True,
    )
    return float(similarity[inside][mask[inside]].mean())


def measure_motion(frames: NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbouring frames, 0..1; NaN for a single frame."""
    if len(frames) < 2:
        return float("nan")
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean() / 255)


def measure_frechet_distance(
    features: NDArray[np.float64], true_features: NDArray[np.float64]
) -> float:
    """Frechet distance of Gaussians fitted to two sets `(n, d)` of features (as FID, squared)."""
    mean, true_mean = features.mean(0), true_features.mean(0)
    covariance, true_covariance = np.cov(features.T), np.cov(true_features.T)
    values, vectors = np.linalg.eigh(true_covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance @ root).clip(0)).sum()
    spread = np.trace(covariance) + np.trace(true_covariance) - 2 * cross
    return float(np.square(mean - true_mean).sum() + spread)
