"""The painting of the skin: functions of the place on the head, no photograph."""

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from svp_diffusers.talkers.rendered.assets import HeadModel
from svp_diffusers.talkers.rendered.brows import shade_brows
from svp_diffusers.talkers.rendered.hair_colour import mean_hair_colour
from svp_diffusers.talkers.rendered.hairline import (
    bump,
    is_bald_on_top,
    measure_beard,
    measure_hairline,
    smoothstep,
)
from svp_diffusers.talkers.rendered.identity import Person

_TEXEL = 0.0115
"""Size of a texel of the face, dm."""


def paint_skin(person: Person, model: HeadModel) -> np.ndarray:
    """The head's texture `(h, w, 4)` float32: linear albedo, and a factor of its gloss, about 1."""
    generator = np.random.default_rng([person.seed, 0x5C1])
    positions = model.texture_positions
    noise = _Noise(generator, model.texture_shape)
    scalp = _measure_scalp(person, positions, noise)
    lips = gaussian_filter(model.lips, 1.2)
    fine = noise(0.02) + 0.7 * noise(0.04)
    gloss = 1 + 0.8 * bump(positions, (0, 7.0, 1.65), (0.13, 0.3, 0.3))
    gloss += 0.5 * bump(positions, (0, 7.85, 1.35), (0.35, 0.16, 0.4)) + 1.2 * lips
    gloss = np.clip(gloss * (1 + 0.15 * fine) * (1 - 0.6 * scalp), 0, None)

    albedo = np.broadcast_to(np.array(person.skin, np.float32), positions.shape).copy()
    if person.statue:
        veins = 0.08 * noise(0.35) + 0.04 * noise(0.06)
        albedo *= np.exp(veins)[..., None] * (1 - 0.15 * lips - 0.25 * scalp)[..., None]
        return _join(albedo, gloss)
    _flush(albedo, person, model, generator, noise)
    _darken_around_eyes(albedo, person, generator, positions)
    _mottle(albedo, person, noise, fine)
    _spot(albedo, person, generator, positions)
    _wrinkle(albedo, person, generator, positions, noise)
    _shade_beard(albedo, person, model, noise)
    _colour_lips(albedo, person, generator, lips, noise)
    _colour_lids(albedo, person, generator, model)
    _shade_brows(albedo, person, positions, fine)
    shorn = person.hair_style in ("bald", "buzz")
    scalp_colour = 0.6 * mean_hair_colour(person) + (0.08 if shorn else 0.01) * np.array(
        person.skin
    )
    _mix(albedo, scalp_colour, 0.9 * scalp)
    return _join(albedo, gloss)


class _Noise:
    """Smooth random fields over the texture, about standard normal, of a wavelength in dm."""

    def __init__(self, generator: np.random.Generator, shape: tuple[int, int]) -> None:
        self._generator = generator
        self._shape = shape
        height, width = (scipy.fft.next_fast_len(side, real=True) for side in shape)
        self._padded = height, width
        rows = scipy.fft.fftfreq(height)[:, None]
        self._frequency = np.hypot(rows, scipy.fft.rfftfreq(width)).astype(np.float32)

    def __call__(self, wavelength: float) -> np.ndarray:
        centre = min(_TEXEL / wavelength, 0.4)
        band = np.exp(-0.5 * ((self._frequency - centre) / (0.4 * centre)) ** 2)
        shape = (*self._frequency.shape, 2)
        real, imaginary = np.moveaxis(self._generator.standard_normal(shape, np.float32), -1, 0)
        field = scipy.fft.irfft2(band * (real + 1j * imaginary), self._padded)
        height, width = self._shape
        cropped: np.ndarray = field[:height, :width] / field.std()
        return cropped.astype(np.float32)


def _measure_scalp(person: Person, positions: np.ndarray, noise: _Noise) -> np.ndarray:
    """How much of the skin hair roots hide, 0..1."""
    inside = measure_hairline(positions, person) + 0.02 * noise(0.1) + 0.02 * noise(0.04)
    scalp = smoothstep(inside, -0.06, 0.08)
    if person.hair_style != "bald" or person.statue:
        return scalp
    return scalp * (0.8 if is_bald_on_top(person) else 0.3)


