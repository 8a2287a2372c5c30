"""Colour of what every pixel shows: albedo, irradiance and highlights, by numba."""

from math import pi, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

from svp_diffusers.talkers.rendered.assets import (
    CLOTH,
    EYE,
    MOUTH,
    SKIN,
    SOCKET,
    TEETH,
    TONGUE,
    TORSO,
)
from svp_diffusers.talkers.rendered.illumination import irradiance, look_up, share_lit
from svp_diffusers.talkers.rendered.materials import (
    clamp,
    eyeball,
    folds,
    mouth_lining,
    sample_texture,
    teeth,
    tongue,
)

STRAND = 20
"""Number of the material of strands."""
NOTHING = 255
"""Number of the material where the background shows."""


class Surface(NamedTuple):
    """The mesh in a pose.

    `triangles` and `triangle_uvs` `(t, 3)`, `materials` `(t,)`, `positions`, `normals` and `rest`
    `(v, 3)`, `occlusion` `(v,)`, `uvs` `(u, 2)` texels, `texture` `(h, w, 4)`.
    """

    triangles: np.ndarray
    triangle_uvs: np.ndarray
    materials: np.ndarray
    positions: np.ndarray
    normals: np.ndarray
    rest: np.ndarray
    occlusion: np.ndarray
    uvs: np.ndarray
    texture: np.ndarray


class PosedStrands(NamedTuple):
    """All strands in a pose, point after point: `(n, 3)`, `occlusion` and `gloss` `(n,)`."""

    positions: np.ndarray
    tangents: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    occlusion: np.ndarray
    gloss: np.ndarray


class Lighting(NamedTuple):
    """A `Light`, and its shadow map with the `(3, 4)` transform into it."""

    harmonics: np.ndarray
    blurred: np.ndarray
    sharp: np.ndarray
    key_direction: np.ndarray
    key: np.ndarray
    softness: float
    rim_direction: np.ndarray
    rim: float
    ambient: float
    shadow_map: np.ndarray
    to_shadow_map: np.ndarray


class Appearance(NamedTuple):
    """What else the colours need: see `Person`.

    camera: `(3,)`; openness: of the mouth, 0..1; eye_centres and gaze: `(2, 3)`, image left first.
    """

    camera: np.ndarray
    skin: np.ndarray
    iris: np.ndarray
    iris_radius: float
    roughness: float
    gloss: float
    cloth: np.ndarray
    cloth_accent: np.ndarray
    stripes: float
    openness: float
    eye_centres: np.ndarray
    gaze: np.ndarray


class Shaded(NamedTuple):
    """What the shading gives: `(s, s, 3)` float32 each; `material` `(s, s)` uint8."""

    albedo: np.ndarray
    irradiance: np.ndarray
    highlight: np.ndarray
    material: np.ndarray


def make_shaded(size: int) -> Shaded:
    """Room for a picture of `size` pixels."""
    shape = (size, size, 3)
    return Shaded(
        albedo=np.zeros(shape, np.float32),
        irradiance=np.zeros(shape, np.float32),
        highlight=np.zeros(shape, np.float32),
        material=np.full((size, size), NOTHING, np.uint8),
    )


@njit(cache=True, error_model="numpy")
def shade(  # type: ignore[no-untyped-def]
    shown, barycentric, along, first_strand, surface, strands, lighting, look, shaded
):
    """Shade every pixel of the z-buffer; see `rasteriser` for the first four."""
    height, width = shown.shape
    for y in range(height):
        for x in range(width):
            code = shown[y, x]
            if code < 0:
                shaded.material[y, x] = NOTHING
                for c in range(3):
                    shaded.albedo[y, x, c] = 0
                    shaded.irradiance[y, x, c] = 0
                    shaded.highlight[y, x, c] = 0
            elif code >= first_strand:
                _shade_strand(
                    y, x, code - first_strand, along[y, x], strands, lighting, look, shaded
                )
            else:
                first, second = barycentric[y, x, 0], barycentric[y, x, 1]
                _shade_surface(y, x, code, first, second, surface, lighting, look, shaded)


@njit(cache=True, error_model="numpy")
def _blend(values, i0, i1, i2, w0, w1, w2):  # type: ignore[no-untyped-def]
    return (
        values[i0, 0] * w0 + values[i1, 0] * w1 + values[i2, 0] * w2,
        values[i0, 1] * w0 + values[i1, 1] * w1 + values[i2, 1] * w2,
        values[i0, 2] * w0 + values[i1, 2] * w1 + values[i2, 2] * w2,
    )


