"""Glasses: two rims, a bridge and two temples that turn with the head."""

import numpy as np

from svp_diffusers.talkers.rendered.assets import SKIN, HeadModel
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.strands import Strands

_POINTS = 26


def make_glasses(
    generator: np.random.Generator, person: Person, model: HeadModel, vertices: np.ndarray
) -> Strands | None:
    """Polylines in front of the eyes; vertices `(v, 3)` are the person's; None without glasses."""
    if person.glasses == 0:
        return None
    left, right = vertices[model.left_eye].mean(0), vertices[model.right_eye].mean(0)
    middle, apart = (left[0] + right[0]) / 2, (left[0] - right[0]) / 2 + 0.02
    height = (left[1] + right[1]) / 2 - 0.015
    skin = vertices[model.vertices_of(SKIN)]
    level = skin[np.abs(skin[:, 1] - height) < 0.12]
    front = level[:, 2].max() + 0.05
    half_head = level[:, 0].max() - middle
    width, tall = generator.uniform(0.19, 0.25), generator.uniform(0.13, 0.19)

    def bend(x: np.ndarray) -> np.ndarray:
        curved: np.ndarray = front - 0.28 * (x - middle) ** 2
        return curved

    turn = np.linspace(0, 2 * np.pi, _POINTS)
    power = 2 / person.glasses_squareness
    rim_x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * width
    rim_y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * tall
    t = np.linspace(0, 1, _POINTS)
    gap, hinge = apart - width, apart + width
    across = middle + gap * (2 * t - 1)
    lines = [np.stack([across, height + 0.04 + 0.03 * np.sin(np.pi * t), bend(across)], 1)]
    for side in (1, -1):
        x = middle + side * (apart + rim_x)
        lines.append(np.stack([x, height + rim_y, bend(x)], 1))
        # The temples reach the ears' roots and bend down behind them.
        x = middle + side * (hinge + (half_head - hinge) * np.minimum(1, 2.5 * t))
        y = height + 0.05 - 0.12 * np.clip(1.2 * t - 0.9, 0, 1)
        lines.append(np.stack([x, y, bend(np.array(middle + hinge)) - 1.15 * t], 1))
    points = np.stack(lines).astype(np.float32)
    shape = points.shape[:2]
    return Strands(
        points=points,
        widths=np.full(shape, 2 * person.glasses, np.float32),
        colours=np.broadcast_to(np.array(person.glasses_colour, np.float32), points.shape).copy(),
        normals=np.broadcast_to(np.array((0, 0.3, 0.95), np.float32), points.shape).copy(),
        occlusion=np.ones(shape, np.float32),
        follow=np.ones(shape, np.float32),
        anchors=np.zeros((0, _POINTS, 3), np.int32),
        anchor_weights=np.zeros((0, _POINTS, 3), np.float32),
    )
