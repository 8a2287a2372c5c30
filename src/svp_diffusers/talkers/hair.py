"""Hair: what lies behind the head and shoulders, and what lies over the forehead."""

import numpy as np

from svp_diffusers.talkers.geometry import HeadProjection
from svp_diffusers.talkers.svg import (
    Colour,
    Drawing,
    darken,
    join_curves,
    lighten,
    scalloped,
    smooth_closed,
    smooth_open,
)

_LONG = ("bob", "long")


def draw_back_hair(drawing: Drawing, projection: HeadProjection) -> None:
    """Draw the hair behind the head: the crown, long hair, a bun, a cloud of curls."""
    identity = projection.identity
    colour = darken(identity.hair, 0.42)
    if identity.hair_style == "shaved":
        return
    # Where the head turns away, the crown shows between forehead and front hair.
    drawing.fill(smooth_open(_outline_hair(projection)) + "Z", colour)
    if identity.hair_style in _LONG:
        _draw_long_hair(drawing, projection, colour)
    elif identity.hair_style == "bun":
        _draw_bun(drawing, projection, colour)
    elif identity.hair_style == "curls":
        lift = 3.5 + 5.0 * identity.hair_volume
        _draw_curls(drawing, projection, darken(identity.hair, 0.2), lift)


def _draw_long_hair(drawing: Drawing, projection: HeadProjection, colour: Colour) -> None:
    identity = projection.identity
    skull = identity.skull_height
    low, more = (20.0, 6.0) if identity.hair_style == "bob" else (38.0, 14.0)
    reach = low + more * identity.hair_length
    side = identity.face_width + 2.6 + 3.0 * identity.hair_volume
    half = np.array(
        [
            [0.62 * side, -skull - 1],
            [0.98 * side, -0.45 * skull],
            [1.02 * side, 6],
            [1.04 * side, 0.6 * reach],
            [0.98 * side, 0.92 * reach],
            [0.72 * side, reach + 1.5],
        ]
    )
    points = np.concatenate([[[0, -skull - 3]], half, [[0, reach]], half[::-1] * (-1, 1)])
    drawing.fill(smooth_closed(projection.project_outline(points, -7.0)), colour)


def _draw_bun(drawing: Drawing, projection: HeadProjection, colour: Colour) -> None:
    identity = projection.identity
    size = 7.5 + 3.0 * identity.hair_volume
    place = np.array([[0.0, -identity.skull_height - 0.45 * size]])
    bun = projection.project_outline(place, -9.0)[0]
    paint = drawing.add_radial_gradient(
        bun + (2 * identity.light, -0.3 * size),
        (1.3 * size, 1.3 * size),
        ((0, lighten(identity.hair, 0.12), 1), (1, colour, 1)),
    )
    drawing.ellipse(bun, np.array([size, 0.9 * size]), paint)


