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
    `(v, 3)`, `occlusion` `(v, 3)`, `uvs` `(u, 2)` texels, `texture` `(h, w, 4)`.
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
def shade_surface(  # type: ignore[no-untyped-def]
    shown, barycentric, first_strand, surface, lighting, look, shaded
):
    """Shade the pixels that show a triangle, and empty those that show nothing.

    shown, barycentric: of the z-buffer, see `rasteriser`; first_strand: least code of a strand.
    """
    lx, ly, lz = (
        lighting.key_direction[0],
        lighting.key_direction[1],
        lighting.key_direction[2],
    )
    for y in range(shown.shape[0]):
        for x in range(shown.shape[1]):
            triangle = shown[y, x]
            if triangle >= first_strand:
                continue
            if triangle < 0:
                shaded.material[y, x] = NOTHING
                continue
            w0, w1 = barycentric[y, x, 0], barycentric[y, x, 1]
            w2 = np.float32(1) - w0 - w1
            i0 = surface.triangles[triangle, 0]
            i1 = surface.triangles[triangle, 1]
            i2 = surface.triangles[triangle, 2]
            material = surface.materials[triangle]
            px, py, pz = _blend(surface.positions, i0, i1, i2, w0, w1, w2)
            nx, ny, nz = _blend(surface.normals, i0, i1, i2, w0, w1, w2)
            near0, near1, near2 = _blend(surface.occlusion, i0, i1, i2, w0, w1, w2)
            vx, vy, vz = _unit(look.camera[0] - px, look.camera[1] - py, look.camera[2] - pz)
            red, green, blue = look.skin[0], look.skin[1], look.skin[2]
            gloss, roughness, reflectance, bias, wrap = 0.7, look.roughness, 0.028, 0.06, 0.0
            sheltered = 1.0
            if material == SKIN:
                j0 = surface.triangle_uvs[triangle, 0]
                j1 = surface.triangle_uvs[triangle, 1]
                j2 = surface.triangle_uvs[triangle, 2]
                u = surface.uvs[j0, 0] * w0 + surface.uvs[j1, 0] * w1 + surface.uvs[j2, 0] * w2
                v = surface.uvs[j0, 1] * w0 + surface.uvs[j1, 1] * w1 + surface.uvs[j2, 1] * w2
                red, green, blue, gloss = sample_texture(surface.texture, u, v)
                wrap = 0.22
            elif material == TORSO:
                wrap = 0.22
            elif material == SOCKET:
                red, green, blue = red * 0.75 + 0.06, green * 0.5 + 0.02, blue * 0.5 + 0.02
                gloss = 1.0
            else:
                rx, ry, rz = _blend(surface.rest, i0, i1, i2, w0, w1, w2)
                if material == CLOTH:
                    red, green, blue = look.cloth[0], look.cloth[1], look.cloth[2]
                    if look.stripes > 0 and ry * look.stripes % 1 < 0.5:
                        red, green, blue = (
                            look.cloth_accent[0],
                            look.cloth_accent[1],
                            look.cloth_accent[2],
                        )
                    gloss, roughness, bias = 0.15, 0.8, 0.12
                    across, up = folds(rx, ry, rz)
                    nx, ny = nx + across, ny + up
                elif material == EYE:
                    e = 1 if rx > 0 else 0
                    nx, ny, nz = _unit(
                        px - look.eye_centres[e, 0],
                        py - look.eye_centres[e, 1],
                        pz - look.eye_centres[e, 2],
                    )
                    red, green, blue, gloss, roughness, near = eyeball(
                        nx, ny, nz, look.gaze[e], look.iris, look.iris_radius
                    )
                    near0 = near1 = near2 = near
                    reflectance, bias, wrap = 0.03, 0.09, 0.30
                else:
                    if material == MOUTH:
                        red, green, blue, gloss, roughness, near = mouth_lining(rz, look.openness)
                    elif material == TEETH:
                        red, green, blue, gloss, roughness, near = teeth(rx, ry, rz, look.openness)
                        # The lip's edge would shade all of the upper teeth.
                        reflectance, bias = 0.04, 0.25
                    else:
                        red, green, blue, gloss, roughness, near = tongue(rx, rz, look.openness)
                    near0 = near1 = near2 = near
                    sheltered = near
            nx, ny, nz = _unit(nx, ny, nz)
            lit = share_lit(
                lighting.shadow_map, lighting.to_shadow_map, lighting.softness, bias, px, py, pz
            )
            towards = nx * lx + ny * ly + nz * lz
            facing = max(0.05, nx * vx + ny * vy + nz * vz)
            rim = 0.0
            if lighting.rim > 0:
                rim = (
                    nx * lighting.rim_direction[0]
                    + ny * lighting.rim_direction[1]
                    + nz * lighting.rim_direction[2]
                )
                rim = max(0.0, rim) * lighting.rim * near1
            # Light wraps around skin, red the furthest.
            key0 = max(0.0, (towards + wrap) / (1 + wrap)) * lit * sheltered
            key1 = max(0.0, (towards + 0.4 * wrap) / (1 + 0.4 * wrap)) * lit * sheltered
            key2 = max(0.0, (towards + 0.3 * wrap) / (1 + 0.3 * wrap)) * lit * sheltered
            r, g, b = irradiance(lighting.harmonics, nx, ny, nz)
            shaded.irradiance[y, x, 0] = r * lighting.ambient * near0 + lighting.key[0] * key0 + rim
            shaded.irradiance[y, x, 1] = g * lighting.ambient * near1 + lighting.key[1] * key1 + rim
            shaded.irradiance[y, x, 2] = b * lighting.ambient * near2 + lighting.key[2] * key2 + rim
            shaded.albedo[y, x, 0] = red
            shaded.albedo[y, x, 1] = green
            shaded.albedo[y, x, 2] = blue
            shaded.material[y, x] = material
            hx, hy, hz = _unit(lx + vx, ly + vy, lz + vz)
            highlight = 0.0
            if towards > 0 and lit > 0:
                peak = max(0.0, nx * hx + ny * hy + nz * hz)
                spread = roughness * roughness * roughness * roughness
                base = peak * peak * (spread - 1) + 1
                fresnel = _fresnel(reflectance, 1.0, vx * hx + vy * hy + vz * hz)
                visible = 0.9 / (4 * max(0.08, towards) * facing + 0.25)
                highlight = spread / (pi * base * base) * fresnel * visible * towards * lit
                highlight *= 0.6 * gloss * look.gloss
            mx, my, mz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
            if material == EYE:
                highlight = 0.35 * min(highlight, 6.0)
                mirror = 0.06 * near1 * lighting.ambient
                r, g, b = look_up(lighting.sharp, mx, my, mz)
            else:
                mirror = _fresnel(reflectance, max(1 - roughness, reflectance), facing)
                mirror *= near1 * near1 * 0.7 * gloss * look.gloss * lighting.ambient
                r, g, b = look_up(lighting.blurred, mx, my, mz)
            shaded.highlight[y, x, 0] = highlight * lighting.key[0] + mirror * r
            shaded.highlight[y, x, 1] = highlight * lighting.key[1] + mirror * g
            shaded.highlight[y, x, 2] = highlight * lighting.key[2] + mirror * b


