"""Light: a panorama from all around, a key light that throws shadows, at times a rim light."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

_HEIGHT, _WIDTH = 32, 64
_MOST_RADIANCE = 60.0


@dataclass(frozen=True)
class Light:
    """Light of a clip. Directions are unit vectors towards the light, in head coordinates.

    Args:
        place: name of the panorama.
        harmonics: `(9, 3)` float32 irradiance over pi, spherical harmonics of a normal.
        blurred: `(32, 64, 3)` float32 radiance for rough surfaces.
        sharp: `(32, 64, 3)` float32 radiance for wet ones.
        key_direction: `(3,)` float32.
        key: `(3,)` float32 irradiance over pi of the key light.
        softness: width of its shadows' edges in texels of the shadow map.
        rim_direction: `(3,)` float32.
        rim: strength of the rim light.
        ambient: factor of the panorama's light.
    """

    place: str
    harmonics: np.ndarray
    blurred: np.ndarray
    sharp: np.ndarray
    key_direction: np.ndarray
    key: np.ndarray
    softness: float
    rim_direction: np.ndarray
    rim: float
    ambient: float


def sample_light(generator: np.random.Generator, places: Mapping[str, np.ndarray]) -> Light:
    """Draw a light in one of the places."""
    place = str(generator.choice(sorted(places)))
    radiance = np.minimum(places[place], _MOST_RADIANCE)
    rows, columns = radiance.shape[0] // _HEIGHT, radiance.shape[1] // _WIDTH
    radiance = radiance.reshape(_HEIGHT, rows, _WIDTH, columns, 3).mean((1, 3))
    radiance = np.roll(radiance, int(generator.integers(_WIDTH)), axis=1)
    directions, solid_angles = _look_around()
    radiance = radiance / (radiance.mean(2) * solid_angles).sum() * solid_angles.sum()
    # A camera's white balance takes most of the colour of the light away.
    tint = radiance.mean((0, 1))
    radiance = radiance / tint ** generator.uniform(0.6, 0.95)
    radiance = radiance / radiance.mean()
    radiance = 0.85 * radiance + 0.15 * radiance.mean((0, 1))
    azimuth, elevation = generator.normal(0, 0.75), generator.uniform(0.1, 1.0)
    key_direction = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    warmth = generator.uniform(-1, 1)
    key = generator.uniform(0.5, 2.2) * np.array([1 + 0.18 * warmth, 1, 1 - 0.2 * warmth])
    behind = generator.choice((-1, 1)) * generator.uniform(2.1, 2.7)
    rim_direction = np.array([np.sin(behind) * 0.9, 0.35, np.cos(behind) * 0.9])
    rim = generator.uniform(0.2, 0.8) if generator.uniform() < 1 / 3 else 0.0
    return Light(
        place=place,
        harmonics=_project_on_harmonics(radiance, directions, solid_angles),
        blurred=gaussian_filter(
            radiance, (1.3, 1.3, 0), mode=("nearest", "wrap", "nearest")
        ).astype(np.float32),
        sharp=radiance.astype(np.float32),
        key_direction=key_direction.astype(np.float32),
        key=key.astype(np.float32),
        softness=float(generator.uniform(0.7, 2.4)),
        rim_direction=(rim_direction / np.linalg.norm(rim_direction)).astype(np.float32),
        rim=float(rim),
        ambient=float(generator.uniform(0.35, 0.8)),
    )


def _look_around() -> tuple[np.ndarray, np.ndarray]:
    """Directions `(h, w, 3)` of a panorama's pixels and their solid angles `(h, w)`."""
    azimuth = (np.arange(_WIDTH) + 0.5) / _WIDTH * 2 * np.pi - np.pi
    elevation = np.pi / 2 - (np.arange(_HEIGHT) + 0.5) / _HEIGHT * np.pi
    across = np.cos(elevation)[:, None]
    directions = np.stack(
        [
            np.sin(azimuth) * across,
            np.broadcast_to(np.sin(elevation)[:, None], (_HEIGHT, _WIDTH)),
            np.cos(azimuth) * across,
        ],
        axis=-1,
    )
    solid_angles = across * (np.pi / _HEIGHT) * (2 * np.pi / _WIDTH)
    return directions, np.broadcast_to(solid_angles, (_HEIGHT, _WIDTH))


def _project_on_harmonics(
    radiance: np.ndarray, directions: np.ndarray, solid_angles: np.ndarray
) -> np.ndarray:
    """Irradiance over pi as `(9, 3)` coefficients; Ramamoorthi and Hanrahan, SIGGRAPH 2001."""
    x, y, z = np.moveaxis(directions, -1, 0)
    polynomials = (1 + 0 * x, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    norms = (0.282095, *[0.488603] * 3, *[1.092548] * 2, 0.315392, 1.092548, 0.546274)
    cosine_lobe = (1.0, *[2 / 3] * 3, *[1 / 4] * 5)
    weighted = radiance * solid_angles[..., None]
    rows = [
        norm**2 * lobe * (weighted * polynomial[..., None]).sum((0, 1))
        for polynomial, norm, lobe in zip(polynomials, norms, cosine_lobe, strict=True)
    ]
    return np.array(rows, dtype=np.float32)
