"""A map of styles: means in two dimensions with one-sigma ellipses."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import MissingDependencyError, StyleError
from svp_diffusers.media.output import atomic_path, check_output
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.style.storage import check_same_space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE_SUFFIXES = (".png", ".jpg", ".svg", ".pdf")


def project_styles(
    styles: Sequence[StyleDistribution],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Principal components of the means.

    Returns:
        Means `(n, 2)`, covariances `(n, 2, 2)` of the projected Gaussians, and the share `(2,)` of
        the means' variance that each axis shows.
    """
    if len(styles) < 2:
        raise StyleError("a map needs at least two styles")
    check_same_space(styles)
    means = np.stack([style.mean.double().numpy() for style in styles])
    variances = np.stack([style.std.double().square().numpy() for style in styles])
    centred = means - means.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    covariances = np.einsum("ad,nd,bd->nab", axes, variances, axes)
    return centred @ axes.T, covariances, singular[:2] ** 2 / max((singular**2).sum(), 1e-12)


def plot_styles(styles: Sequence[StyleDistribution], path: str | Path) -> None:
    """Write a map of the styles as a picture, coloured by name.

    Raises:
        StyleError: fewer than two styles, or styles of different encoders.
        MissingDependencyError: matplotlib is not installed.
        OutputError: the picture cannot be written, or is of another kind than `PICTURE_SUFFIXES`.
    """
    path = check_output(path, *PICTURE_SUFFIXES)
    means, covariances, shares = project_styles(styles)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib: pip install 'svp-diffusers[plot]'"
        ) from error
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    draw_styles(axes, [style.name or "unnamed" for style in styles], means, covariances)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize="small")
    axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance of the means)")
    axes.set_ylabel(f"second component ({shares[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title("Styles: means and one-sigma ellipses")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def draw_styles(
    axes: "Axes",
    names: Sequence[str],
    means: NDArray[np.float64],
    covariances: NDArray[np.float64],
) -> None:
    """Draw projected styles as points with one-sigma ellipses, those of a name in one colour.

    Args:
        axes: of matplotlib.
        names: one for each style.
        means: (n, 2).
        covariances: (n, 2, 2).
    """
    from matplotlib.patches import Ellipse

    known = sorted(set(names))
    for name, mean, covariance in zip(names, means, covariances, strict=True):
        colour = f"C{known.index(name) % 10}"
        values, vectors = np.linalg.eigh(covariance)
        width, height = 2 * np.sqrt(values)
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        axes.add_patch(Ellipse(tuple(mean), width, height, angle=angle, color=colour, alpha=0.15))
        axes.plot(*mean, "o", color=colour, label=name)
