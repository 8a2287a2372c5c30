"""The mouth: lips, teeth, tongue and what lies behind them, from the rig."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.geometry import HeadProjection
from svp_diffusers.talkers.identity import Identity
from svp_diffusers.talkers.svg import (
    Drawing,
    darken,
    join_curves,
    lighten,
    mix,
    smooth_open,
)

JAW_DROP = 9.0
"""How far a fully open jaw carries the lower lip down, canvas units."""

_ACROSS = np.array([-1.0, -0.66, -0.3, 0.0, 0.3, 0.66, 1.0])
_LEFT_SHARE = np.clip(0.5 + 0.9 * _ACROSS, 0, 1)
_BOW = np.array([0.0, 0.68, 1.06, 0.84, 1.06, 0.68, 0.0])
_FULL = np.array([0.0, 0.62, 0.96, 1.04, 0.96, 0.62, 0.0])
_TEETH = (0.99, 0.98, 0.95)
_THROAT = (0.16, 0.03, 0.05)
_TONGUE = (0.84, 0.40, 0.42)


@dataclass(frozen=True)
class MouthShape:
    """Contours of the mouth in the front view, `(7, 2)` each, from image left to image right.

    Args:
        upper_outer: where the upper lip meets the skin.
        upper_inner: lower edge of the upper lip.
        lower_inner: upper edge of the lower lip.
        lower_outer: where the lower lip meets the skin.
        jaw: how far the jaw has moved `(right, down)`.
    """

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    jaw: tuple[float, float]


def shape_mouth(identity: Identity, rig: Mapping[str, float]) -> MouthShape:
    """Place the lips' contours from the rig's coefficients."""
    pucker, funnel, jaw_open = rig["mouthPucker"], rig["mouthFunnel"], rig["jawOpen"]
    sideways = 2.6 * (rig["mouthLeft"] - rig["mouthRight"])
    jaw_x = 2.4 * (rig["jawLeft"] - rig["jawRight"])
    drop = JAW_DROP * jaw_open
    # Lips that are drawn together close what the jaw has opened.
    gap = drop * (1 - rig["mouthClose"]) * (1 - 0.6 * pucker)
    middle = identity.mouth_height + 0.95 * (drop - gap) * 0.55

    corners = []
    for sign, side in ((-1, "Right"), (1, "Left")):
        reach = identity.mouth_width * (
            1
            + 0.20 * rig[f"mouthSmile{side}"]
            + 0.24 * rig[f"mouthStretch{side}"]
            + 0.10 * rig[f"mouthDimple{side}"]
            - 0.04 * rig[f"mouthFrown{side}"]
            - 0.10 * jaw_open
        )
        reach *= (1 - 0.42 * pucker) * (1 - 0.30 * funnel)
        rise = 0.75 + 3.2 * rig[f"mouthSmile{side}"] - 3.0 * rig[f"mouthFrown{side}"]
        rise += 0.5 * rig[f"mouthDimple{side}"] - 0.7 * rig[f"mouthStretch{side}"]
        corners.append((sign * reach + sideways, middle + 0.24 * gap - rise))

    (left_x, left_y), (right_x, right_y) = corners
    x = left_x + (right_x - left_x) * (_ACROSS + 1) / 2
    x = x + jaw_x * 0.25
    bend = np.abs(_ACROSS) ** 2.8
    ends = np.where(_ACROSS < 0, left_y, right_y)

    shrug = 1.3 * rig["mouthShrugUpper"] + 1.5 * rig["mouthShrugLower"]
    upper_up = _sides(rig, "mouthUpperUp")
    lower_down = _sides(rig, "mouthLowerDown")
    smile = _sides(rig, "mouthSmile")
    upper = middle - 0.06 * gap - 1.2 * funnel - 2.2 * upper_up - shrug - 0.25 * smile
    lower = middle + 0.94 * gap + 1.3 * funnel + 2.4 * lower_down - shrug - 0.25 * smile
    lower = np.maximum(lower, upper)

    rounding = 1 + 0.75 * pucker + 0.45 * funnel
    press = 1 - 0.30 * _sides(rig, "mouthPress")
    spread = 1 - 0.12 * smile - 0.18 * _sides(rig, "mouthStretch")
    upper_thick = identity.upper_lip * rounding * press * spread * (1 - 0.8 * rig["mouthRollUpper"])
    lower_thick = identity.lower_lip * rounding * press * spread * (1 - 0.8 * rig["mouthRollLower"])
    upper_inner = upper + (ends - upper) * bend
    lower_inner = lower + (ends - lower) * bend
    lower_x = x + jaw_x * 0.5 * (1 - bend)
    return MouthShape(
        np.column_stack([x, upper_inner - upper_thick * _BOW]),
        np.column_stack([x, upper_inner]),
        np.column_stack([lower_x, lower_inner]),
        np.column_stack([lower_x, lower_inner + lower_thick * _FULL]),
        (jaw_x, drop),
    )


def _sides(rig: Mapping[str, float], name: str) -> np.ndarray:
    """A left and right coefficient as a smooth value across the mouth, `(7,)`."""
    left, right = rig[f"{name}Left"], rig[f"{name}Right"]
    return right + (left - right) * _LEFT_SHARE


def draw_mouth(
    drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float], shape: MouthShape
) -> None:
    """Draw the mouth: inside, teeth, tongue, lips and the shadow under them."""
    forward = 1.0 + 2.0 * rig["mouthPucker"] + 1.4 * rig["mouthFunnel"]
    lift = 0.5 + forward * (1 - _ACROSS**2)
    upper_outer, upper_inner, lower_inner, lower_outer = (
        projection.project_face(contour, lift)
        for contour in (shape.upper_outer, shape.upper_inner, shape.lower_inner, shape.lower_outer)
    )
    _draw_inside(drawing, projection, rig, shape, upper_inner, lower_inner)
    _draw_lips(drawing, projection, rig, upper_outer, upper_inner, lower_inner, lower_outer)


def _draw_inside(
    drawing: Drawing,
    projection: HeadProjection,
    rig: Mapping[str, float],
    shape: MouthShape,
    upper_inner: np.ndarray,
    lower_inner: np.ndarray,
) -> None:
    identity = projection.identity
    opening = float(np.max(lower_inner[:, 1] - upper_inner[:, 1]))
    if opening < 0.15:
        return
    middle, width = identity.mouth_height, identity.mouth_width
    jaw_x, drop = shape.jaw
    drawing.open_clip(join_curves(upper_inner, lower_inner[::-1]))
    centre = (upper_inner[3] + lower_inner[3]) / 2
    drawing.ellipse(centre, (3 * width, 4 * JAW_DROP), _THROAT)
    places = np.array(
        [[jaw_x, middle + drop - 0.6], [jaw_x, middle + drop + 0.6], [0.0, middle - 1.6]]
    )
    tongue, lower_teeth, upper_teeth = projection.project_face(places, -3.0)
    # Protruded lips throw tongue and teeth into shadow.
    visible = 1 - 0.75 * max(rig["mouthFunnel"], rig["mouthPucker"])
    drawing.ellipse(tongue, (0.66 * width, 2.9), mix(_THROAT, _TONGUE, visible))
    drawing.glow(tongue - (0, 0.9), (0.45 * width, 1.5), lighten(_TONGUE, 0.5), 0.5 * visible)
    drawing.ellipse(lower_teeth, (0.62 * width, 1.5), darken(_TEETH, 0.12), 0.9 * visible)
    reach = 0.92 * width
    enamel = drawing.add_radial_gradient(
        upper_teeth, (reach, 3.6), ((0.5, _TEETH, 1), (1, darken(_TEETH, 0.35), 1))
    )
    drawing.ellipse(upper_teeth, (reach, 3.2), enamel, visible)
    for share in (-0.52, -0.26, 0.0, 0.26, 0.52):
        root = upper_teeth + (share * reach, 0)
        gap = smooth_open(np.array([root, root + (0, 2.9 * (1 - share**2))]))
        drawing.stroke(gap, darken(_TEETH, 0.45), 0.16, 0.45 * visible)
    drawing.stroke(smooth_open(upper_inner), _THROAT, 1.1, 0.40)
    drawing.close_group()


def _draw_lips(
    drawing: Drawing,
    projection: HeadProjection,
    rig: Mapping[str, float],
    upper_outer: np.ndarray,
    upper_inner: np.ndarray,
    lower_inner: np.ndarray,
    lower_outer: np.ndarray,
) -> None:
    identity = projection.identity
    lips, skin = identity.lips, identity.skin
    shadow = mix(darken(skin, 0.5), lips, 0.25)
    below = lower_outer[3] + (0, 1.3)
    drawing.glow(below, (0.8 * identity.mouth_width, 1.7), shadow, 0.55)
    upper = drawing.add_linear_gradient(
        upper_outer[3],
        upper_inner[3] + (0, 0.01),
        ((0, mix(lips, skin, 0.18), 1), (1, darken(lips, 0.30), 1)),
    )
    lower = drawing.add_linear_gradient(
        lower_inner[3],
        lower_outer[3] + (0, 0.01),
        ((0, lighten(lips, 0.06), 1), (0.45, lighten(lips, 0.16), 1), (1, darken(lips, 0.16), 1)),
    )
    drawing.fill(join_curves(lower_inner, lower_outer[::-1]), lower)
    drawing.fill(join_curves(upper_outer, upper_inner[::-1]), upper)
    crease = darken(lips, 0.72)
    drawing.stroke(smooth_open(upper_inner), crease, 0.42, 0.8)
    drawing.stroke(smooth_open(lower_inner), crease, 0.30, 0.45)
    shine = (lower_inner[3] + lower_outer[3]) / 2 - (projection.identity.light * -1.2, 0.1)
    drawing.glow(shine, (1.9, 0.5), lighten(lips, 0.75), 0.30 + 0.35 * identity.make_up)
    for corner, side in ((upper_inner[0], "Right"), (upper_inner[-1], "Left")):
        depth = 0.35 + 0.5 * max(rig[f"mouthSmile{side}"], rig[f"mouthDimple{side}"])
        drawing.glow(corner, (1.1, 1.1), shadow, min(0.85, depth))