def draw_front_hair(drawing: Drawing, projection: HeadProjection) -> None:
    """Draw the hair over the skull and forehead."""
    identity = projection.identity
    outer = _outline_hair(projection)
    inner = _outline_hairline(projection)
    path = join_curves(outer, inner)
    hair, light = identity.hair, identity.light
    if identity.hair_style == "shaved":
        drawing.fill(path, hair, 0.60)
        return
    top = outer[len(outer) // 2]
    paint = drawing.add_linear_gradient(
        top + (9 * light, 0),
        top + (-11 * light, 34),
        ((0, lighten(hair, 0.16), 1), (0.35, hair, 1), (1, darken(hair, 0.5), 1)),
    )
    # The hair's shadow on the forehead.
    drawing.stroke(smooth_open(inner[1:-1] + (0, 0.7)), darken(identity.skin, 0.6), 1.7, 0.22)
    drawing.fill(path, paint)
    drawing.open_clip(path)
    if identity.hair_style == "curls":
        _draw_ringlets(drawing, projection, outer, inner)
    else:
        _draw_strands(drawing, projection, outer, inner)
    drawing.close_group()


def _outline_hair(projection: HeadProjection) -> np.ndarray:
    """Outer contour from the image's left side over the top to the right."""
    identity = projection.identity
    width, skull, volume = identity.face_width, identity.skull_height, identity.hair_volume
    style = identity.hair_style
    thick = {"shaved": 0.3, "crop": 1.6, "bun": 1.4}.get(style, 2.4) + (
        0.0 if style == "shaved" else 2.2 * volume
    )
    low = {"bob": 15.0 + 7 * identity.hair_length, "long": 36.0, "shaved": -3.0}.get(style, 2.0)
    side = width + (0.7 if style in ("crop", "shaved", "quiff", "bun") else 1.0 + 2.0 * volume)
    if style in _LONG:
        side += 1.2
    half = np.array(
        [
            [side if style in _LONG else 0.985 * width, low],
            [side + (1.4 if style in _LONG else 0.0), 0.45 * low - 4.0],
            [side, -0.38 * skull],
            [0.90 * side, -0.70 * skull - 0.3 * thick],
            [0.54 * side, -0.95 * skull - 0.9 * thick],
        ]
    )
    crown = np.array([[0.0, -skull - thick]])
    points = np.concatenate([half * (-1, 1), crown, half[::-1]])
    if style == "quiff":
        bump = np.exp(-(((points[:, 0] - 9 * identity.hair_parting) / 11) ** 2))
        points[:, 1] -= (2.0 + 4.0 * volume) * bump * (points[:, 1] < -0.5 * skull)
    return projection.project_outline(points, -1.0)


def _outline_hairline(projection: HeadProjection) -> np.ndarray:
    """Inner contour from the image's right side over the forehead to the left."""
    identity = projection.identity
    width, style, part = identity.face_width, identity.hair_style, identity.hair_parting
    hairline = -16.8 - 1.2 * (1 - identity.fringe)
    across = np.array([0.80, 0.55, 0.28, 0.0, -0.28, -0.55, -0.80])
    if style in ("side_part", "bob", "long", "quiff"):
        # Hair falls from the parting to both sides, the longer way further.
        away = np.abs(across - 0.55 * part)
        fall = {"quiff": 3.0, "side_part": 8.5}.get(style, 9.0 + 3.0 * identity.fringe)
        height = hairline - 1.6 + fall * np.minimum(away / 1.25, 1.0) ** 1.7
    elif style == "crop":
        height = hairline + 3.0 * identity.fringe + 0.8 * np.cos(5 * across)
    else:
        height = hairline + 3.6 * across**2
    if style in _LONG:
        low = 13.0 + 7 * identity.hair_length if style == "bob" else 35.0
        ends = np.array([[1.08, low], [0.95, 0.4 * low], [0.96, -4.0]])
    else:
        ends = np.array([[0.975, 1.6], [0.93, -2.5], [0.90, -9.0]])
    temple = ends * (width, 1)
    middle = np.column_stack([across * width, height])
    points = np.concatenate([temple, middle, temple[::-1] * (-1, 1)])
    depth = np.array([0.5, 1.0, 2.0])
    sides = projection.project_outline(points, np.concatenate([depth, np.zeros(7), depth[::-1]]))
    front = projection.project_face(middle, 0.6)
    sides[3:10] = front
    return sides


def _draw_curls(drawing: Drawing, projection: HeadProjection, colour: Colour, lift: float) -> None:
    """Draw a cloud of curls round the skull; `lift` is how far it stands out, canvas units."""
    identity = projection.identity
    generator = np.random.default_rng(identity.seed)
    count = 11 + round(6 * (1 - identity.hair_volume))
    angles = np.linspace(np.pi + 0.35, -0.35, count)
    reach = np.array([identity.face_width, identity.skull_height]) + lift
    rim = np.column_stack([np.cos(angles), -np.sin(angles)]) * reach + (0, -0.5)
    rim += generator.normal(size=rim.shape) * 0.4
    points = projection.project_outline(rim, -1.0 - lift / 3)
    top, light = points[count // 2], identity.light
    paint = drawing.add_radial_gradient(
        top + (8 * light, 8),
        (34, 36),
        ((0, lighten(colour, 0.14), 1), (0.5, colour, 1), (1, darken(colour, 0.45), 1)),
    )
    drawing.fill(scalloped(points), paint)


def _draw_ringlets(
    drawing: Drawing, projection: HeadProjection, outer: np.ndarray, inner: np.ndarray
) -> None:
    """Draw small curls over the hair between its outer contour and the hairline."""
    identity = projection.identity
    generator = np.random.default_rng([identity.seed, 1])
    hair = identity.hair
    over = outer[[2, 3, 4, 5, 6, 7, 8]]
    under = inner[::-1][[3, 4, 5, 6, 7, 8, 9]]
    for share in (0.1, 0.5, 0.9):
        for place in over + (under - over) * share + generator.normal(size=(7, 2)) * 0.9:
            size = generator.uniform(1.7, 2.5)
            angles = generator.uniform(0, 6.3) + np.linspace(0, 4.4, 5)
            ring = place + size * np.column_stack([np.cos(angles), np.sin(angles)])
            tone = lighten(hair, 0.28) if generator.uniform() < 0.5 else darken(hair, 0.55)
            drawing.stroke(smooth_open(ring), tone, 0.55, 0.45)


def _draw_strands(
    drawing: Drawing, projection: HeadProjection, outer: np.ndarray, inner: np.ndarray
) -> None:
    """Light and dark strands between the hairline and the outer contour."""
    identity = projection.identity
    over = outer[2:-2]
    under = inner[::-1][[2, 3, 5, 6, 7, 9, 10]]
    for share, colour, opacity, pen in (
        (0.30, lighten(identity.hair, 0.45), 0.30, 1.5),
        (0.52, darken(identity.hair, 0.6), 0.22, 0.5),
        (0.72, lighten(identity.hair, 0.25), 0.20, 0.7),
    ):
        line = over + (under - over) * share
        drawing.stroke(smooth_open(line[1:-1]), colour, pen, opacity)
