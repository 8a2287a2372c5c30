"""Normals of a mesh of quads."""

from math import sqrt

import numpy as np
from numba import njit


def compute_normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Unit normals `(v, 3)` of the vertices, float32; zero where no quad meets.

    vertices: `(v, 3)` float32
    quads: `(q, 4)` int32, counter-clockwise seen from outside
    """
    normals = np.zeros_like(vertices)
    _add_normals(vertices, quads, normals)
    return normals


@njit(cache=True, error_model="numpy")
def _add_normals(vertices, quads, normals):  # type: ignore[no-untyped-def]
    for q in range(quads.shape[0]):
        a, b, c, d = quads[q, 0], quads[q, 1], quads[q, 2], quads[q, 3]
        ux = vertices[c, 0] - vertices[a, 0]
        uy = vertices[c, 1] - vertices[a, 1]
        uz = vertices[c, 2] - vertices[a, 2]
        vx = vertices[d, 0] - vertices[b, 0]
        vy = vertices[d, 1] - vertices[b, 1]
        vz = vertices[d, 2] - vertices[b, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c, d):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(normals.shape[0]):
        length = sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length
