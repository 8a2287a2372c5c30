"""Filters of linear pictures, by numba: light in skin, lens and pixels, strokes of oil paint."""

import numpy as np
from numba import njit


def gaussian_kernel(sigma: float, box: int = 1) -> np.ndarray:
    """A Gaussian of `sigma` pixels convolved with a box, float32, sum 1.

    Its length is `box` plus an even number, so that it is centred on the box.
    """
    reach = int(np.ceil(3 * sigma))
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (places / max(sigma, 1e-3)) ** 2)
    kernel: np.ndarray = np.convolve(weights / weights.sum(), np.full(box, 1 / box))
    return kernel.astype(np.float32)


@njit(cache=True, error_model="numpy")
def scatter(light, mask, kernel, channel):  # type: ignore[no-untyped-def]
    """Blur a channel of `(h, w, 3)` light where the mask `(h, w)` is 1, from there alone."""
    height, width = mask.shape
    top, bottom, left, right = height, -1, width, -1
    for y in range(height):
        for x in range(width):
            if mask[y, x] > 0:
                top, bottom = min(top, y), max(bottom, y)
                left, right = min(left, x), max(right, x)
    if bottom < 0:
        return
    rows, columns = bottom - top + 1, right - left + 1
    reach = kernel.shape[0] // 2
    # The light and, to divide by, the mask, each between margins of nothing.
    source = np.zeros((2, rows, columns + 2 * reach), np.float32)
    across = np.zeros((2, rows + 2 * reach, columns), np.float32)
    for y in range(rows):
        for x in range(columns):
            covered = mask[top + y, left + x]
            source[0, y, reach + x] = covered * light[top + y, left + x, channel]
            source[1, y, reach + x] = covered
    for k in range(2):
        for y in range(rows):
            for d in range(kernel.shape[0]):
                weight = kernel[d]
                for x in range(columns):
                    across[k, reach + y, x] += weight * source[k, y, x + d]
    total = np.zeros((2, columns), np.float32)
    for y in range(rows):
        total[:] = 0
        for k in range(2):
            for d in range(kernel.shape[0]):
                weight = kernel[d]
                for x in range(columns):
                    total[k, x] += weight * across[k, y + d, x]
        for x in range(columns):
            if mask[top + y, left + x] > 0:
                light[top + y, left + x, channel] = total[0, x] / max(total[1, x], 1e-3)


@njit(cache=True, error_model="numpy")
def reduce_picture(picture, kernel, step):  # type: ignore[no-untyped-def]
    """Every `step`-th pixel of the picture `(h, w, 3)`, blurred by a `gaussian_kernel`."""
    height, width = picture.shape[0] // step, picture.shape[1] // step
    margin = (kernel.shape[0] - step) // 2
    across = np.zeros((picture.shape[0], width, 3), np.float32)
    for y in range(picture.shape[0]):
        for x in range(width):
            for d in range(kernel.shape[0]):
                column = min(max(x * step + d - margin, 0), picture.shape[1] - 1)
                weight = kernel[d]
                across[y, x, 0] += weight * picture[y, column, 0]
                across[y, x, 1] += weight * picture[y, column, 1]
                across[y, x, 2] += weight * picture[y, column, 2]
    reduced = np.zeros((height, width, 3), np.float32)
    for y in range(height):
        for d in range(kernel.shape[0]):
            row = min(max(y * step + d - margin, 0), picture.shape[0] - 1)
            weight = kernel[d]
            for x in range(width):
                for c in range(3):
                    reduced[y, x, c] += weight * across[row, x, c]
    return reduced


@njit(cache=True, error_model="numpy")
def paint_in_oil(picture, radius):  # type: ignore[no-untyped-def]
    """Every pixel becomes the mean of the smoothest of the four squares it is a corner of.

    The filter is Kuwahara's (1976). `picture` is `(h, w, 3)` float32 and stays as it is.
    """
    height, width = picture.shape[:2]
    # Sums over rectangles from the corner: three channels, grey and its square.
    sums = np.zeros((height + 1, width + 1, 5), np.float64)
    for y in range(height):
        for x in range(width):
            r, g, b = picture[y, x, 0], picture[y, x, 1], picture[y, x, 2]
            grey = (r + g + b) / 3
            for c in range(5):
                value = r if c == 0 else (g if c == 1 else (b if c == 2 else grey))
                if c == 4:
                    value = grey * grey
                sums[y + 1, x + 1, c] = (
                    value + sums[y, x + 1, c] + sums[y + 1, x, c] - sums[y, x, c]
                )
    painted = np.empty_like(picture)
    for y in range(height):
        for x in range(width):
            least = 1e30
            for quadrant in range(4):
                top = y - radius if quadrant < 2 else y
                left = x - radius if quadrant % 2 == 0 else x
                y0, y1 = max(0, top), min(height, top + radius + 1)
                x0, x1 = max(0, left), min(width, left + radius + 1)
                count = (y1 - y0) * (x1 - x0)
                grey = (
                    sums[y1, x1, 3] - sums[y0, x1, 3] - sums[y1, x0, 3] + sums[y0, x0, 3]
                ) / count
                power = (
                    sums[y1, x1, 4] - sums[y0, x1, 4] - sums[y1, x0, 4] + sums[y0, x0, 4]
                ) / count
                variance = power - grey * grey
                if variance < least:
                    least = variance
                    for c in range(3):
                        painted[y, x, c] = (
                            sums[y1, x1, c] - sums[y0, x1, c] - sums[y1, x0, c] + sums[y0, x0, c]
                        ) / count
    return painted
