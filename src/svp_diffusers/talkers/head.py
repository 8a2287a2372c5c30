"""The head without its hair: skin and its shading, ears, nose, cheeks, beard."""

from collections.abc import Mapping

import numpy as np

from svp_diffusers.talkers.eyes import SIDES
from svp_diffusers.talkers.geometry import JAW_EDGE, HeadProjection
from svp_diffusers.talkers.mouth import MouthShape
from svp_diffusers.talkers.svg import (
    Colour,
    Drawing,
    darken,
    join_curves,
    lighten,
    mix,
    polygon,
    smooth_closed,
    smooth_open,
)


def shadow_of(skin: Colour) -> Colour:
    """Tone of skin in shadow: darker and warmer."""
    return mix(darken(skin, 0.42), (0.62, 0.20, 0.18), 0.12)


def outline_head(projection: HeadProjection, rig: Mapping[str, float]) -> np.ndarray:
    """Silhouette of the head `(16, 2)`, clockwise from the top, in the plane of the head."""
    identity = projection.identity
    width, jaw, chin = identity.face_width, identity.jaw_width, identity.chin_width
    skull, height = identity.skull_height, identity.chin_height
    drop = 5.2 * rig["jawOpen"] - 0.9 * rig["mouthShrugLower"]
    temple, cheek = JAW_EDGE
    puff = 1.7 * rig["cheekPuff"]
    sideways = 2.2 * (rig["jawLeft"] - rig["jawRight"])
    half = np.array(
        [
            [0.52 * width, -0.93 * skull, -1.0],
            [0.88 * width, -0.60 * skull, -1.0],
            [temple[0] * width, *temple[1:]],
            [cheek[0] * width + 0.4 * puff, cheek[1] + 0.10 * drop, cheek[2]],
            [(0.5 + 0.5 * jaw) * width * 0.975 + puff, 13.0 + 0.30 * drop, 5.0],
            [(0.55 * jaw + 0.45 * chin + 0.06) * width + 0.8 * puff, 20.0 + 0.65 * drop, 7.0],
            [chin * width * 1.05, height - 3.2 + drop, 9.0],
        ]
    )
    mirrored = half[::-1] * (-1, 1, 1)
    points = np.concatenate([[[0, -skull, -1]], half, [[0, height + drop, 10.5]], mirrored])
    points[:, 0] += sideways * np.clip((points[:, 1] - 10) / 18, 0, 1)
    return projection.project_outline(points[:, :2], points[:, 2])


def draw_ears(drawing: Drawing, projection: HeadProjection) -> None:
    """Draw both ears, behind the face."""
    identity = projection.identity
    size, skin = identity.ear_size, identity.skin
    for sign, _ in SIDES:
        shape = np.array(
            [
                [-1.5, -0.9 * size],
                [1.4, -1.05 * size],
                [2.9, -0.45 * size],
                [2.3, 0.45 * size],
                [0.9, 1.0 * size],
                [-1.5, 0.9 * size],
            ]
        )
        middle = np.array([sign * (identity.face_width - 0.6), 3.6])
        ear = projection.project_outline(shape * (sign, 1) + middle, -1.0)
        lit = 0.5 + 0.5 * sign * identity.light
        drawing.fill(smooth_closed(ear), mix(shadow_of(skin), skin, 0.35 + 0.5 * lit))
        inner = projection.project_outline(
            shape * (0.5 * sign, 0.55) + middle + (0.35 * sign, 0), -1
        )
        drawing.fill(smooth_closed(inner), shadow_of(skin), 0.55)


