"""Moving many points, by numba, in an order that is always the same."""

from numba import njit


@njit(cache=True, error_model="numpy")
def pose_vertices(vertices, weights, rotation, pivot, posed):  # type: ignore[no-untyped-def]
    """Turn vertices about the pivot by their weights: 1 with the head, 0 not at all."""
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        dx, dy, dz = x - pivot[0], y - pivot[1], z - pivot[2]
        for c in range(3):
            turned = rotation[c, 0] * dx + rotation[c, 1] * dy + rotation[c, 2] * dz + pivot[c]
            posed[i, c] = vertices[i, c] + weights[i] * (turned - vertices[i, c])


@njit(cache=True, error_model="numpy")
def project_points(points, screen, projected):  # type: ignore[no-untyped-def]
    """Project `(n, 3)` points: x and y in pixels and the inverse depth; see `Projection.screen`."""
    for i in range(points.shape[0]):
        inverse = 1 / (screen[2] - points[i, 2])
        projected[i, 0] = screen[4] + screen[3] * (points[i, 0] - screen[0]) * inverse
        projected[i, 1] = screen[5] - screen[3] * (points[i, 1] - screen[1]) * inverse
        projected[i, 2] = inverse


@njit(cache=True, error_model="numpy")
def add_displacements(vertices, displacements, amounts, moved):  # type: ignore[no-untyped-def]
    """`moved = vertices + sum_k amounts[k] * displacements[k]`, always in the same order."""
    for i in range(vertices.shape[0]):
        for c in range(3):
            moved[i, c] = vertices[i, c]
    for k in range(amounts.shape[0]):
        amount = amounts[k]
        if amount != 0:
            for i in range(vertices.shape[0]):
                for c in range(3):
                    moved[i, c] += amount * displacements[k, i, c]


@njit(cache=True, error_model="numpy")
def transform_points(points, transform, transformed):  # type: ignore[no-untyped-def]
    """Apply a `(3, 4)` affine transform to `(n, 3)` points."""
    for i in range(points.shape[0]):
        for c in range(3):
            transformed[i, c] = (
                transform[c, 0] * points[i, 0]
                + transform[c, 1] * points[i, 1]
                + transform[c, 2] * points[i, 2]
                + transform[c, 3]
            )
