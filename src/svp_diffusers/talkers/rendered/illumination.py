"""Light that falls on a point, for the shading kernels."""

from numba import njit


@njit(cache=True, error_model="numpy", inline="always")
def irradiance(harmonics, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Light of the panorama on a surface with that normal, over pi, at least 0: three channels."""
    xy, yz, xz = nx * ny, ny * nz, nx * nz
    zz, xx = 3 * nz * nz - 1, nx * nx - ny * ny
    r = harmonics[0, 0] + harmonics[1, 0] * ny + harmonics[2, 0] * nz + harmonics[3, 0] * nx
    r += harmonics[4, 0] * xy + harmonics[5, 0] * yz + harmonics[6, 0] * zz
    r += harmonics[7, 0] * xz + harmonics[8, 0] * xx
    g = harmonics[0, 1] + harmonics[1, 1] * ny + harmonics[2, 1] * nz + harmonics[3, 1] * nx
    g += harmonics[4, 1] * xy + harmonics[5, 1] * yz + harmonics[6, 1] * zz
    g += harmonics[7, 1] * xz + harmonics[8, 1] * xx
    b = harmonics[0, 2] + harmonics[1, 2] * ny + harmonics[2, 2] * nz + harmonics[3, 2] * nx
    b += harmonics[4, 2] * xy + harmonics[5, 2] * yz + harmonics[6, 2] * zz
    b += harmonics[7, 2] * xz + harmonics[8, 2] * xx
    return max(0.0, r), max(0.0, g), max(0.0, b)


@njit(cache=True, error_model="numpy", inline="always")
def look_up(surroundings, x, y, z):  # type: ignore[no-untyped-def]
    """The three channels that a unit direction sees; see `light.fold_panorama`."""
    scale = 1 / (abs(x) + abs(y) + abs(z))
    u, v = x * scale, y * scale
    if z < 0:
        u, v = (1 - abs(v)) * (1 if u > 0 else -1), (1 - abs(u)) * (1 if v > 0 else -1)
    last = surroundings.shape[0] - 1
    across, down = (0.5 + 0.5 * u) * last, (0.5 - 0.5 * v) * last
    i, j = min(int(across), last - 1), min(int(down), last - 1)
    fx, fy = across - i, down - j
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    r = a * surroundings[j, i, 0] + b * surroundings[j, i + 1, 0]
    r += c * surroundings[j + 1, i, 0] + d * surroundings[j + 1, i + 1, 0]
    g = a * surroundings[j, i, 1] + b * surroundings[j, i + 1, 1]
    g += c * surroundings[j + 1, i, 1] + d * surroundings[j + 1, i + 1, 1]
    h = a * surroundings[j, i, 2] + b * surroundings[j, i + 1, 2]
    h += c * surroundings[j + 1, i, 2] + d * surroundings[j + 1, i + 1, 2]
    return r, g, h


@njit(cache=True, error_model="numpy", inline="always")
def share_lit(depths, transform, softness, bias, x, y, z):  # type: ignore[no-untyped-def]
    """Share of the key light that reaches a point: 3 x 3 taps of the shadow map.

    depths: `(n, n)` of what is nearest to the light; larger is nearer.
    transform: `(3, 4)` from space to the map's column, row and depth.
    bias: depth by which something must be nearer to throw a shadow.
    """
    column = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]
    row = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]
    depth = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
    covered = 0.0
    for dj in range(-1, 2):
        for di in range(-1, 2):
            i, j = int(column + di * softness), int(row + dj * softness)
            inside = 0 <= i < depths.shape[1] and 0 <= j < depths.shape[0]
            if inside and depths[j, i] > depth + bias:
                covered += 1
    return 1 - covered / 9