def _flush(
    albedo: np.ndarray,
    person: Person,
    model: HeadModel,
    generator: np.random.Generator,
    noise: _Noise,
) -> None:
    """Blood under the cheeks, nose, chin and ears."""
    positions = model.texture_positions
    cheeks = bump(positions, (0.42, 6.95, 1.25), (0.2, 0.18, 0.4))
    cheeks += bump(positions, (-0.42, 6.95, 1.25), (0.2, 0.18, 0.4))
    red = (0.55 * generator.uniform(0.3, 1.3) + 0.4 * person.makeup) * cheeks
    red += 0.6 * generator.uniform(0.4, 1.2) * bump(positions, (0, 6.97, 1.65), (0.14, 0.11, 0.25))
    red += 0.35 * generator.uniform(0.2, 1) * bump(positions, (0, 6.38, 1.45), (0.2, 0.12, 0.3))
    red += 0.6 * generator.uniform(0.4, 1) * model.ears
    patches = 0.5 * noise(0.5) + 0.4 * noise(0.18) + 0.35 * noise(0.07)
    red = red * (1 + 0.3 * patches) + 0.07 * patches
    strength = 0.42 * (1 - 0.6 * person.melanin)
    _absorb(albedo, strength * red, (0.10, 0.85, 0.75))


def _darken_around_eyes(
    albedo: np.ndarray, person: Person, generator: np.random.Generator, positions: np.ndarray
) -> None:
    below, beside = generator.uniform(0.2, 1.2), generator.uniform(0.3, 1)
    for side in (1, -1):
        shade = 0.5 * below * (0.6 + 0.8 * person.age) * (1 - 0.5 * person.makeup)
        dark = shade * bump(positions, (side * 0.3, 7.13, 1.4), (0.15, 0.06, 0.2))
        dark += 0.5 * beside * bump(positions, (side * 0.12, 7.27, 1.4), (0.06, 0.1, 0.2))
        dark += 0.25 * bump(positions, (side * 0.31, 7.37, 1.4), (0.14, 0.045, 0.2))
        _absorb(albedo, dark, (0.32, 0.42, 0.36))


def _mottle(albedo: np.ndarray, person: Person, noise: _Noise, fine: np.ndarray) -> None:
    """Uneven pigment: pores, blotches and yellower or bluer places."""
    pores = fine + 0.8 * noise(0.09)
    _absorb(albedo, (0.018 + 0.02 * person.age) * (1 - 0.4 * person.makeup) * pores, (1, 1, 1))
    _absorb(albedo, 0.6 * noise(0.25) + 0.4 * noise(0.1), (0.012, 0.022, 0.030))
    _absorb(albedo, noise(0.9), (0.02, 0.03, 0.05))


def _spot(
    albedo: np.ndarray, person: Person, generator: np.random.Generator, positions: np.ndarray
) -> None:
    """Freckles over the nose and cheeks, moles and the spots of age anywhere."""
    if person.freckles:
        spots = _scatter_spots(generator, albedo.shape[:2], int(1500 * person.freckles), 0.9)
        spots *= bump(positions, (0, 7.0, 1.4), (0.6, 0.35, 0.6))
        _absorb(albedo, 0.9 * person.freckles * spots, (0.35, 0.6, 0.8))
    moles = _scatter_spots(generator, albedo.shape[:2], int(generator.poisson(12)), 0.8)
    _absorb(albedo, moles, (0.6, 0.8, 0.9))
    aged = _scatter_spots(generator, albedo.shape[:2], int(250 * person.age**2), 1.8)
    _absorb(albedo, person.age * (1 - person.melanin) * aged, (0.25, 0.38, 0.45))


def _scatter_spots(
    generator: np.random.Generator, shape: tuple[int, int], count: int, radius: float
) -> np.ndarray:
    """Soft spots of up to about 1 at random places, radius in texels."""
    spots = np.zeros(shape, np.float32)
    rows, columns = generator.integers(0, shape, (count, 2)).T
    np.add.at(spots, (rows, columns), generator.uniform(0.3, 1, count).astype(np.float32))
    blurred: np.ndarray = gaussian_filter(spots, radius) * (2 * np.pi * radius**2)
    return np.minimum(blurred, 1.2)


