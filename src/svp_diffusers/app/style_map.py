"""A map of the bank and the prior, on which any point is a style."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from svp_diffusers.errors import MissingDependencyError
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.style.plot import draw_styles, project_styles

SIDE = 640  # pixels of the picture
MARGIN = 0.12  # of the side, around the means
NEARNESS = 4
"""Power by which a style counts less with its distance (our choice): near ones decide."""


class StyleMap:
    """Styles in the square from (0, 0), top left, to (1, 1), by the principal components of means.

    Of a bank with styles such as "happy" and "happy-anna" those without a second word are shown:
    the others would spread by speaker.

    Args:
        encoder: whose bank, with the prior, is on the map.

    Raises:
        StyleError: the bank is empty.
    """

    def __init__(self, encoder: StyleEncoder) -> None:
        bank = encoder.style_bank
        general = {name: style for name, style in bank.items() if "-" not in name}
        self.styles = {**(general if len(general) > 1 else bank), "prior": encoder.prior()}
        means, self._covariances, _ = project_styles(list(self.styles.values()))
        self._means = means
        lower, upper = means.min(0), means.max(0)
        self._span = float((upper - lower).max()) / (1 - 2 * MARGIN)
        self._lower = (lower + upper - self._span) / 2
        shares = (means - self._lower) / self._span
        self.points = np.stack([shares[:, 0], 1 - shares[:, 1]], axis=1)
        """(styles, 2): x and y of each style."""

    def find_shares(self, x: float, y: float) -> dict[str, float]:
        """How much of each style is in a point, largest first; at a style's own it is all of it.

        Inverse distance weighting (Shepard 1968).
        """
        distances = np.linalg.norm(self.points - np.clip([x, y], 0, 1), axis=1)
        weights = 1 / np.maximum(distances, 1e-6) ** NEARNESS
        order = np.argsort(-weights)
        names = list(self.styles)
        return {names[i]: float(weights[i] / weights.sum()) for i in order}

    def find_style(self, x: float, y: float) -> StyleDistribution:
        """The style at a point: the Wasserstein-2 barycentre of all, by their shares."""
        shares = self.find_shares(x, y)
        return StyleDistribution.mix([self.styles[name] for name in shares], list(shares.values()))

    def describe(self, x: float, y: float) -> str:
        """A point's largest shares, in words."""
        shares = [(name, share) for name, share in self.find_shares(x, y).items() if share >= 0.05]
        return ", ".join(f"{share:.0%} {name}" for name, share in shares[:4])

    def draw(self) -> Image.Image:
        """Draw the map: means with their one-sigma ellipses.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError(
                "the app needs matplotlib: pip install 'svp-diffusers[app]'"
            ) from error
        figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        draw_styles(axes, list(self.styles), self._means, self._covariances)
        for name, mean in zip(self.styles, self._means, strict=True):
            axes.annotate(name, mean, (0, 7), textcoords="offset points", ha="center", size=15)
        axes.set_xlim(self._lower[0], self._lower[0] + self._span)
        axes.set_ylim(self._lower[1], self._lower[1] + self._span)
        axes.set_axis_off()
        picture = BytesIO()
        figure.savefig(picture, format="png")
        return Image.open(picture).convert("RGB")


def mark_point(picture: Image.Image, x: float, y: float) -> Image.Image:
    """A copy of a map's picture with a ring at a point."""
    marked = picture.copy()
    centre, draw = (x * picture.width, y * picture.height), ImageDraw.Draw(marked)
    draw.circle(centre, 9, outline="white", width=6)
    draw.circle(centre, 8, outline="black", width=3)
    return marked
