"""Places on a person's skin, for what grows on it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from svp_diffusers.talkers.rendered.assets import SKIN, HeadModel
from svp_diffusers.talkers.rendered.normals import compute_normals


@dataclass(frozen=True)
class Places:
    """`k` places on the skin.

    Args:
        anchors: `(k, 3)` vertices of the triangle around each place.
        weights: `(k, 3)` barycentric coordinates in it.
        rest: `(k, 3)` positions on the head model at rest.
        positions: `(k, 3)` positions on the person.
        normals: `(k, 3)` unit normals on the person.
    """

    anchors: np.ndarray
    weights: np.ndarray
    rest: np.ndarray
    positions: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class Surface:
    """The skin of the head of one person; `vertices` `(v, 3)` are all of the person's."""

    model: HeadModel
    vertices: np.ndarray

    @cached_property
    def triangles(self) -> np.ndarray:
        """`(t, 3)` vertices."""
        return self.model.triangles[self.model.triangle_materials == SKIN]

    @cached_property
    def normals(self) -> np.ndarray:
        """`(v, 3)`, zero off the skin."""
        return compute_normals(self.vertices, self.model.quads[self.model.materials == SKIN])

    @cached_property
    def rest_centres(self) -> np.ndarray:
        """`(t, 3)` the triangles' centres on the head model at rest."""
        centres: np.ndarray = self.model.vertices[self.triangles].mean(1)
        return centres

    @cached_property
    def texels(self) -> np.ndarray:
        """`(t, 2)` row and column of the triangles' centres in the head's texture."""
        corners = self.model.triangle_uvs[self.model.triangle_materials == SKIN]
        columns, rows = self.model.uvs[corners].mean(1).astype(int).T
        height, width = self.model.texture_shape
        return np.stack([rows.clip(0, height - 1), columns.clip(0, width - 1)], 1)

    def scatter(self, generator: np.random.Generator, density: np.ndarray, count: int) -> Places:
        """`count` random places; `density` `(t,)` >= 0 is what a triangle gets per area."""
        corners = self.vertices[self.triangles]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        shares = np.linalg.norm(cross, axis=1) * density
        chosen = generator.choice(len(shares), count, p=shares / shares.sum())
        along = generator.random((count, 2))
        folded = along.sum(1) > 1
        along[folded] = 1 - along[folded]
        weights = np.concatenate([1 - along.sum(1, keepdims=True), along], 1)
        return self._at(self.triangles[chosen], weights)

    def project(self, points: np.ndarray) -> Places:
        """The places `(k,)` of the face behind x, y `(k, 2)`, seen from in front at rest."""
        front = self.triangles[self.rest_centres[:, 2] > 0.8]
        corners = self.model.vertices[front][:, :, :2]
        candidates = cKDTree(corners.mean(1)).query(points, k=12)[1]
        a, b, c = np.moveaxis(corners[candidates], 2, 0)
        p = points[:, None]
        area = _cross(b - a, c - a)
        area = np.where(np.abs(area) < 1e-9, 1e-9, area)
        second, third = _cross(p - a, c - a) / area, _cross(b - a, p - a) / area
        weights = np.stack([1 - second - third, second, third], -1)
        best = weights.min(2).argmax(1)
        rows = np.arange(len(points))
        inside = np.clip(weights[rows, best], 0, 1)
        inside /= inside.sum(1, keepdims=True)
        return self._at(front[candidates[rows, best]], inside)

    def _at(self, anchors: np.ndarray, weights: np.ndarray) -> Places:
        def mean(values: np.ndarray) -> np.ndarray:
            sums: np.ndarray = (values[anchors] * weights[..., None]).sum(1)
            return sums

        return Places(
            anchors=anchors,
            weights=weights,
            rest=mean(self.model.vertices),
            positions=mean(self.vertices),
            normals=to_unit(mean(self.normals)),
        )


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """The directions of vectors `(..., 3)`."""
    units: np.ndarray = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
    return units


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    products: np.ndarray = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return products
