"""What the parts of a head are made of: colour, gloss and occlusion at a point, for the kernels.

Every function gives linear albedo (3), a factor of the gloss, roughness and occlusion.
"""

from math import acos, atan2, exp, floor, sin

from numba import njit


@njit(cache=True, error_model="numpy")
def clamp(value):  # type: ignore[no-untyped-def]
    """Into 0..1."""
    return min(1.0, max(0.0, value))


@njit(cache=True, error_model="numpy")
def sample_texture(texture, u, v):  # type: ignore[no-untyped-def]
    """Four channels of the head's texture between its texels."""
    height, width = texture.shape[0], texture.shape[1]
    x, y = min(max(u - 0.5, 0.0), width - 1.001), min(max(v - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    r = a * texture[j, i, 0] + b * texture[j, i + 1, 0]
    r += c * texture[j + 1, i, 0] + d * texture[j + 1, i + 1, 0]
    g = a * texture[j, i, 1] + b * texture[j, i + 1, 1]
    g += c * texture[j + 1, i, 1] + d * texture[j + 1, i + 1, 1]
    u = a * texture[j, i, 2] + b * texture[j, i + 1, 2]
    u += c * texture[j + 1, i, 2] + d * texture[j + 1, i + 1, 2]
    w = a * texture[j, i, 3] + b * texture[j, i + 1, 3]
    w += c * texture[j + 1, i, 3] + d * texture[j + 1, i + 1, 3]
    return r, g, u, w


@njit(cache=True, error_model="numpy")
def mouth_lining(rest_z, openness):  # type: ignore[no-untyped-def]
    """The bag behind the lips: the deeper the darker, lighter in an open mouth."""
    k = clamp((rest_z - 1.0) / 0.45)
    occlusion = (0.03 + 0.30 * k * k) * (0.35 + 0.65 * openness)
    return 0.30 * k + 0.08, 0.07 * k + 0.02, 0.06 * k + 0.018, 1.6, 0.5, occlusion


@njit(cache=True, error_model="numpy")
def teeth(rest_x, rest_y, rest_z, openness):  # type: ignore[no-untyped-def]
    """Enamel with lines between the teeth, and gums above and below."""
    k = clamp((rest_z - 1.05) / 0.4)
    occlusion = (0.16 + 0.70 * k * k) * (0.55 + 0.45 * openness)
    if rest_y < 6.611:
        # The lower ones lie behind the lip and below what lights the upper.
        occlusion *= 0.50
    gum = clamp((rest_y - 6.755) / 0.02) + clamp((6.47 - rest_y) / 0.02)
    place = abs(atan2(rest_x, rest_z - 1.1)) / 0.17
    gap = place - floor(place)
    line = 1 - 0.28 * exp(-((min(gap, 1 - gap) / 0.10) ** 2))
    r = 0.68 * line * (1 - gum) + 0.50 * gum
    g = 0.62 * line * (1 - gum) + 0.17 * gum
    b = 0.53 * line * (1 - gum) + 0.15 * gum
    return r, g, b, 1.2, 0.30, occlusion


@njit(cache=True, error_model="numpy")
def tongue(rest_x, rest_z, openness):  # type: ignore[no-untyped-def]
    """Flesh with a furrow along the middle, dark towards the throat."""
    k = clamp((rest_z - 0.95) / 0.5)
    occlusion = (0.06 + 0.60 * k * k) * (0.35 + 0.65 * openness)
    furrow = 1 - 0.12 * exp(-((rest_x / 0.03) ** 2))
    return 0.46 * furrow, 0.16 * furrow, 0.15 * furrow, 1.0, 0.45, occlusion


@njit(cache=True, error_model="numpy")
def eyeball(nx, ny, nz, gaze, iris, iris_radius):  # type: ignore[no-untyped-def]
    """White, limbal ring, streaked iris and pupil, darker under the upper lid.

    nx, ny, nz: direction from the eye's centre.
    gaze: `(3,)` unit direction of the iris.
    iris: `(3,)` albedo; iris_radius: in radians.
    """
    along = nx * gaze[0] + ny * gaze[1] + nz * gaze[2]
    angle = acos(min(1.0, max(-1.0, along)))
    ux, uy = nx - along * gaze[0], ny - along * gaze[1]
    around = atan2(uy, ux)
    red = max(0.0, angle - 0.55) * 0.125
    r, g, b = 0.60, 0.55 - red, 0.52 - red
    if angle < iris_radius + 0.05:
        q = angle / iris_radius
        streaks = 0.75 + 0.175 * sin(around * 23 + 3 * sin(around * 5))
        streaks += 0.125 * sin(around * 41 + 1)
        k = (1.25 - 0.55 * q if q > 0.45 else 1.5) * streaks
        k *= 1 - 0.75 * clamp((q - 0.80) / 0.2)
        # Light that enters from above gathers in the lower half of the iris.
        k *= 1 + 0.9 * max(0.0, -uy) / (abs(ux) + abs(uy) + 1e-6) * q
        k *= 1 - clamp((0.40 - q) / 0.06)
        cover = clamp((iris_radius + 0.05 - angle) / 0.09)
        r += (iris[0] * k - r) * cover
        g += (iris[1] * k - g) * cover
        b += (iris[2] * k - b) * cover
    occlusion = 1 - 0.62 * clamp((ny - 0.02) / 0.38)
    occlusion *= 1 - 0.35 * clamp((-0.15 - ny) / 0.35)
    occlusion *= 1 - 0.4 * clamp((abs(nx) - 0.45) / 0.4)
    return r, g, b, 1.0, 0.08, 0.9 * occlusion


@njit(cache=True, error_model="numpy")
def folds(rest_x, rest_y, rest_z):  # type: ignore[no-untyped-def]
    """How far folds of cloth bend its normal to the right and up."""
    across = 0.10 * sin(rest_x * 7 + rest_y * 5 + 3 * sin(rest_y * 4 + rest_z * 3))
    return across, 0.06 * sin(rest_x * 11 - rest_y * 3)
