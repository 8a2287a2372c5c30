"""Behind and below the head: background, neck, shoulders and clothes."""

import numpy as np

from svp_diffusers.talkers.geometry import HEAD_CENTRE, HeadProjection
from svp_diffusers.talkers.head import shadow_of
from svp_diffusers.talkers.identity import Identity
from svp_diffusers.talkers.svg import (
    VIEW,
    Drawing,
    darken,
    join_curves,
    lighten,
    polygon,
    smooth_closed,
    smooth_open,
)

_LEFT, _TOP, _EXTENT = VIEW
_FRAME = f"M{_LEFT:g} {_TOP:g}h{_EXTENT:g}v{_EXTENT:g}h-{_EXTENT:g}Z"


def draw_background(drawing: Drawing, identity: Identity) -> None:
    """Draw a soft wall with a glow behind the head and a few blurred lights."""
    high, low = identity.background, identity.background_low
    light = identity.light
    top, bottom = np.array([50 + 35 * light, _TOP]), np.array([50 - 35 * light, _TOP + _EXTENT])
    drawing.fill(_FRAME, drawing.add_linear_gradient(top, bottom, ((0, high, 1), (1, low, 1))))
    generator = np.random.default_rng(identity.seed)
    for _ in range(4):
        place = generator.uniform((_LEFT, _TOP), (_LEFT + _EXTENT, 0.7 * _EXTENT))
        size = generator.uniform(6, 18)
        opacity = float(generator.uniform(0.06, 0.16))
        drawing.ellipse(place, (size, size), lighten(high, 0.5), opacity)
    drawing.glow((50 + 12 * light, 40), (50, 50), lighten(high, 0.75), 0.55)


def draw_body(drawing: Drawing, projection: HeadProjection) -> None:
    """Draw neck, shoulders and clothes. The shoulders follow a third of the head's shift."""
    identity, pose = projection.identity, projection.pose
    skin, shadow, light = identity.skin, shadow_of(identity.skin), identity.light
    body = np.array([HEAD_CENTRE[0] + _EXTENT * pose.x / 3, _EXTENT * pose.y / 3])
    half = 0.50 * identity.face_width * (0.80 + 0.25 * identity.jaw_width)
    if identity.clothes == "hoodie":
        hood = np.array([[-20, 84], [-15, 74.5], [0, 72], [15, 74.5], [20, 84], [0, 95]])
        drawing.fill(smooth_closed(hood + body), darken(identity.cloth, 0.35))
    nape = projection.project_outline(np.array([[0.0, 20.0]]), -2.0)
    head = projection.place(nape)[0]
    base = body + (0.0, 80.0)
    side = np.array([head, (head + base) / 2, base, base + (0, 5), base + (0, 25)])
    wide = np.array([half, half, half + 1.2, half + 5.0, half + 6.0])[:, None] * (1, 0)
    neck = join_curves(side - wide, (side + wide)[::-1])
    paint = drawing.add_linear_gradient(
        base + (half * light, 0), base - (half * light, 0), ((0, skin, 1), (1, shadow, 1))
    )
    drawing.fill(neck, paint)
    chin = projection.project_outline(np.array([[0.0, identity.chin_height + 1.5]]), 6.0)
    drawing.open_clip(neck)
    drawing.glow(projection.place(chin)[0], (1.7 * half, 8.5), darken(skin, 0.75), 0.85)
    drawing.close_group()
    _draw_clothes(drawing, identity, body, half + 4.2)


def _draw_clothes(drawing: Drawing, identity: Identity, body: np.ndarray, collar: float) -> None:
    """Draw clothes whose neckline is `collar` wide to each side."""
    cloth, light = identity.cloth, identity.light
    paint = drawing.add_linear_gradient(
        body + (25 * light, 74),
        body + (-25 * light, 100),
        ((0, lighten(cloth, 0.16), 1), (1, darken(cloth, 0.38), 1)),
    )
    wide = 33 + 7 * (identity.jaw_width - 0.74) / 0.2
    shoulder = np.array(
        [[collar, 81.0], [0.62 * wide, 84.3], [0.92 * wide, 90.0], [wide + 3, 108.0]]
    )
    outline = np.concatenate([shoulder, shoulder[::-1] * (-1, 1)]) + body
    depth, drop = {"v_neck": (96.0, 89.0), "shirt": (94.0, 87.0)}.get(
        identity.clothes, (87.5, 85.6)
    )
    across = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    neckline = np.column_stack([across * collar, [81.0, drop, depth, drop, 81.0]]) + body
    drawing.fill(join_curves(outline, neckline), paint)
    if identity.clothes == "turtleneck":
        _draw_turtleneck(drawing, identity, body, collar)
    elif identity.clothes == "shirt":
        _draw_shirt_collar(drawing, identity, body, collar)
    else:
        drawing.stroke(smooth_open(neckline), darken(cloth, 0.35), 1.7)
        drawing.stroke(smooth_open(neckline + (0, 0.2)), lighten(cloth, 0.25), 0.5, 0.6)
    if identity.clothes == "hoodie":
        for sign in (-1, 1):
            cord = np.array([[sign * 4.4, 87.5], [sign * 5.0, 91.5], [sign * 4.6, 96.5]]) + body
            drawing.stroke(smooth_open(cord), identity.cloth_accent, 0.9)


def _draw_turtleneck(drawing: Drawing, identity: Identity, body: np.ndarray, collar: float) -> None:
    cloth = identity.cloth
    rim = np.array([[2.6 - collar, 77.5], [0, 80.6], [collar - 2.6, 77.5]]) + body
    foot = np.array([[collar + 0.6, 83.5], [0, 89.5], [-collar - 0.6, 83.5]]) + body
    dark = darken(cloth, 0.35)
    paint = drawing.add_linear_gradient(
        rim[0], rim[2], ((0, dark, 1), (0.5, lighten(cloth, 0.14), 1), (1, dark, 1))
    )
    drawing.fill(join_curves(rim, foot), paint)
    drawing.stroke(smooth_open(rim), darken(cloth, 0.5), 0.6, 0.7)
    drawing.stroke(smooth_open(foot), darken(cloth, 0.5), 0.5, 0.5)


def _draw_shirt_collar(
    drawing: Drawing, identity: Identity, body: np.ndarray, collar: float
) -> None:
    accent = identity.cloth_accent
    for sign in (-1, 1):
        flap = np.array(
            [
                [collar - 3.6, 78.0],
                [collar + 1.6, 82.2],
                [8.0, 92.5],
                [0.4, 88.5],
                [collar - 5.5, 84.0],
            ]
        )
        path = polygon(flap * (sign, 1) + body)
        drawing.fill(path, lighten(accent, 0.2) if sign * identity.light > 0 else accent)
        drawing.stroke(path, darken(accent, 0.45), 0.35, 0.6)
