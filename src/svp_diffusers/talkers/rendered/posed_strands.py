"""All strands of a person, put together once and posed in one pass a frame."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numba import njit

from svp_diffusers.talkers.rendered.camera import Projection
from svp_diffusers.talkers.rendered.posing import transform_points
from svp_diffusers.talkers.rendered.rasteriser import rasterise_strands
from svp_diffusers.talkers.rendered.shading import PosedStrands
from svp_diffusers.talkers.rendered.strands import Strands

_NEARER = 1e-4
"""Share of the depth by which strands lie before the skin that they grow on."""

_SHADOW_STRANDS, _SHADOW_POINTS = 4, 2
"""Every 4th strand and 2nd point throws a shadow,"""
_SHADOW_WIDTH = 2.6
"""as wide as this, in texels of the shadow map."""


class StrandRig:
    """The strands of a person, ready to be posed.

    Args:
        sets: hair, brows, lashes and whatever else has strands; at least one.
    """

    def __init__(self, sets: Sequence[Strands]) -> None:
        # What is in front is drawn first and hides the rest at once.
        self._sets = sets = [_sort_front_first(each) for each in sets]
        self._ends = np.cumsum([each.points.shape[0] * each.points.shape[1] for each in sets])
        self._points = _join([each.points for each in sets], 3)
        self._normals = _join([each.normals for each in sets], 3)
        self._widths = np.concatenate([each.widths.reshape(-1) for each in sets])
        self._follow = np.concatenate([each.follow.reshape(-1) for each in sets])
        self._last = np.zeros(len(self._points), np.bool_)
        self._anchors = np.full((len(self._points), 3), -1, np.int32)
        self._anchor_weights = np.zeros((len(self._points), 3), np.float32)
        gloss = np.ones(len(self._points), np.float32)
        for each, part in zip(sets, self._parts(), strict=True):
            self._last[part][each.points.shape[1] - 1 :: each.points.shape[1]] = True
            gloss[part] = each.gloss
            if len(each.anchors):
                self._anchors[part] = each.anchors.reshape(-1, 3)
                self._anchor_weights[part] = each.anchor_weights.reshape(-1, 3)
        self._screen = np.empty_like(self._points)
        self._pixel_widths = np.empty_like(self._widths)
        self.posed = PosedStrands(
            positions=np.empty_like(self._points),
            tangents=np.empty_like(self._points),
            normals=np.empty_like(self._points),
            colours=_join([each.colours for each in sets], 3),
            occlusion=np.concatenate([each.occlusion.reshape(-1) for each in sets]),
            gloss=gloss,
        )
        """Where the strands are in the last pose."""

    def _parts(self) -> list[slice]:
        starts = [0, *self._ends[:-1]]
        return [slice(int(a), int(b)) for a, b in zip(starts, self._ends, strict=True)]

    def pose(self, displacements: np.ndarray, projection: Projection, size: int) -> None:
        """Pose the strands.

        Args:
            displacements: `(v, 3)` float32: how the expression moves the vertices.
            projection: pose of the head and camera.
            size: of the picture in pixels.
        """
        _pose_points(
            (self._points, self._normals, self._widths, self._follow, self._last),
            self._anchors,
            self._anchor_weights,
            displacements,
            projection.rotation,
            projection.pivot,
            projection.screen(size),
            self.posed,
            self._screen,
            self._pixel_widths,
        )

    def rasterise(
        self, nearest: np.ndarray, shown: np.ndarray, along: np.ndarray, first_code: int
    ) -> None:
        """Draw them into the z-buffer; see `rasterise_strands`."""
        for each, part in zip(self._sets, self._parts(), strict=True):
            rasterise_strands(
                self._screen[part],
                each.points.shape[1],
                self._pixel_widths[part],
                nearest,
                shown,
                along,
                first_code + part.start,
            )

    def throw_shadows(self, transform: np.ndarray, depths: np.ndarray) -> None:
        """Draw some of them into the shadow map; see `illumination.share_lit`."""
        shown = np.zeros(depths.shape, np.int32)
        along = np.zeros(depths.shape, np.float32)
        for each, part in zip(self._sets, self._parts(), strict=True):
            if each.shadow:
                strands = self.posed.positions[part].reshape(each.points.shape)
                some = np.ascontiguousarray(strands[::_SHADOW_STRANDS, ::_SHADOW_POINTS])
                points_each = some.shape[1]
                mapped = np.empty((some.shape[0] * points_each, 3), np.float32)
                transform_points(some.reshape(-1, 3), transform, mapped)
                widths = np.full(len(mapped), _SHADOW_WIDTH, np.float32)
                rasterise_strands(mapped, points_each, widths, depths, shown, along, 0)


def _sort_front_first(strands: Strands) -> Strands:
    order = np.argsort(-strands.points[:, :, 2].max(1), kind="stable")
    arrays = {
        field.name: getattr(strands, field.name)[order]
        for field in fields(strands)
        if isinstance(getattr(strands, field.name), np.ndarray)
        and len(getattr(strands, field.name))
    }
    return replace(strands, **arrays)


def _join(arrays: Sequence[np.ndarray], channels: int) -> np.ndarray:
    return np.concatenate([array.reshape(-1, channels) for array in arrays]).astype(np.float32)


@njit(cache=True, error_model="numpy")
def _pose_points(  # type: ignore[no-untyped-def]
    rest, anchors, anchor_weights, displacements, rotation, pivot, screen, posed, projected, widths
):
    points, normals, rest_widths, follow, last = rest
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if anchors[i, 0] >= 0:
            for k in range(3):
                weight, vertex = anchor_weights[i, k], anchors[i, k]
                x += weight * displacements[vertex, 0]
                y += weight * displacements[vertex, 1]
                z += weight * displacements[vertex, 2]
        dx, dy, dz = x - pivot[0], y - pivot[1], z - pivot[2]
        share = follow[i]
        for c in range(3):
            stays = x if c == 0 else (y if c == 1 else z)
            turned = rotation[c, 0] * dx + rotation[c, 1] * dy + rotation[c, 2] * dz + pivot[c]
            posed.positions[i, c] = stays + share * (turned - stays)
            posed.normals[i, c] = (
                rotation[c, 0] * normals[i, 0]
                + rotation[c, 1] * normals[i, 1]
                + rotation[c, 2] * normals[i, 2]
            )
        inverse = 1 / (screen[2] - posed.positions[i, 2])
        projected[i, 0] = screen[4] + screen[3] * (posed.positions[i, 0] - screen[0]) * inverse
        projected[i, 1] = screen[5] - screen[3] * (posed.positions[i, 1] - screen[1]) * inverse
        projected[i, 2] = inverse * (1 + _NEARER)
        widths[i] = rest_widths[i] * screen[3] * inverse
    for i in range(points.shape[0]):
        a = i - 1 if last[i] else i
        dx = posed.positions[a + 1, 0] - posed.positions[a, 0]
        dy = posed.positions[a + 1, 1] - posed.positions[a, 1]
        dz = posed.positions[a + 1, 2] - posed.positions[a, 2]
        scale = 1 / ((dx * dx + dy * dy + dz * dz) ** 0.5 + 1e-9)
        posed.tangents[i, 0] = dx * scale
        posed.tangents[i, 1] = dy * scale
        posed.tangents[i, 2] = dz * scale
