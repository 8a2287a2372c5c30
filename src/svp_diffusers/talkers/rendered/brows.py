"""Eyebrows."""

import numpy as np

from svp_diffusers.talkers.rendered.hair_colour import draw_hair_colours
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.strands import Strands
from svp_diffusers.talkers.rendered.surface import Surface, to_unit

_INNER, _OUTER = 0.10, 0.50
"""Distance of a brow's ends from the middle of the face, dm on the head model at rest."""


def trace_brow(along: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and half thickness (dm, at rest) of the left brow, from 0, its inner end, to 1."""
    x = _INNER + (_OUTER - _INNER) * along
    rise = np.sin(np.clip(along * 1.15, 0, 1.3) * 2.1)
    y = 7.453 + person.brow_height + (0.012 + 0.03 * person.brow_arch) * rise - 0.008 * along**3
    thickness = person.brow_thickness * np.interp(along, (0, 0.15, 0.6, 1), (0.8, 1, 0.75, 0.25))
    return x, y, thickness


def shade_brows(positions: np.ndarray, person: Person) -> np.ndarray:
    """Density 0..1 of the brows' shade on the skin at positions `(..., 3)` at rest."""
    x, y, z = np.moveaxis(positions, -1, 0)
    along = (np.abs(x) - _INNER) / (_OUTER - _INNER)
    _, middle, thickness = trace_brow(np.clip(along, 0, 1), person)
    beyond = np.maximum(np.maximum(-along, along - 1), 0) * (_OUTER - _INNER)
    away = ((y - middle) / (thickness + 0.008)) ** 2 + (beyond / 0.015) ** 2
    density: np.ndarray = np.exp(-away) * (z > 0.8)
    return density


def grow_brows(generator: np.random.Generator, person: Person, surface: Surface) -> Strands:
    """Hairs that point up at the nose and outwards at the temples."""
    per_side = int(90 + 130 * person.brow_density)
    count, n = 2 * per_side, 4
    along = generator.beta(1.0, 1.2, count)
    side = np.repeat([1.0, -1.0], per_side)
    x, y, thickness = trace_brow(along, person)
    y = y + thickness * np.clip(generator.normal(size=count) * 0.6, -1.1, 1.1) - 0.3 * thickness
    places = surface.project(np.stack([side * x, y], 1))
    normals = places.normals
    lean = np.interp(along, (0, 0.2, 0.7, 1), (0.25, 0.9, 1.0, 1.0))
    lift = np.interp(along, (0, 0.2, 0.7, 1), (0.6, 0.40, 0.05, -0.3))
    direction = np.stack([side * lean, lift, np.zeros(count)], 1)
    direction += 0.15 * generator.normal(size=(count, 3))
    direction = to_unit(direction - normals * (direction * normals).sum(1, keepdims=True))
    length = generator.uniform(0.035, 0.065, (count, 1, 1))
    t = np.linspace(0, 1, n)[None, :, None]
    arch = normals[:, None] * (0.006 + 0.010 * np.sin(t * 2.5))
    points = places.positions[:, None] + direction[:, None] * length * t + arch
    widths = 0.0085 * (1 - 0.6 * t[..., 0]) * generator.uniform(0.7, 1.2, (count, 1))
    colours = draw_hair_colours(generator, person, count, grey=0.6 * person.grey)
    colours = 0.75 * colours + 0.05 * np.array(person.skin)
    return Strands(
        points=points.astype(np.float32),
        widths=widths.astype(np.float32),
        colours=np.repeat(colours[:, None], n, 1).astype(np.float32),
        normals=np.repeat(normals[:, None], n, 1).astype(np.float32),
        occlusion=np.full((count, n), 0.8, np.float32),
        follow=np.ones((count, n), np.float32),
        anchors=np.repeat(places.anchors[:, None], n, 1).astype(np.int32),
        anchor_weights=np.repeat(places.weights[:, None], n, 1).astype(np.float32),
        gloss=0.5,
    )
