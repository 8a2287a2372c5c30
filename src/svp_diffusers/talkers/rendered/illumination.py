"""Light that falls on a point, for the shading kernels."""

from math import atan2, floor, pi

from numba import njit


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def look_up(panorama, x, y, z):  # type: ignore[no-untyped-def]
    """The three channels that a unit direction sees."""
    height, width = panorama.shape[0], panorama.shape[1]
    across = (atan2(x, z) * (0.5 / pi) + 0.5) * width - 0.5
    y = min(1.0, max(-1.0, y))
    elevation = atan2(y, max(0.0, 1 - y * y) ** 0.5)
    down = min(max((0.5 - elevation / pi) * height - 0.5, 0.0), height - 1.001)
    i, j = floor(across), int(down)
    fx, fy = across - i, down - j
    i0, i1 = (i + width) % width, (i + 1 + width) % width
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    r = a * panorama[j, i0, 0] + b * panorama[j, i1, 0]
    r += c * panorama[j + 1, i0, 0] + d * panorama[j + 1, i1, 0]
    g = a * panorama[j, i0, 1] + b * panorama[j, i1, 1]
    g += c * panorama[j + 1, i0, 1] + d * panorama[j + 1, i1, 1]
    u = a * panorama[j, i0, 2] + b * panorama[j, i1, 2]
    u += c * panorama[j + 1, i0, 2] + d * panorama[j + 1, i1, 2]
    return r, g, u


@njit(cache=True, error_model="numpy")
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
