"""Eyes, brows and glasses."""

from collections.abc import Mapping

import numpy as np

from svp_diffusers.talkers.geometry import HeadProjection
from svp_diffusers.talkers.svg import (
    Colour,
    Drawing,
    darken,
    join_curves,
    lighten,
    mix,
    smooth_closed,
    smooth_open,
)

SIDES = ((-1, "Right"), (1, "Left"))
"""Sign of x and name of each side; the subject's right is on the image's left."""

_LID = np.array([-1.0, -0.62, -0.08, 0.52, 1.0])
_UPPER_LID = np.array([0.0, 0.80, 1.0, 0.80, 0.0])
_LOWER_LID = np.array([0.0, 0.62, 1.0, 0.86, 0.0])
_WHITE = (0.98, 0.97, 0.96)


def draw_eyes(drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float]) -> None:
    """Draw both eyes with their lids and lashes."""
    for sign, side in SIDES:
        _draw_eye(drawing, projection, rig, sign, side)


def _draw_eye(
    drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float], sign: int, side: str
) -> None:
    identity = projection.identity
    blink, squint, wide = (rig[f"eye{name}{side}"] for name in ("Blink", "Squint", "Wide"))
    look_y = rig[f"eyeLookDown{side}"] - rig[f"eyeLookUp{side}"]
    look_x = sign * (rig[f"eyeLookOut{side}"] - rig[f"eyeLookIn{side}"])
    half_width, half_height = identity.eye_width, identity.eye_height
    shut = 0.55 * half_height
    upper = -half_height * (1 + 0.40 * wide - 0.30 * squint - 0.28 * look_y)
    lower = (
        half_height
        * (0.86 + 0.10 * wide)
        * (1 - 0.50 * squint - 0.22 * rig[f"cheekSquint{side}"] + 0.10 * look_y)
    )
    upper += (shut - upper) * blink
    lower += (shut - lower) * blink
    centre_x = sign * identity.eye_spacing
    x = centre_x + sign * half_width * _LID
    base = np.linspace(0.35, -identity.eye_tilt, 5)

    def place(y: np.ndarray, lift: float = 0.0) -> np.ndarray:
        return projection.project_face(np.column_stack([x, base + y]), lift)

    upper_lid, lower_lid = place(upper * _UPPER_LID), place(lower * _LOWER_LID)
    crease = place(np.minimum(upper - 0.9 + 0.9 * blink, -half_height * 0.86) * _UPPER_LID - 0.35)
    skin = identity.skin
    lid_colour = mix(darken(skin, 0.20), identity.lips, 0.18 * identity.make_up)
    socket = (upper_lid[2] + lower_lid[2]) / 2
    drawing.glow(
        socket - (0, 1.0), (1.75 * half_width, 2.1 * half_height), darken(skin, 0.55), 0.26
    )
    drawing.fill(join_curves(crease, upper_lid[::-1]), lid_colour, 0.75)

    if 1 - blink > 0.04:
        drawing.open_clip(join_curves(upper_lid, lower_lid[::-1]))
        white = drawing.add_linear_gradient(
            upper_lid[2],
            lower_lid[2] + (0, 0.01),
            ((0, darken(_WHITE, 0.30), 1), (0.45, _WHITE, 1), (1, darken(_WHITE, 0.08), 1)),
        )
        drawing.ellipse(socket, (2 * half_width, 2 * half_height), white)
        pupil = projection.project_face(np.array([[centre_x + 1.75 * look_x, 1.35 * look_y]]))[0]
        _draw_iris(drawing, identity.iris, pupil, 0.60 * half_width, identity.light)
        drawing.stroke(smooth_open(upper_lid + (0, 0.35)), darken(skin, 0.9), 1.3, 0.28)
        drawing.close_group()

    lashes = mix(darken(identity.hair, 0.75), (0.05, 0.03, 0.05), 0.4 + 0.5 * identity.make_up)
    thick = 0.50 + 0.55 * identity.make_up
    wing = upper_lid.copy()
    wing[-1] += np.array([sign * (0.5 + 0.7 * identity.make_up), -0.45 - 0.5 * identity.make_up])
    drawing.fill(
        join_curves(wing - (0, thick) * _UPPER_LID[:, None], upper_lid[::-1] + (0, 0.15)), lashes
    )
    drawing.stroke(smooth_open(upper_lid), lashes, 0.45 + 0.25 * identity.make_up)
    drawing.stroke(smooth_open(lower_lid), darken(skin, 0.6), 0.28, 0.55)
    drawing.stroke(smooth_open(crease), darken(skin, 0.6), 0.30, 0.55 * (1 - 0.5 * blink))
    bag = place((lower + 1.2) * _LOWER_LID)
    drawing.stroke(smooth_open(bag[1:-1]), darken(skin, 0.5), 0.35, 0.10 + 0.35 * squint)