@njit(cache=True, error_model="numpy")
def _unit(x, y, z):  # type: ignore[no-untyped-def]
    scale = 1 / sqrt(x * x + y * y + z * z + 1e-12)
    return x * scale, y * scale, z * scale


@njit(cache=True, error_model="numpy")
def _shade_surface(  # type: ignore[no-untyped-def]
    y, x, triangle, w0, w1, surface, lighting, look, shaded
):
    w2 = 1 - w0 - w1
    i0, i1, i2 = (
        surface.triangles[triangle, 0],
        surface.triangles[triangle, 1],
        surface.triangles[triangle, 2],
    )
    material = surface.materials[triangle]
    px, py, pz = _blend(surface.positions, i0, i1, i2, w0, w1, w2)
    nx, ny, nz = _blend(surface.normals, i0, i1, i2, w0, w1, w2)
    rx, ry, rz = _blend(surface.rest, i0, i1, i2, w0, w1, w2)
    occlusion = surface.occlusion[i0] * w0 + surface.occlusion[i1] * w1 + surface.occlusion[i2] * w2
    vx, vy, vz = _unit(look.camera[0] - px, look.camera[1] - py, look.camera[2] - pz)
    red, green, blue = look.skin[0], look.skin[1], look.skin[2]
    gloss, roughness, reflectance = 0.7, look.roughness, 0.028
    if material == SKIN:
        j0, j1, j2 = (
            surface.triangle_uvs[triangle, 0],
            surface.triangle_uvs[triangle, 1],
            surface.triangle_uvs[triangle, 2],
        )
        u = surface.uvs[j0, 0] * w0 + surface.uvs[j1, 0] * w1 + surface.uvs[j2, 0] * w2
        v = surface.uvs[j0, 1] * w0 + surface.uvs[j1, 1] * w1 + surface.uvs[j2, 1] * w2
        red, green, blue, gloss = sample_texture(surface.texture, u, v)
    elif material == MOUTH:
        red, green, blue, gloss, roughness, occlusion = mouth_lining(rz, look.openness)
    elif material == SOCKET:
        red, green, blue = red * 0.75 + 0.06, green * 0.5 + 0.02, blue * 0.5 + 0.02
        gloss, occlusion = 1.0, max(occlusion, 0.30)
    elif material == TEETH:
        red, green, blue, gloss, roughness, occlusion = teeth(rx, ry, rz, look.openness)
        reflectance = 0.04
    elif material == TONGUE:
        red, green, blue, gloss, roughness, occlusion = tongue(rx, rz, look.openness)
    elif material == CLOTH:
        red, green, blue = look.cloth[0], look.cloth[1], look.cloth[2]
        if look.stripes > 0 and ry * look.stripes % 1 < 0.5:
            red, green, blue = look.cloth_accent[0], look.cloth_accent[1], look.cloth_accent[2]
        gloss, roughness = 0.15, 0.8
        across, up = folds(rx, ry, rz)
        nx, ny = nx + across, ny + up
    elif material == EYE:
        e = 1 if rx > 0 else 0
        nx, ny, nz = _unit(
            px - look.eye_centres[e, 0], py - look.eye_centres[e, 1], pz - look.eye_centres[e, 2]
        )
        red, green, blue, gloss, roughness, occlusion = eyeball(
            nx, ny, nz, look.gaze[e], look.iris, look.iris_radius
        )
        reflectance = 0.03
    nx, ny, nz = _unit(nx, ny, nz)
    bias = 0.09 if material == EYE else 0.06
    lit = share_lit(
        lighting.shadow_map, lighting.to_shadow_map, lighting.softness, bias, px, py, pz
    )
    lx, ly, lz = lighting.key_direction
    towards = nx * lx + ny * ly + nz * lz
    facing = max(0.05, nx * vx + ny * vy + nz * vz)
    # Light wraps around skin, red the furthest.
    wrap = 0.22 if material <= TORSO else (0.30 if material == EYE else 0.0)
    deep = material in (MOUTH, TEETH, TONGUE)
    rim = max(
        0.0,
        nx * lighting.rim_direction[0]
        + ny * lighting.rim_direction[1]
        + nz * lighting.rim_direction[2],
    )
    rim *= lighting.rim * occlusion
    for c in range(3):
        bend = wrap * (1.0 if c == 0 else (0.4 if c == 1 else 0.3))
        key = max(0.0, (towards + bend) / (1 + bend)) * lit * (occlusion if deep else 1.0)
        around = occlusion
        if material <= TORSO:
            # Occluded skin turns red, not grey.
            around = occlusion ** (0.75 if c == 0 else (1.08 if c == 1 else 1.12))
        shaded.irradiance[y, x, c] = (
            irradiance(lighting.harmonics, nx, ny, nz, c) * lighting.ambient * around
            + lighting.key[c] * key
            + rim
        )
    shaded.albedo[y, x, 0] = red
    shaded.albedo[y, x, 1] = green
    shaded.albedo[y, x, 2] = blue
    shaded.material[y, x] = material
    hx, hy, hz = _unit(lx + vx, ly + vy, lz + vz)
    peak = max(0.0, nx * hx + ny * hy + nz * hz)
    grazing = 1 - max(0.0, vx * hx + vy * hy + vz * hz)
    spread = roughness**4
    base = peak * peak * (spread - 1) + 1
    fresnel = reflectance + (1 - reflectance) * grazing**5
    facing_key = max(0.0, towards)
    visible = 0.9 / (4 * max(0.08, facing_key) * facing + 0.25)
    highlight = spread / (pi * base * base) * fresnel * visible * facing_key * lit
    highlight *= 0.6 * gloss * look.gloss
    mx, my, mz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    if material == EYE:
        highlight = 0.35 * min(highlight, 6.0)
        mirror = 0.06 * occlusion * lighting.ambient
        r, g, b = look_up(lighting.sharp, mx, my, mz)
    else:
        edge = max(1 - roughness, reflectance) - reflectance
        mirror = (reflectance + edge * (1 - facing) ** 5) * occlusion * occlusion
        mirror *= 0.7 * gloss * look.gloss * lighting.ambient
        r, g, b = look_up(lighting.blurred, mx, my, mz)
    shaded.highlight[y, x, 0] = highlight * lighting.key[0] + mirror * r
    shaded.highlight[y, x, 1] = highlight * lighting.key[1] + mirror * g
    shaded.highlight[y, x, 2] = highlight * lighting.key[2] + mirror * b