def draw_face(
    drawing: Drawing,
    projection: HeadProjection,
    rig: Mapping[str, float],
    outline: np.ndarray,
    mouth: MouthShape,
) -> None:
    """Draw skin, shading, cheeks, beard and nose inside the head's outline."""
    identity = projection.identity
    skin, shadow, light = identity.skin, shadow_of(identity.skin), identity.light
    path = smooth_closed(outline)
    centre = projection.project_face(np.array([[5.0 * light, -4.0]]))[0]
    glow = drawing.add_radial_gradient(
        centre,
        (34, 40),
        (
            (0, lighten(skin, 0.16), 1),
            (0.45, skin, 1),
            (0.85, mix(skin, shadow, 0.55), 1),
            (1, mix(skin, shadow, 0.85), 1),
        ),
    )
    drawing.fill(path, glow)
    drawing.open_clip(path)
    dark_side = projection.project_face(np.array([[-15.0 * light, 4.0]]))[0]
    away = dark_side - (11.0 * light, 0)
    drawing.glow(away, (17, 40), shadow, 0.55)
    _draw_cheeks(drawing, projection, rig)
    for corner, (sign, side) in zip(mouth.upper_inner[[0, -1]], SIDES, strict=True):
        _draw_smile_line(drawing, projection, rig, corner, sign, side)
    _draw_beard(drawing, projection, outline, mouth)
    drawing.close_group()


def _draw_cheeks(drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float]) -> None:
    identity = projection.identity
    skin = identity.skin
    blush = mix((0.95, 0.36, 0.32), skin, 0.25)
    for sign, side in SIDES:
        raised = rig[f"cheekSquint{side}"]
        smile = rig[f"mouthSmile{side}"]
        spot = np.array([[sign * 0.60 * identity.face_width, 10.4 - 1.6 * raised - 0.8 * smile]])
        cheek = projection.project_face(spot)[0]
        size = np.array([6.6, 4.6]) * (1 + 0.25 * rig["cheekPuff"])
        drawing.glow(cheek, size, blush, min(0.8, identity.blush * (1 + 0.6 * raised)))
        shine = max(rig["cheekPuff"], 0.7 * raised)
        if shine > 0.02:
            drawing.glow(cheek - (0, 1.6), size * (0.6, 0.5), lighten(skin, 0.6), 0.5 * shine)
    if identity.freckles > 0:
        generator = np.random.default_rng(identity.seed)
        spread = generator.normal(size=(26, 2)) * (2.6, 1.8)
        spread[:, 0] += np.sign(spread[:, 0]) * 8.5
        for dot in projection.project_face(spread + (0, 8.6)):
            drawing.ellipse(dot, (0.32, 0.32), shadow_of(skin), 0.55 * identity.freckles)


def _draw_smile_line(
    drawing: Drawing,
    projection: HeadProjection,
    rig: Mapping[str, float],
    corner: np.ndarray,
    sign: int,
    side: str,
) -> None:
    """The fold from the nose to the mouth's corner: deeper with a smile or a sneer."""
    identity = projection.identity
    smile = rig[f"mouthSmile{side}"]
    depth = 0.05 + 0.36 * smile + 0.35 * rig[f"noseSneer{side}"]
    depth += 0.15 * rig[f"mouthStretch{side}"]
    start = np.array([sign * (identity.nose_width + 1.5), identity.nose_length - 0.4])
    end = corner + (sign * 2.4, 0.6)
    middle = (start + end) / 2 + (sign * (0.9 + 0.7 * smile), -0.7)
    line = projection.project_face(np.array([start, middle, end]), 0.4)
    drawing.stroke(smooth_open(line), shadow_of(identity.skin), 0.75, min(0.6, depth))


