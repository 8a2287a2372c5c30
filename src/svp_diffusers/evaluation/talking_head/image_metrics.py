"""Distances of pictures from their truth: PSNR, SSIM, flicker, and a Frechet distance of features.

PSNR and SSIM are whole-clip figures over the pixels of a mask, so that the mouth, which the model
has to invent, can be left out.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
SSIM_WINDOW = 7


def measure_psnr(
    frames: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> float:
    """Peak signal-to-noise ratio in dB of `(f, H, W, 3)` frames, over `(f, H, W)` masked pixels.

    Of the mean squared error of the whole clip; infinite for equal frames.
    """
    error = np.square(frames.astype(np.float32) - truth)[mask].mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error > 0 else float("inf")


def measure_ssim(
    frames: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> float:
    """Mean structural similarity of the luma, over the masked pixels.

    Wang et al. 2004 with a uniform window of 7 pixels and unbiased variances; the rim, whose
    windows leave the picture, is left out.
    """
    rim = SSIM_WINDOW // 2
    inside = (slice(None), slice(rim, -rim), slice(rim, -rim))
    return float(map_similarity(frames @ LUMA, truth @ LUMA)[inside][mask[inside]].mean())


def map_similarity(
    pictures: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Structural similarity at each pixel of `(f, H, W)` luma pictures in 0..255."""

    def average(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, (0, SSIM_WINDOW, SSIM_WINDOW)))

    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean, true_mean = average(pictures), average(truth)
    variance = unbiased * (average(pictures**2) - mean**2)
    true_variance = unbiased * (average(truth**2) - true_mean**2)
    covariance = unbiased * (average(pictures * truth) - mean * true_mean)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return np.asarray(
        ((2 * mean * true_mean + c1) * (2 * covariance + c2))
        / ((mean**2 + true_mean**2 + c1) * (variance + true_variance + c2))
    )


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