@njit(cache=True, error_model="numpy")
def _shade_strand(  # type: ignore[no-untyped-def]
    y, x, a, share, strands, lighting, look, shaded
):
    """Two lobes along the strand, one of the light's and one of the hair's colour (Kajiya-Kay)."""
    b = a + 1
    px = strands.positions[a, 0] * (1 - share) + strands.positions[b, 0] * share
    py = strands.positions[a, 1] * (1 - share) + strands.positions[b, 1] * share
    pz = strands.positions[a, 2] * (1 - share) + strands.positions[b, 2] * share
    nx, ny, nz = strands.normals[a]
    tx, ty, tz = strands.tangents[a]
    occlusion = strands.occlusion[a] * (1 - share) + strands.occlusion[b] * share
    vx, vy, vz = _unit(look.camera[0] - px, look.camera[1] - py, look.camera[2] - pz)
    lit = share_lit(
        lighting.shadow_map, lighting.to_shadow_map, lighting.softness, 0.10, px, py, pz
    )
    lx, ly, lz = lighting.key_direction
    along_light = tx * lx + ty * ly + tz * lz
    across_light = sqrt(max(0.0, 1 - along_light * along_light))
    towards = nx * lx + ny * ly + nz * lz
    key = across_light * clamp((towards + 0.35) / 1.35) * lit
    along_view = tx * vx + ty * vy + tz * vz
    across_view = sqrt(max(0.0, 1 - along_view * along_view))
    lobe = max(0.0, across_light * across_view - along_light * along_view)
    seen = lit * clamp(towards + 0.5) * strands.gloss[a]
    # The 14th and 60th power.
    squared = lobe * lobe
    fourth = squared * squared
    eighth = fourth * fourth
    coloured = eighth * fourth * squared * 0.44 * seen
    plain = (eighth * eighth * eighth) ** 2 * eighth * fourth * 0.035 * seen
    rx, ry, rz = lighting.rim_direction
    along_rim = tx * rx + ty * ry + tz * rz
    rim = max(0.0, nx * rx + ny * ry + nz * rz + 0.5) * sqrt(max(0.0, 1 - along_rim * along_rim))
    rim *= 0.7 * lighting.rim
    sheen = 0.035 * occlusion * lighting.ambient * across_view
    for c in range(3):
        albedo = strands.colours[a, c]
        around = irradiance(lighting.harmonics, nx, ny, nz, c)
        shaded.albedo[y, x, c] = albedo
        shaded.irradiance[y, x, c] = (
            around * lighting.ambient * occlusion + lighting.key[c] * key * occlusion + rim
        )
        shaded.highlight[y, x, c] = (plain + coloured * albedo) * lighting.key[
            c
        ] * occlusion + sheen * around
    shaded.material[y, x] = STRAND
