"""What stands behind the person: a place out of focus, a gradient or a wall."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


@dataclass(frozen=True)
class Background:
    """Behind the person in all frames of a clip.

    Args:
        kind: "place", "gradient" or "wall".
        place: name of a panorama.
        seed: of where in the panorama, or of the pattern of the wall.
        colour: linear, of gradients and walls.
        colour_low: the colour at the other end.
        defocus: blur in 1/128 of the picture.
    """

    kind: str
    place: str
    seed: int
    colour: tuple[float, ...]
    colour_low: tuple[float, ...]
    defocus: float


def sample_background(generator: np.random.Generator, place: str) -> Background:
    """Draw a background; a place is that of the light."""
    level = generator.choice((0.03, 0.1, 0.3, 0.7)) * generator.uniform(0.6, 1.4)
    spread = generator.choice((0.05, 0.15, 0.5))
    colour = np.clip(level * np.exp(generator.normal(size=3) * spread), 0.005, 1.1)
    low = colour * generator.uniform(0.25, 1.3) * np.exp(generator.normal(size=3) * 0.06)
    return Background(
        kind=str(generator.choice(("place", "gradient", "wall"), p=(0.55, 0.3, 0.15))),
        place=place,
        seed=int(generator.integers(1 << 30)),
        colour=tuple(colour.tolist()),
        colour_low=tuple(low.tolist()),
        defocus=float(generator.uniform(0.3, 4)),
    )


def paint_background(
    background: Background, places: Mapping[str, np.ndarray], size: int
) -> np.ndarray:
    """Linear radiance, `(size, size, 3)` float32, about 0.2 in the mean; see `Background`."""
    generator = np.random.default_rng(background.seed)
    if background.kind == "place":
        return _photograph_place(places[background.place], generator, size, background.defocus)
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    angle = generator.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1)[..., None]
    picture = (1 - share) * background.colour + share * background.colour_low
    picture = picture * (1 - generator.uniform(0, 1) * (x * x + (y + 0.05) ** 2))[..., None]
    if background.kind == "wall":
        pattern = make_noise(generator, (size, size), (3, 8, 25, 60), (0.25, 0.15, 0.12, 0.10))
        strength = generator.uniform(0.3, 1.0) * np.array([1, 0.95, 0.9])
        picture = picture * np.exp(pattern[..., None] * strength)
    painted: np.ndarray = picture.astype(np.float32)
    return painted


def make_noise(
    generator: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[int, ...],
    amplitudes: tuple[float, ...],
) -> np.ndarray:
    """Smooth noise: the sum of random grids of that many cells a side, by their amplitudes."""
    height, width = shape
    noise = np.zeros(shape, np.float32)
    for cell, amplitude in zip(cells, amplitudes, strict=True):
        grid = generator.normal(size=(max(2, cell), max(2, cell))).astype(np.float32)
        factors = (height / grid.shape[0], width / grid.shape[1])
        noise += amplitude * zoom(grid, factors, order=3, mode="nearest", grid_mode=True)
    return noise


def _photograph_place(
    panorama: np.ndarray, generator: np.random.Generator, size: int, defocus: float
) -> np.ndarray:
    height, width = panorama.shape[:2]
    side = int(generator.uniform(70, 150))
    top = int(np.clip(height / 2 - 0.55 * side + 8 * generator.normal(), 0, height - side))
    turned = np.roll(panorama, int(generator.integers(width)), axis=1)
    cut = turned[top : top + side, :side]
    middle_grey = np.exp(np.log(cut.mean(2) + 1e-3).mean())
    cut = np.minimum(cut * generator.uniform(0.12, 0.5) / middle_grey, 6.0)
    factor = size / side
    picture = zoom(cut, (factor, factor, 1), order=1, mode="nearest", grid_mode=True)
    blur = size / 128 * defocus
    return np.maximum(gaussian_filter(picture, (blur, blur, 0), mode="nearest"), 0)
