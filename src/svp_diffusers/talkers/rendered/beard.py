"""Beards of more than stubble, which the skin's texture shows by itself."""

import numpy as np

from svp_diffusers.talkers.rendered.hair_colour import draw_hair_colours
from svp_diffusers.talkers.rendered.hairline import measure_beard
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.strands import Strands
from svp_diffusers.talkers.rendered.surface import Surface, to_unit


def grow_beard(generator: np.random.Generator, person: Person, surface: Surface) -> Strands | None:
    """Short hairs that hang and move with the jaw; None without a beard."""
    if person.beard_length == 0:
        return None
    rows, columns = surface.texels.T
    lips = surface.model.lips[rows, columns]
    density = np.clip(measure_beard(surface.rest_centres, lips, person) - 0.35, 0, 1)
    whole = 2000 if person.beard == "full" else 900
    count, n = int(whole * (0.6 + 0.4 * person.beard_density)), 4
    places = surface.scatter(generator, density, count)
    sideways = 0.5 * np.sign(places.rest[:, :1]) * np.array([1.0, 0, 0])
    direction = 0.35 * places.normals + sideways * 0.3 + np.array([0, -1.0, 0.05])
    direction = to_unit(direction + 0.22 * generator.normal(size=(count, 3)))
    length = person.beard_length * generator.uniform(0.5, 1.3, (count, 1, 1))
    # The moustache stays short, or it would cover the lips.
    above_lips = (places.rest[:, 1] > 6.6) & (np.abs(places.rest[:, 0]) < 0.36)
    length[above_lips] = np.minimum(length[above_lips], 0.045)
    t = np.linspace(0, 1, n)[None, :, None]
    curve = 0.25 * generator.normal(size=(count, 1, 3)) * t**2
    points = places.positions[:, None] + (direction[:, None] * t + curve) * length
    points += 0.003 * places.normals[:, None]
    widths = 0.0105 * (1 - 0.6 * t[..., 0]) * generator.uniform(0.7, 1.2, (count, 1))
    colours = draw_hair_colours(generator, person, count, grey=min(1.0, 1.3 * person.grey))
    return Strands(
        points=points.astype(np.float32),
        widths=widths.astype(np.float32),
        colours=np.repeat(colours[:, None], n, 1).astype(np.float32),
        normals=np.repeat(places.normals[:, None], n, 1).astype(np.float32),
        occlusion=np.broadcast_to(np.linspace(0.5, 0.9, n, dtype=np.float32), (count, n)).copy(),
        follow=np.ones((count, n), np.float32),
        anchors=np.repeat(places.anchors[:, None], n, 1).astype(np.int32),
        anchor_weights=np.repeat(places.weights[:, None], n, 1).astype(np.float32),
        gloss=0.5,
    )