def _wrinkle(
    albedo: np.ndarray,
    person: Person,
    generator: np.random.Generator,
    positions: np.ndarray,
    noise: _Noise,
) -> None:
    """Lines on the forehead, beside the eyes and from the nose to the mouth; deeper with age."""
    x, y, z = np.moveaxis(positions, -1, 0)
    wavy = 0.012 * noise(0.3)
    lines = np.zeros_like(x)
    for height in (7.72, 7.82, 7.92, 8.0):
        middle = height + 0.05 * np.cos(4 * x) + wavy
        depth = generator.uniform(0.2, 1.1) * smoothstep(person.age, 0.12, 0.7)
        lines += depth * _line(y - middle, 0.010) * smoothstep(np.abs(x), 0.55, 0.3)
    for side in (1, -1):
        beside = side * x
        for slope in (-0.35, -0.05, 0.25):
            depth = generator.uniform(0.2, 1) * smoothstep(person.age, 0.15, 0.75)
            crow = _line(y - 7.25 - slope * (beside - 0.5) - wavy, 0.009)
            lines += depth * crow * smoothstep(beside, 0.48, 0.53) * smoothstep(beside, 0.68, 0.6)
        fold = _line(beside - 0.19 - 0.32 * (6.98 - y) - 0.5 * wavy, 0.018)
        fold *= smoothstep(y, 7.02, 6.95) * smoothstep(y, 6.58, 6.72) * (z > 1)
        lines += (0.25 + 1.1 * smoothstep(person.age, 0.1, 0.75)) * fold
        bag = _line(y - 7.145 - 0.35 * (beside - 0.3) ** 2 - wavy * 0.5, 0.009)
        bag *= smoothstep(beside, 0.14, 0.2) * smoothstep(beside, 0.46, 0.36) * (z > 1)
        lines += 0.8 * smoothstep(person.age, 0.1, 0.7) * bag
    _absorb(albedo, 0.32 * lines * (1 - 0.3 * person.makeup), (0.8, 1.05, 1.05))


def _line(distance: np.ndarray, half_width: float) -> np.ndarray:
    profile: np.ndarray = np.exp(-0.5 * (distance / half_width) ** 2)
    return profile


def _shade_beard(albedo: np.ndarray, person: Person, model: HeadModel, noise: _Noise) -> None:
    """Stubble, or the shadow under a longer beard."""
    if person.beard == "none":
        return
    where = measure_beard(model.texture_positions, gaussian_filter(model.lips, 0.8), person)
    dots = np.clip(0.6 + 0.35 * noise(0.02), 0.1, 1.3)
    amount = where * dots * person.beard_density * (0.85 if person.beard_length else 0.6)
    hairs = np.minimum(0.8 * mean_hair_colour(person), 0.5 * np.array(person.skin))
    _mix(albedo, hairs + 0.12 * np.array(person.skin), np.clip(0.75 * amount, 0, 0.9))


def _colour_lips(
    albedo: np.ndarray,
    person: Person,
    generator: np.random.Generator,
    lips: np.ndarray,
    noise: _Noise,
) -> None:
    colour = np.array(person.skin) * (0.82, 0.54, 0.53) + (0.03, 0.0, 0.005)
    amount = min(0.8, person.makeup) if person.makeup > 0.3 else 0.0
    colour = (1 - amount) * np.maximum(colour, 0.02) + amount * np.array(person.lipstick)
    fibres = np.exp(0.09 * noise(0.03) + 0.05 * noise(0.015))[..., None]
    share = (lips * generator.uniform(0.65, 0.95))[..., None]
    albedo += share * (colour * fibres - albedo)


def _colour_lids(
    albedo: np.ndarray, person: Person, generator: np.random.Generator, model: HeadModel
) -> None:
    lids = gaussian_filter(model.lids, 1.6)
    _absorb(albedo, generator.uniform(0.5, 1.2) * lids, (0.15, 0.28, 0.28))
    shadow = gaussian_filter(model.lids, 3.0) * max(0.0, person.makeup - 0.2)
    _absorb(albedo, generator.uniform(0.2, 1.2) * shadow, generator.uniform(0.4, 1, 3))


def _shade_brows(
    albedo: np.ndarray, person: Person, positions: np.ndarray, fine: np.ndarray
) -> None:
    """The hairs too fine to draw."""
    density = shade_brows(positions, person) * (1 + 0.15 * fine)
    colour = 0.7 * mean_hair_colour(person) + 0.15 * np.array(person.skin)
    _mix(albedo, colour, np.clip((0.25 + 0.4 * person.brow_density) * density, 0, 0.9))


def _absorb(albedo: np.ndarray, amount: np.ndarray, colour: tuple[float, ...] | np.ndarray) -> None:
    """Darken in place; colour says how much of red, green and blue is lost."""
    albedo *= np.exp(-amount[..., None] * np.asarray(colour, np.float32))


def _mix(albedo: np.ndarray, colour: np.ndarray, share: np.ndarray) -> None:
    albedo += share[..., None] * (colour.astype(np.float32) - albedo)


def _join(albedo: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    texture = np.concatenate([np.clip(albedo, 0.004, 0.95), gloss[..., None]], -1)
    return np.ascontiguousarray(texture, np.float32)
