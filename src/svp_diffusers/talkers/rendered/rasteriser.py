"""Triangles and strands in a z-buffer, by numba.

Points on the screen are `(n, 3)`: x and y in pixels and the inverse of the depth, so that nearer is
larger. Pixel centres lie at halves.
"""

from math import ceil, floor, sqrt

import numpy as np
from numba import njit

_HIGHEST_SHOULDER = 0.3
"""How far above the collar, in dm, cloth may lie beyond the neck."""


@njit(cache=True, error_model="numpy")
def rasterise_triangles(  # type: ignore[no-untyped-def]
    screen, triangles, two_sided, nearer, cut, nearest, shown, barycentric
):
    """Draw triangles into a z-buffer.

    Args:
        screen: `(v, 3)` float32.
        triangles: `(t, 3)` int32.
        two_sided: `(t,)` bool; of the other triangles only the front (clockwise with y down) shows.
        nearer: factor of the inverse depth of two-sided triangles.
        cut: `(v, 4)` where two-sided triangles are cut, see `cut_clothes`. Empty: nowhere.
        nearest: `(h, w)` the inverse depths, updated.
        shown: `(h, w)` int32: the triangle that shows, updated.
        barycentric: `(h, w, 2)`: weights of its first two corners in space, updated.
    """
    height, width = nearest.shape
    for t in range(triangles.shape[0]):
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1 = screen[i0, 0], screen[i0, 1], screen[i1, 0], screen[i1, 1]
        x2, y2 = screen[i2, 0], screen[i2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (area > 0 and not two_sided[t]):
            continue
        left = max(0, ceil(min(x0, x1, x2) - 0.5))
        right = min(width - 1, floor(max(x0, x1, x2) - 0.5))
        top = max(0, ceil(min(y0, y1, y2) - 0.5))
        bottom = min(height - 1, floor(max(y0, y1, y2) - 0.5))
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        z0, z1, z2 = screen[i0, 2], screen[i1, 2], screen[i2, 2]
        if two_sided[t]:
            z0, z1, z2 = z0 * nearer, z1 * nearer, z2 * nearer
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse
                w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse
                w2 = 1 - w0 - w1
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z <= nearest[y, x]:
                    continue
                if two_sided[t] and cut.shape[0] > 0:
                    collar = w0 * cut[i0, 0] + w1 * cut[i1, 0] + w2 * cut[i2, 0]
                    beyond = w0 * cut[i0, 1] + w1 * cut[i1, 1] + w2 * cut[i2, 1]
                    if collar < 0 and (beyond < 0 or collar < -_HIGHEST_SHOULDER):
                        continue
                    vee = w0 * cut[i0, 2] + w1 * cut[i1, 2] + w2 * cut[i2, 2]
                    front = w0 * cut[i0, 3] + w1 * cut[i1, 3] + w2 * cut[i2, 3]
                    if vee < 0 and front > 0:
                        continue
                nearest[y, x] = z
                shown[y, x] = t
                barycentric[y, x, 0] = w0 * z0 / z
                barycentric[y, x, 1] = w1 * z1 / z


@njit(cache=True, error_model="numpy")
def rasterise_strands(  # type: ignore[no-untyped-def]
    screen, points_each, widths, nearest, shown, along, first_code
):
    """Draw strands into a z-buffer as thick lines, a row of pixels at a time.

    Args:
        screen: `(k * points_each, 3)` the points of `k` strands.
        widths: `(k * points_each,)` in pixels.
        nearest: `(h, w)` the inverse depths, updated.
        shown: `(h, w)` int32: `first_code` plus the number of the segment's first point, updated.
        along: `(h, w)`: where on the segment, 0..1, updated.
    """
    height, width = nearest.shape
    zero, half = np.float32(0), np.float32(0.5)
    for k in range(screen.shape[0] // points_each):
        for j in range(points_each - 1):
            a = k * points_each + j
            b = a + 1
            x0, y0, x1, y1 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
            thick, taper = widths[a] * half, (widths[b] - widths[a]) * half
            radius = max(thick, thick + taper)
            low, high = min(x0, x1) - radius, max(x0, x1) + radius
            # Pixels whose centres lie inside: the whole parts of the edges plus a half.
            top = int(max(zero, min(y0, y1) - radius + half))
            end = min(height, int(max(zero, max(y0, y1) + radius + half)))
            if high < 0 or low > width or top >= end:
                continue
            dx, dy = x1 - x0, y1 - y0
            squared = dx * dx + dy * dy + np.float32(1e-9)
            along_x, along_y = dx / squared, dy / squared
            # A row cuts the strip between the edges of the line in an interval of 2 reaches.
            slope, reach = np.float32(0), high - low
            if abs(dy) > np.float32(1e-3):
                slope = dx / dy
                reach = radius * np.float32(sqrt(1 + slope * slope))
            z0, dz = screen[a, 2], screen[b, 2] - screen[a, 2]
            front = max(z0, z0 + dz)
            for y in range(top, end):
                py = np.float32(y) + half - y0
                middle = x0 + py * slope
                left = int(max(zero, max(low, middle - reach) + half))
                stop = min(width, int(max(zero, min(high, middle + reach) + half)))
                for x in range(left, stop):
                    if front <= nearest[y, x]:
                        continue
                    px = np.float32(x) + half - x0
                    t = min(np.float32(1), max(np.float32(0), px * along_x + py * along_y))
                    ex, ey, limit = px - t * dx, py - t * dy, thick + t * taper
                    if ex * ex + ey * ey > limit * limit:
                        continue
                    z = z0 + dz * t
                    if z > nearest[y, x]:
                        nearest[y, x] = z
                        shown[y, x] = first_code + a
                        along[y, x] = t