def _draw_iris(
    drawing: Drawing, iris: Colour, centre: np.ndarray, radius: float, light: float
) -> None:
    ring = darken(iris, 0.65)
    paint = drawing.add_radial_gradient(
        centre + (0, 0.3 * radius),
        (1.2 * radius, 1.2 * radius),
        ((0, lighten(iris, 0.35), 1), (0.55, iris, 1), (0.86, ring, 1)),
    )
    drawing.ellipse(centre, (radius, radius), paint)
    drawing.ellipse(centre, (0.45 * radius, 0.45 * radius), (0.04, 0.03, 0.05))
    glint = centre + radius * np.array([0.34 * light, -0.38])
    drawing.ellipse(glint, (0.27 * radius, 0.27 * radius), (1, 1, 1), 0.95)
    drawing.ellipse(
        centre + radius * np.array([-0.40 * light, 0.42]),
        (0.13 * radius, 0.13 * radius),
        (1, 1, 1),
        0.6,
    )


def draw_brows(drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float]) -> None:
    """Draw both brows and the furrow between them."""
    identity = projection.identity
    colour = mix(darken(identity.hair, 0.35), (0.12, 0.08, 0.08), 0.25)
    inner_up = rig["browInnerUp"]
    along = np.array([0.0, 0.3, 0.62, 1.0])
    for sign, side in SIDES:
        down, outer_up = rig[f"browDown{side}"], rig[f"browOuterUp{side}"]
        raised = np.array(
            [
                3.3 * inner_up - 2.9 * down,
                2.4 * inner_up - 2.5 * down + 0.8 * outer_up,
                0.9 * inner_up - 1.7 * down + 2.0 * outer_up,
                -0.5 * inner_up - 0.5 * down + 2.2 * outer_up,
            ]
        )
        arch = identity.brow_arch * np.array([0.35, 0.80, 1.0, -0.20])
        heights = -identity.brow_height - arch - raised
        inner = identity.eye_spacing - 5.2 - 0.9 * down
        x = sign * (inner + along * (10.6 + 0.9 * down))
        thickness = identity.brow_thickness * np.array([0.85, 1.0, 0.78, 0.12])
        middle = projection.project_face(np.column_stack([x, heights]), 0.8)
        half = np.column_stack([np.zeros(4), thickness])
        drawing.fill(join_curves(middle - half, (middle + half)[::-1]), colour, 0.93)
    furrow = 0.5 * (rig["browDownLeft"] + rig["browDownRight"])
    if furrow > 0.02:
        for place in (-1.3, 1.3):
            points = np.array([[place, -7.2], [0.8 * place, -5.6], [0.9 * place, -4.2]])
            line = projection.project_face(points, 0.5)
            drawing.stroke(smooth_open(line), darken(identity.skin, 0.65), 0.4, 0.6 * furrow)
    worry = max(0.0, inner_up - 0.2)
    if worry > 0.02:
        for y in (-14.0, -16.0):
            points = np.array([[-6.0, y + 0.5], [0.0, y], [6.0, y + 0.5]])
            line = projection.project_face(points, 0.5)
            drawing.stroke(smooth_open(line), darken(identity.skin, 0.5), 0.35, 0.4 * worry)


def draw_glasses(drawing: Drawing, projection: HeadProjection) -> None:
    """Draw glasses, when the person wears any."""
    identity = projection.identity
    if identity.glasses == 0:
        return
    colour, opacity, light = identity.glasses_colour, identity.glasses, identity.light
    exponent = 1.0 - 0.45 * (1 - identity.glasses_roundness)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    cosine, sine = np.cos(angles), np.sin(angles)
    corner = np.column_stack(
        [
            np.sign(cosine) * np.abs(cosine) ** exponent * 6.6,
            np.sign(sine) * np.abs(sine) ** exponent * (4.9 + identity.glasses_roundness),
        ]
    )
    for sign, _ in SIDES:
        rim = projection.project_face(corner + (sign * (identity.eye_spacing + 0.2), 0.8), 3.0)
        path = smooth_closed(rim)
        lens = drawing.add_linear_gradient(
            rim.min(0),
            rim.max(0),
            ((0, (1, 1, 1), 0.26), (0.5, (1, 1, 1), 0.04), (1, (1, 1, 1), 0.10)),
        )
        drawing.fill(path, lens)
        drawing.stroke(path, colour, 0.95, opacity)
        drawing.stroke(smooth_open(rim[9:15]), lighten(colour, 0.45), 0.3, 0.5 * abs(light))
        arm = np.array(
            [[sign * (identity.eye_spacing + 6.7), -0.6], [sign * identity.face_width, -1.4]]
        )
        ends = projection.project_face(arm, np.array([3.0, 0.0]))
        drawing.stroke(smooth_open(ends), colour, 0.9, opacity)
    bridge = np.array(
        [[-(identity.eye_spacing - 6.2), 0.2], [0, -0.7], [identity.eye_spacing - 6.2, 0.2]]
    )
    drawing.stroke(smooth_open(projection.project_face(bridge, 3.5)), colour, 0.9, opacity)
