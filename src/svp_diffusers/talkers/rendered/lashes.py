"""Lashes and the dark line at their roots. They lie on the lids' strips and move with them."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from svp_diffusers.talkers.rendered.assets import LASH, HeadModel
from svp_diffusers.talkers.rendered.hair_colour import mean_hair_colour
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.strands import Strands

_ROWS = 5
_EDGE = 1
"""Row of a strip that lies on the lid's edge; row 0 touches the eyeball, the last are the tips."""


def grow_lashes(
    generator: np.random.Generator, person: Person, model: HeadModel, vertices: np.ndarray
) -> tuple[Strands, ...]:
    """Lid lines and lashes of both eyes; vertices `(v, 3)` are the person's."""
    dark = np.clip(0.35 * mean_hair_colour(person), 0.004, 0.06)
    skin = np.array(person.skin)
    strands = []
    for grid in find_lash_grids(model):
        rows = model.vertices[grid]
        upper = rows[:, -1, 1].mean() > rows[:, _EDGE, 1].mean()
        if upper:
            strength, width = 0.85 + 0.15 * person.makeup, 0.011 + 0.010 * person.makeup
            count, reach = 46, (2, 3)
        else:
            strength, width = 0.35 + 0.45 * person.makeup, 0.007 + 0.004 * person.makeup
            count, reach = 22, (1, 2)
        line = strength * dark + (1 - strength) * 0.5 * skin
        strands.append(_draw_line(grid, vertices, width, line))
        colour = dark if upper else 0.5 * dark + 0.2 * skin
        strands.append(_draw_lashes(generator, grid, vertices, count, reach, colour))
    return tuple(strands)


def find_lash_grids(model: HeadModel) -> list[np.ndarray]:
    """The four strips' vertices `(columns, rows)`: each column runs from the eyeball to a tip."""
    quads = model.quads[model.materials == LASH]
    edges, of_quads = np.unique(
        np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), axis=1),
        axis=0,
        return_inverse=True,
    )
    of_quads = of_quads.reshape(-1, 4)
    # Opposite edges of quads form ladders: the long ones lead along a strip from column to column.
    joins = np.concatenate([of_quads[:, [0, 2]], of_quads[:, [1, 3]]]).T
    graph = coo_matrix((np.ones(len(joins[0])), joins), shape=(len(edges), len(edges)))
    ladders = connected_components(graph, directed=False)[1]
    rungs = edges[np.bincount(ladders)[ladders] > _ROWS + 1]
    away = np.minimum(
        *(
            np.linalg.norm(model.vertices[rungs] - model.vertices[eye].mean(0), axis=2)
            for eye in (model.left_eye, model.right_eye)
        )
    )
    following = dict(np.take_along_axis(rungs, away.argsort(1), 1).tolist())
    columns = []
    for root in sorted(set(following) - set(following.values())):
        column = [root]
        while column[-1] in following:
            column.append(following[column[-1]])
        columns.append(column)
    grid = np.array(columns)
    tips, lids = model.vertices[grid[:, -1]], model.vertices[grid[:, _EDGE]]
    strips = []
    for is_left in (True, False):
        for is_upper in (True, False):
            strip = grid[((lids[:, 0] > 0) == is_left) & ((tips[:, 1] > lids[:, 1]) == is_upper)]
            strips.append(strip[np.argsort(model.vertices[strip[:, _EDGE], 0])])
    return strips


def _draw_line(grid: np.ndarray, vertices: np.ndarray, width: float, colour: np.ndarray) -> Strands:
    columns = grid[None, :, _EDGE]
    n = columns.shape[1]
    return _strands(
        anchors=np.repeat(columns[..., None], 3, 2),
        weights=np.full((1, n, 3), 1 / 3),
        vertices=vertices,
        widths=np.interp(np.linspace(0, 1, n), (0, 0.2, 0.8, 1), (0.5, 1, 1, 0.6))[None] * width,
        colours=np.broadcast_to(colour, (1, n, 3)),
    )


def _draw_lashes(
    generator: np.random.Generator,
    grid: np.ndarray,
    vertices: np.ndarray,
    count: int,
    reach: tuple[int, int],
    colour: np.ndarray,
) -> Strands:
    place = generator.uniform(0.5, len(grid) - 1.001, count)
    lean = generator.normal(0.0, 0.25, count)
    rows = np.array((_EDGE, *(_EDGE + step for step in reach)))
    columns = place[:, None] + lean[:, None] * np.array((0.0, 0.5, 1.0))
    columns = columns.clip(0, len(grid) - 1.001)
    first = columns.astype(int)
    share = columns - first
    one, two = grid[first, rows], grid[first + 1, rows]
    return _strands(
        anchors=np.stack([one, two, two], -1),
        weights=np.stack([1 - share, 0.5 * share, 0.5 * share], -1),
        vertices=vertices,
        widths=np.array((0.005, 0.004, 0.0015)) * generator.uniform(0.8, 1.2, (count, 1)),
        colours=np.broadcast_to(colour, (count, 3, 3)),
    )


def _strands(
    anchors: np.ndarray,
    weights: np.ndarray,
    vertices: np.ndarray,
    widths: np.ndarray,
    colours: np.ndarray,
) -> Strands:
    points = (vertices[anchors] * weights[..., None]).sum(2)
    forward = np.broadcast_to(np.array((0, 0, 1), np.float32), points.shape)
    return Strands(
        points=points.astype(np.float32),
        widths=np.ascontiguousarray(widths, np.float32),
        colours=np.ascontiguousarray(colours, np.float32),
        normals=np.ascontiguousarray(forward),
        occlusion=np.full(widths.shape, 0.6, np.float32),
        follow=np.ones(widths.shape, np.float32),
        anchors=anchors.astype(np.int32),
        anchor_weights=weights.astype(np.float32),
        gloss=0.3,
    )