def draw_nose(drawing: Drawing, projection: HeadProjection, rig: Mapping[str, float]) -> None:
    """Draw the nose by its shading, as flat illustration does."""
    identity = projection.identity
    skin, shadow, light = identity.skin, shadow_of(identity.skin), identity.light
    length, width = identity.nose_length, identity.nose_width
    sneer = {side: rig[f"noseSneer{side}"] for _, side in SIDES}
    dark = -np.sign(light)
    ridge = np.array(
        [[0.2 * dark, -2.5], [0.5 * dark, 3.0], [0.9 * dark, length - 3.0], [0.3 * dark, length]]
    )
    flank = np.array(
        [
            [dark * width, length - 0.4],
            [dark * 2.0, length - 5.0],
            [dark * 1.5, 2.0],
            [dark * 2.6, -3.6],
        ]
    )
    lift_ridge = np.array([1.2, 2.6, 5.0, 4.6])
    side_shade = join_curves(
        projection.project_face(ridge, lift_ridge),
        projection.project_face(flank, np.array([1.2, 0.6, 0.4, 0.2])),
    )
    ends = projection.project_face(np.array([[0, -3.0], [0, length]]), 2.0)
    fade = drawing.add_linear_gradient(
        ends[0], ends[1], ((0, shadow, 0.16), (0.55, shadow, 0.26), (1, shadow, 0.50))
    )
    drawing.fill(side_shade, fade)
    tip = projection.project_face(np.array([[0.0, length - 2.2]]), 5.2)[0]
    under = projection.project_face(np.array([[0.0, length + 0.7]]), 2.5)[0]
    drawing.glow(under, (1.5 * width, 1.9), shadow, 0.75)
    wings = [
        np.array([sign * width * (1 + 0.10 * sneer[side]), length - 1.0 - 1.5 * sneer[side]])
        for sign, side in SIDES
    ]
    for (sign, side), wing in zip(SIDES, wings, strict=True):
        curve = np.array([wing + (-0.5 * sign, -1.6), wing, wing + (-0.9 * sign, 1.1)])
        line = projection.project_face(curve, 1.6)
        drawing.stroke(smooth_open(line), shadow, 0.5, 0.65)
        nostril = projection.project_face((wing + (-sign * 0.48 * width, 0.85))[None], 3.0)[0]
        drawing.ellipse(nostril, (0.85, 0.45), darken(skin, 0.8), 0.75)
        if sneer[side] > 0.02:
            for row in (0.0, 1.5):
                fold = np.array([[0.6 * sign, row - 1.0], [2.6 * sign, row - 2.2]])
                ends = projection.project_face(fold, 1.5)
                drawing.stroke(smooth_open(ends), shadow, 0.45, 0.6 * sneer[side])
    bright = lighten(skin, 0.65)
    drawing.glow(tip + (0.5 * light, -0.2), (1.9, 1.6), bright, 0.6)
    bridge = projection.project_face(np.array([[0.5 * light, 2.8]]), 2.5)[0]
    drawing.glow(bridge, (1.0, 5.5), bright, 0.38)


def _draw_beard(
    drawing: Drawing, projection: HeadProjection, outline: np.ndarray, mouth: MouthShape
) -> None:
    identity = projection.identity
    if identity.beard == "none":
        return
    colour = darken(identity.hair, 0.15)
    width = identity.mouth_width
    left, right = mouth.upper_inner[0], mouth.upper_inner[-1]
    top = identity.nose_length + 2.1
    moustache = np.array(
        [
            left + (-1.6, 1.2),
            (-0.62 * width, top + 1.4),
            (-1.0, top),
            (0.0, top + 0.5),
            (1.0, top),
            (0.62 * width, top + 1.4),
            right + (1.6, 1.2),
        ]
    )
    lip = mouth.upper_outer[::-1] - (0, 0.25)
    moustache_path = join_curves(
        projection.project_face(moustache, 1.4), projection.project_face(lip, 1.4)
    )
    if identity.beard == "moustache":
        drawing.fill(moustache_path, colour, 0.95)
        return
    side = np.array([[0.99, 3.0], [0.93, 9.0], [0.66, 13.0]]) * (identity.face_width, 1)
    corner_left, corner_right = left + (-2.6, -0.6), right + (2.6, -0.6)
    inside = np.concatenate([side * (-1, 1), [corner_left], [corner_right], side[::-1]])
    upper = projection.project_face(inside, 0.2)
    around_lips = np.concatenate(
        [
            mouth.upper_outer[:1] - (1.0, 0),
            mouth.lower_outer[1:-1] + (0, 0.8),
            mouth.upper_outer[-1:] + (1.0, 0),
        ]
    )
    lower = projection.project_face(around_lips, 0.8)
    # A little outside the jaw, from ear to ear: what stands out is clipped away.
    jaw = outline[3:14] + (outline[3:14] - outline.mean(0)) * 0.06
    area = np.concatenate([upper[:4], lower, upper[4:], jaw])
    opacity = 0.30 if identity.beard == "stubble" else 0.95
    drawing.fill(polygon(area), colour, opacity)
    drawing.fill(moustache_path, colour, opacity)
