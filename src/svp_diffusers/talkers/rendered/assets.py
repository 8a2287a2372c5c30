"""The vendored head: mesh, shape targets and masks of MakeHuman (CC0), and the places around it.

`assets/NOTICE` says where they come from; `tools/make_rendered_assets.py` makes them. Lengths are
decimetres in MakeHuman's coordinates: x to the subject's left, y up, z to the viewer.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.rendered.posing import add_displacements
from svp_diffusers.talkers.rendered.rasteriser import rasterise_triangles

FOLDER = Path(__file__).parent / "assets"

SKIN, TORSO, MOUTH, SOCKET, TEETH, TONGUE, LASH, CLOTH, EYE = range(9)
"""Materials of the mesh: `MOUTH` is the bag behind the lips, `LASH` the strips that lashes lie on,
`CLOTH` a close-fitting suit."""

_GAINS = {
    "browDown": 1.4,
    "browInnerUp": 1.4,
    "browOuterUp": 1.3,
    "cheekSquint": 1.3,
    "eyeSquint": 1.4,
    "eyeWide": 1.3,
    "mouthDimple": 1.4,
    "mouthFrown": 1.5,
    "mouthLowerDown": 1.3,
    "mouthPucker": 1.8,
    "mouthStretch": 1.4,
    "mouthUpperUp": 1.3,
    "noseSneer": 1.4,
}
"""Factors of targets that move a face less than people move theirs: by what a face landmarker reads
of them, as far as the face still looks like one (our choice)."""

_LOG_RADIANCE = (-8.0, 14.0)
"""The panoramas' JPEGs hold the base-2 logarithm of the radiance: least value and range."""


