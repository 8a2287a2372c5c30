"""The map of styles says how wide they are, and which way."""

import numpy as np
import pytest

from svp_diffusers.style.plot import draw_styles


def test_an_ellipse_is_the_covariance_of_its_style() -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="the extra `plot` is not installed")
    axes = figure.Figure().add_subplot()
    means = np.array([[0.0, 1.0], [2.0, 3.0]])
    covariances = np.array([[[2.0, 0.8], [0.8, 1.0]], [[1.0, -0.5], [-0.5, 3.0]]])
    draw_styles(axes, ["happy", "sad"], means, covariances)
    for ellipse, mean, covariance in zip(axes.patches, means, covariances, strict=True):
        np.testing.assert_allclose(ellipse.center, mean)
        angle = np.radians(ellipse.angle)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        halves = np.diag([ellipse.width / 2, ellipse.height / 2])
        np.testing.assert_allclose(turn @ halves**2 @ turn.T, covariance)