@njit(cache=True, error_model="numpy")
def _fresnel(straight, grazing, cosine):  # type: ignore[no-untyped-def]
    """Schlick's share of the light that is reflected."""
    edge = 1 - max(0.0, cosine)
    squared = edge * edge
    return straight + (grazing - straight) * squared * squared * edge


@njit(cache=True, error_model="numpy")
def shade_strands(  # type: ignore[no-untyped-def]
    shown, along, first_strand, strands, lighting, camera, shaded
):
    """Shade the pixels that show a strand: one lobe of the light's colour, one of the hair's.

    The model is Kajiya and Kay's (SIGGRAPH 1989).
    """
    lx, ly, lz = (
        lighting.key_direction[0],
        lighting.key_direction[1],
        lighting.key_direction[2],
    )
    rx, ry, rz = (
        lighting.rim_direction[0],
        lighting.rim_direction[1],
        lighting.rim_direction[2],
    )
    for y in range(shown.shape[0]):
        for x in range(shown.shape[1]):
            a = shown[y, x] - first_strand
            if a < 0:
                continue
            share = along[y, x]
            px, py, pz = _blend_two(strands.positions, a, share)
            nx, ny, nz = strands.normals[a, 0], strands.normals[a, 1], strands.normals[a, 2]
            tx, ty, tz = strands.tangents[a, 0], strands.tangents[a, 1], strands.tangents[a, 2]
            near = strands.occlusion[a] * (1 - share) + strands.occlusion[a + 1] * share
            vx, vy, vz = _unit(camera[0] - px, camera[1] - py, camera[2] - pz)
            lit = share_lit(
                lighting.shadow_map, lighting.to_shadow_map, lighting.softness, 0.10, px, py, pz
            )
            along_light = tx * lx + ty * ly + tz * lz
            across_light = sqrt(max(0.0, 1 - along_light * along_light))
            towards = nx * lx + ny * ly + nz * lz
            key = across_light * clamp((towards + 0.35) / 1.35) * lit
            along_view = tx * vx + ty * vy + tz * vz
            across_view = sqrt(max(0.0, 1 - along_view * along_view))
            lobe = max(0.0, across_light * across_view - along_light * along_view)
            seen = lit * clamp(towards + 0.5) * strands.gloss[a]
            # The 14th and the 60th power.
            second = lobe * lobe
            fourth = second * second
            eighth = fourth * fourth
            coloured = eighth * fourth * second * 0.44 * seen
            plain = (eighth * eighth * eighth) ** 2 * eighth * fourth * 0.035 * seen
            rim = 0.0
            if lighting.rim > 0:
                along_rim = tx * rx + ty * ry + tz * rz
                rim = max(0.0, nx * rx + ny * ry + nz * rz + 0.5)
                rim *= sqrt(max(0.0, 1 - along_rim * along_rim)) * 0.7 * lighting.rim
            sheen = 0.035 * near * lighting.ambient * across_view
            around = irradiance(lighting.harmonics, nx, ny, nz)
            for c in range(3):
                albedo = strands.colours[a, c]
                shaded.albedo[y, x, c] = albedo
                shaded.irradiance[y, x, c] = (
                    around[c] * lighting.ambient * near + lighting.key[c] * key * near + rim
                )
                direct = (plain + coloured * albedo) * lighting.key[c] * near
                shaded.highlight[y, x, c] = direct + sheen * around[c]
            shaded.material[y, x] = STRAND


@njit(cache=True, error_model="numpy")
def _blend(values, i0, i1, i2, w0, w1, w2):  # type: ignore[no-untyped-def]
    return (
        values[i0, 0] * w0 + values[i1, 0] * w1 + values[i2, 0] * w2,
        values[i0, 1] * w0 + values[i1, 1] * w1 + values[i2, 1] * w2,
        values[i0, 2] * w0 + values[i1, 2] * w1 + values[i2, 2] * w2,
    )


@njit(cache=True, error_model="numpy")
def _blend_two(values, a, share):  # type: ignore[no-untyped-def]
    return (
        values[a, 0] * (1 - share) + values[a + 1, 0] * share,
        values[a, 1] * (1 - share) + values[a + 1, 1] * share,
        values[a, 2] * (1 - share) + values[a + 1, 2] * share,
    )


@njit(cache=True, error_model="numpy")
def _unit(x, y, z):  # type: ignore[no-untyped-def]
    scale = 1 / sqrt(x * x + y * y + z * z + 1e-12)
    return x * scale, y * scale, z * scale
