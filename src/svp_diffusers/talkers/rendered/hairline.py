"""Where hair and beard grow, as functions of positions on the head model at rest (dm)."""

import numpy as np

from svp_diffusers.talkers.rendered.identity import Person

_CENTRE = np.array([0, 7.42, 0.35])
_AZIMUTHS = (0, 0.35, 0.7, 0.95, 1.15, 1.35, 1.55, 1.8, 2.2, 3.2)
_ELEVATIONS = (0.52, 0.53, 0.50, 0.40, 0.22, 0.02, 0.10, -0.12, -0.45, -0.55)
"""The hairline: its elevation seen from the head's centre, from the forehead round to the nape."""

_RECESSION = (0.10, 0.22, 0.42, 0.30, 0.10, 0.0, 0.0, 0.0, 0.0, 0.0)
"""What a wholly receded hairline adds."""


def measure_hairline(positions: np.ndarray, person: Person) -> np.ndarray:
    """Angle from the hairline to positions `(..., 3)`, radians; above 0 there is scalp."""
    offsets = positions - _CENTRE
    azimuth = np.arctan2(np.abs(offsets[..., 0]), offsets[..., 2])
    elevation = np.arctan2(offsets[..., 1], np.hypot(offsets[..., 0], offsets[..., 2]))
    line = np.array(_ELEVATIONS) + person.recession * np.array(_RECESSION)
    inside: np.ndarray = elevation - np.interp(azimuth, _AZIMUTHS, line)
    if is_bald_on_top(person):
        crown = 0.42 - 0.25 * np.cos(azimuth)
        inside = np.minimum(inside, crown - elevation)
    return inside


def is_bald_on_top(person: Person) -> bool:
    """A wreath of hair is left; younger bald people shave it."""
    return person.hair_style == "bald" and person.age > 0.35


def measure_beard(positions: np.ndarray, lips: np.ndarray | float, person: Person) -> np.ndarray:
    """Density 0..1 of a beard at positions `(..., 3)`; `lips` is 1 where the lips are."""
    x, y, z = np.moveaxis(positions, -1, 0)
    beside = np.abs(x)
    chin = smoothstep(y, 6.92, 6.75) * smoothstep(z, 0.35, 0.75) * smoothstep(y, 6.05, 6.3)
    chin = chin * (1 - lips)
    if person.beard == "goatee":
        return chin * smoothstep(beside, 0.36, 0.26) * smoothstep(z, 1.0, 1.25)
    if person.beard == "moustache":
        return chin * smoothstep(y, 6.60, 6.66) * smoothstep(beside, 0.36, 0.30)
    sideburns = smoothstep(beside, 0.5, 0.7) * smoothstep(y, 7.15, 6.9)
    sideburns = sideburns * smoothstep(z, 0.25, 0.5) * smoothstep(z, 1.1, 0.9)
    cheeks = bump(positions, (0.36, 6.93, 1.3), (0.13, 0.16, 0.4))
    cheeks = cheeks + bump(positions, (-0.36, 6.93, 1.3), (0.13, 0.16, 0.4))
    return np.clip(np.maximum(chin, 0.8 * sideburns) * (1 - 0.75 * cheeks), 0, 1)


def bump(
    positions: np.ndarray, centre: tuple[float, float, float], size: tuple[float, float, float]
) -> np.ndarray:
    """A Gaussian of height 1 at positions `(..., 3)`."""
    away = (positions - np.array(centre, np.float32)) / np.array(size, np.float32)
    height: np.ndarray = np.exp(-0.5 * np.einsum("...i,...i->...", away, away))
    return height


def smoothstep(values: np.ndarray | float, start: float, stop: float) -> np.ndarray:
    """0 before start, 1 after stop, smooth between; start may be the greater."""
    share = np.clip((values - start) / (stop - start), 0, 1)
    eased: np.ndarray = share * share * (3 - 2 * share)
    return eased