@dataclass(frozen=True)
class HeadModel:
    """The head at rest and how it can change.

    Args:
        vertices: `(v, 3)` float32 positions.
        quads: `(q, 4)` int32 vertices of the faces, counter-clockwise.
        materials: `(q,)` int32, one of the constants above.
        quad_uvs: `(q, 4)` int32 corners in `uvs`.
        uvs: `(u, 2)` float32 places in the head's texture, in texels.
        target_names: the 52 of `ARKIT_BLENDSHAPES` first, then those of the shape.
        targets: `(t, v, 3)` float16 displacements.
        occlusion: `(v,)` float32, 0 (no light from around reaches it) to 1.
        lips, lids, ears: masks of the texture, float32 0..1.
    """

    vertices: np.ndarray
    quads: np.ndarray
    materials: np.ndarray
    quad_uvs: np.ndarray
    uvs: np.ndarray
    target_names: tuple[str, ...]
    targets: np.ndarray
    occlusion: np.ndarray
    lips: np.ndarray
    lids: np.ndarray
    ears: np.ndarray

    @cached_property
    def triangles(self) -> np.ndarray:
        """`(2 q, 3)` int32: the quads' first halves, then their second halves."""
        return _halve(self.quads)

    @cached_property
    def triangle_uvs(self) -> np.ndarray:
        """`(2 q, 3)` int32."""
        return _halve(self.quad_uvs)

    @cached_property
    def triangle_materials(self) -> np.ndarray:
        """`(2 q,)` int32."""
        return np.tile(self.materials, 2)

    def vertices_of(self, *materials: int) -> np.ndarray:
        """Numbers of the vertices that any of the materials uses."""
        return np.unique(self.quads[np.isin(self.materials, materials)])

    @cached_property
    def left_eye(self) -> np.ndarray:
        """Vertices of the subject's left eyeball."""
        eyes = self.vertices_of(EYE)
        return eyes[self.vertices[eyes, 0] > 0]

    @cached_property
    def right_eye(self) -> np.ndarray:
        """Vertices of the subject's right eyeball."""
        eyes = self.vertices_of(EYE)
        return eyes[self.vertices[eyes, 0] < 0]

    @cached_property
    def upper_teeth(self) -> np.ndarray:
        """Vertices of the upper teeth and their gums."""
        teeth = self.vertices_of(TEETH)
        dropped = self.expressions[ARKIT_BLENDSHAPES.index("jawOpen"), teeth, 1]
        return teeth[dropped > -0.01]

    @cached_property
    def expressions(self) -> np.ndarray:
        """`(52, v, 3)` float32 displacements of the ARKit coefficients."""
        bases = [name.removesuffix("Left").removesuffix("Right") for name in ARKIT_BLENDSHAPES]
        gains = np.array([_GAINS.get(base, 1.0) for base in bases], np.float32)
        return gains[:, None, None] * self.targets[: len(gains)].astype(np.float32)

    def shape(self, weights: Sequence[float]) -> np.ndarray:
        """Vertices `(v, 3)` float32 of a person, with the eyes at the height and depth of rest.

        weights: of the targets without the 52 of the expression.
        """
        amounts = np.array(weights, np.float32)
        used = np.flatnonzero(amounts)
        displacements = self.targets[len(ARKIT_BLENDSHAPES) :][used].astype(np.float32)
        shaped = np.empty_like(self.vertices)
        add_displacements(self.vertices, displacements, amounts[used], shaped)
        # A taller body lifts the head; hair, light and shadows expect it where it is at rest.
        eyes = self.vertices_of(EYE)
        lift = shaped[eyes].mean(0) - self.vertices[eyes].mean(0)
        shaped[:, 1:] -= lift[1:]
        # The teeth's edges show when the lip rises, and the tongue does not fill an open mouth.
        shaped[self.upper_teeth, 1] -= 0.065
        shaped[self.vertices_of(TONGUE), 1] -= 0.05
        return shaped

    @cached_property
    def head_weights(self) -> np.ndarray:
        """`(v,)` float32: 1 turns with the head, 0 stays with the shoulders. Our own function."""
        x, y, z = self.vertices.T
        back = _smoothstep((0.6 - z) / 0.7)
        height = _smoothstep((y - 5.3) / (1.0 + 0.9 * back))
        return (height * _smoothstep((1.5 - np.abs(x)) / 0.6)).astype(np.float32)

    @property
    def texture_shape(self) -> tuple[int, int]:
        """Height and width of the head's texture."""
        height, width = self.lips.shape
        return height, width

    @cached_property
    def coloured_occlusion(self) -> np.ndarray:
        """`(v, 3)` float32 for red, green and blue: occluded skin turns red, not grey."""
        occlusion = np.repeat(self.occlusion[:, None], 3, 1)
        skin = self.vertices_of(SKIN, TORSO)
        occlusion[skin] **= np.array([0.75, 1.08, 1.12], np.float32)
        sockets = self.vertices_of(SOCKET)
        occlusion[sockets] = np.maximum(occlusion[sockets], 0.30)
        return occlusion

    @cached_property
    def texture_positions(self) -> np.ndarray:
        """`(h, w, 3)` float32: the rest position of every texel, the nearest outside the island."""
        height, width = self.texture_shape
        screen = np.ones((len(self.uvs), 3), np.float32)
        screen[:, :2] = self.uvs
        of_skin = self.triangle_materials == SKIN
        shown = np.full((height, width), -1, np.int32)
        barycentric = np.zeros((height, width, 2), np.float32)
        rasterise_triangles(
            screen,
            self.triangle_uvs[of_skin],
            np.ones(of_skin.sum(), np.bool_),
            1.0,
            np.zeros((0, 4), np.float32),
            np.zeros((height, width), np.float32),
            shown,
            barycentric,
        )
        inside = shown >= 0
        weights = np.concatenate([barycentric, 1 - barycentric.sum(2, keepdims=True)], 2)[inside]
        corners = self.vertices[self.triangles[of_skin][shown[inside]]]
        positions = np.zeros((height, width, 3), np.float32)
        positions[inside] = (corners * weights[..., None]).sum(1)
        rows, columns = distance_transform_edt(~inside, return_distances=False, return_indices=True)
        return np.ascontiguousarray(positions[rows, columns])


@lru_cache(maxsize=1)
def load_head_model() -> HeadModel:
    """The head that comes with the package."""
    with np.load(FOLDER / "head.npz") as pack:
        return HeadModel(
            vertices=pack["vertices"],
            quads=pack["quads"].astype(np.int32),
            materials=pack["materials"].astype(np.int32),
            quad_uvs=pack["quad_uvs"].astype(np.int32),
            uvs=pack["uvs"],
            target_names=tuple(pack["target_names"].tolist()),
            targets=pack["targets"],
            occlusion=pack["occlusion"].astype(np.float32) / 255,
            lips=pack["lips"].astype(np.float32) / 255,
            lids=pack["lids"].astype(np.float32) / 255,
            ears=pack["ears"].astype(np.float32) / 255,
        )


@lru_cache(maxsize=1)
def load_places() -> Mapping[str, np.ndarray]:
    """Panoramas by name, `(256, 512, 3)` float32 radiance; the middle column lies behind."""
    with np.load(FOLDER / "places.npz") as pack:
        return {name: _decode_radiance(pack[name].tobytes()) for name in pack.files}


def _decode_radiance(jpeg: bytes) -> np.ndarray:
    levels = np.asarray(Image.open(io.BytesIO(jpeg)), dtype=np.float32) / 255
    least, extent = _LOG_RADIANCE
    radiance: np.ndarray = np.exp2(least + extent * levels)
    return radiance


def _halve(quads: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def _smoothstep(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
