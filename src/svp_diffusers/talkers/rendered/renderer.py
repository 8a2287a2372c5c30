"""The renderer: one person in one shot, prepared once, then a picture for every rig and pose."""

from collections.abc import Mapping

import numpy as np

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.rendered.assets import CLOTH, LASH, TORSO, load_head_model, load_places
from svp_diffusers.talkers.rendered.background import paint_background
from svp_diffusers.talkers.rendered.camera import Framing, Projection
from svp_diffusers.talkers.rendered.clothes import cut_clothes
from svp_diffusers.talkers.rendered.filters import gaussian_kernel, reduce_picture, scatter
from svp_diffusers.talkers.rendered.finish import Darkroom
from svp_diffusers.talkers.rendered.growth import grow_strands
from svp_diffusers.talkers.rendered.normals import compute_normals
from svp_diffusers.talkers.rendered.posed_strands import StrandRig
from svp_diffusers.talkers.rendered.posing import (
    add_displacements,
    pose_vertices,
    project_points,
    transform_points,
)
from svp_diffusers.talkers.rendered.rasteriser import rasterise_triangles
from svp_diffusers.talkers.rendered.shading import (
    NOTHING,
    Appearance,
    Lighting,
    Shaded,
    Surface,
    make_shaded,
    shade_strands,
    shade_surface,
)
from svp_diffusers.talkers.rendered.shot import RenderedIdentity
from svp_diffusers.talkers.rendered.skin import paint_skin

_SAMPLES = 2
"""A pixel is the mean of so many samples squared."""

_CLOTH_NEARER = 1.004
"""Cloth is drawn half a centimetre nearer than it is, so that no skin shows through."""

_SCATTER = (0.050, 0.022, 0.014)
"""How far red, green and blue light spreads in skin: standard deviations in dm."""

_SHADOW_MAP, _SHADOW_EXTENT = 128, 4.6
"""Texels of the shadow map, and the dm that it covers."""
_SHADOW_MIDDLE = np.array([0.0, 7.2, 0.4])

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_INDEX = {name: number for number, name in enumerate(ARKIT_BLENDSHAPES)}


class Renderer:
    """Makes pictures of one person in one shot.

    Args:
        identity: who, and how they are shown.
        size: height and width of the pictures in pixels.
    """

    def __init__(self, identity: RenderedIdentity, size: int) -> None:
        self._identity = identity
        self._size = size
        self._samples = size * _SAMPLES
        self._head = head = load_head_model()
        person, shot = identity.person, identity.shot
        self._vertices = head.shape(person.shape_weights)
        self._framing = Framing(head, self._vertices, shot.camera)
        self._strands = StrandRig(grow_strands(person, head, self._vertices))
        self._moved = np.empty_like(self._vertices)
        self._posed = np.empty_like(self._vertices)
        self._screen = np.empty_like(self._vertices)
        visible = head.triangle_materials != LASH
        self._triangles = np.ascontiguousarray(head.triangles[visible])
        self._triangle_uvs = np.ascontiguousarray(head.triangle_uvs[visible])
        self._materials = np.ascontiguousarray(head.triangle_materials[visible])
        self._two_sided = self._materials == CLOTH
        self._smooth = np.ascontiguousarray(head.quads[head.materials != LASH])
        self._cut = cut_clothes(person, head.vertices)
        self._texture = paint_skin(person, head)
        self._to_shadow_map = _look_from(shot.light.key_direction)
        self._shaded = make_shaded(self._samples)
        self._background = paint_background(shot.background, load_places(), self._samples)
        self._darkroom = Darkroom(shot.finish, size)
        blur = shot.finish.blur * size / 128 * _SAMPLES
        self._lens = gaussian_kernel(blur, _SAMPLES)
        self._exposure = self._measure_exposure()

    def draw(self, rig: Mapping[str, float], pose: HeadPose) -> np.ndarray:
        """One picture, `(size, size, 3)` uint8 RGB; ARKit coefficients left out are 0."""
        projection = self._framing.project(pose)
        coefficients = np.array([rig.get(name, 0.0) for name in ARKIT_BLENDSHAPES], np.float32)
        shaded = self._shade(coefficients, projection)
        self._spread_light(shaded, projection)
        radiance = self._exposure * (shaded.albedo * shaded.irradiance + shaded.highlight)
        seen = (shaded.material != NOTHING)[..., None]
        radiance = np.where(seen, radiance, self._background)
        return self._darkroom.develop(reduce_picture(radiance, self._lens, _SAMPLES))

    def locate_head_keypoints(self, pose: HeadPose) -> np.ndarray:
        """The 8 head keypoints, `(8, 2)`, x then y, as fractions of the picture."""
        return self._framing.locate_keypoints(pose)

    def _shade(self, coefficients: np.ndarray, projection: Projection) -> Shaded:
        head, size = self._head, self._samples
        add_displacements(self._vertices, head.expressions, coefficients, self._moved)
        pose_vertices(
            self._moved, head.head_weights, projection.rotation, projection.pivot, self._posed
        )
        screen = projection.screen(size)
        project_points(self._posed, screen, self._screen)
        nearest = np.zeros((size, size), np.float32)
        shown = np.full((size, size), -1, np.int32)
        barycentric = np.empty((size, size, 2), np.float32)
        along = np.empty((size, size), np.float32)
        rasterise_triangles(
            self._screen,
            self._triangles,
            self._two_sided,
            _CLOTH_NEARER,
            self._cut,
            nearest,
            shown,
            barycentric,
        )
        self._strands.pose(self._moved - self._vertices, projection, size)
        self._strands.rasterise(nearest, shown, along, len(self._triangles))
        surface = Surface(
            triangles=self._triangles,
            triangle_uvs=self._triangle_uvs,
            materials=self._materials,
            positions=self._posed,
            normals=compute_normals(self._posed, self._smooth),
            rest=head.vertices,
            occlusion=head.coloured_occlusion,
            uvs=head.uvs,
            texture=self._texture,
        )
        lighting = self._light()
        appearance = self._appear(coefficients, projection)
        first_strand = len(self._triangles)
        shade_surface(shown, barycentric, first_strand, surface, lighting, appearance, self._shaded)
        shade_strands(
            shown,
            along,
            first_strand,
            self._strands.posed,
            lighting,
            appearance.camera,
            self._shaded,
        )
        return self._shaded

    def _light(self) -> Lighting:
        """The light, and the shadow map of the head as it is posed now."""
        light = self._identity.shot.light
        depths = np.zeros((_SHADOW_MAP, _SHADOW_MAP), np.float32)
        mapped = np.empty_like(self._posed)
        transform_points(self._posed, self._to_shadow_map, mapped)
        rasterise_triangles(
            mapped,
            self._triangles,
            np.ones(len(self._triangles), np.bool_),
            1.0,
            np.zeros((0, 4), np.float32),
            depths,
            np.empty(depths.shape, np.int32),
            np.empty((*depths.shape, 2), np.float32),
        )
        self._strands.throw_shadows(self._to_shadow_map, depths)
        return Lighting(
            harmonics=light.harmonics,
            blurred=light.blurred,
            sharp=light.sharp,
            key_direction=light.key_direction,
            key=light.key,
            softness=light.softness,
            rim_direction=light.rim_direction,
            rim=light.rim,
            ambient=light.ambient,
            shadow_map=depths,
            to_shadow_map=self._to_shadow_map,
        )

    def _appear(self, coefficients: np.ndarray, projection: Projection) -> Appearance:
        person = self._identity.person
        centres = (self._framing.eye_centres - projection.pivot) @ projection.rotation.T
        gaze = _direct_gaze(coefficients) @ projection.rotation.T
        return Appearance(
            camera=projection.eye,
            skin=np.array(person.skin, np.float32),
            iris=np.array(person.iris, np.float32),
            iris_radius=person.iris_radius,
            roughness=person.roughness,
            gloss=person.gloss,
            cloth=np.array(person.cloth, np.float32),
            cloth_accent=np.array(person.cloth_accent, np.float32),
            stripes=person.stripes,
            openness=_open_mouth(coefficients),
            eye_centres=(centres + projection.pivot).astype(np.float32),
            gaze=gaze.astype(np.float32),
        )

    def _spread_light(self, shaded: Shaded, projection: Projection) -> None:
        """Let the light on skin spread in it."""
        skin = (shaded.material <= TORSO).astype(np.float32)
        pixels_a_dm = projection.focal * self._samples / (projection.eye[2] - 1.3)
        for channel, spread in enumerate(_SCATTER):
            sigma = spread * pixels_a_dm
            if sigma > 0.35:
                scatter(shaded.irradiance, skin, gaussian_kernel(sigma), channel)

    def _measure_exposure(self) -> float:
        """From the face at rest: a third by its colour, so that dark skin stays dark."""
        shaded = self._shade(np.zeros(len(_INDEX), np.float32), self._framing.project(HeadPose()))
        skin = shaded.material == 0
        radiance = (shaded.albedo * shaded.irradiance + shaded.highlight)[skin] @ _LUMINANCE
        light = shaded.irradiance[skin]
        wanted = 0.19 * (self._identity.shot.finish.exposure / 0.42) ** 2.2
        return float(wanted / (0.35 * radiance.mean() + 0.65 * 0.12 * light.mean() + 1e-6))


def _look_from(direction: np.ndarray) -> np.ndarray:
    """The `(3, 4)` transform from space to the shadow map of light from that direction."""
    across = np.cross([0.0, 1.0, 0.0], direction)
    across = across / np.linalg.norm(across)
    up = np.cross(direction, across)
    scale = _SHADOW_MAP / _SHADOW_EXTENT
    middle = _SHADOW_MAP / 2
    rows = (
        (*(scale * across), middle - scale * across @ _SHADOW_MIDDLE),
        (*(-scale * up), middle + scale * up @ _SHADOW_MIDDLE),
        # Far enough from 0, which stands for nothing at all.
        (*direction, 50.0 - direction @ _SHADOW_MIDDLE),
    )
    return np.array(rows, dtype=np.float32)


def _direct_gaze(coefficients: np.ndarray) -> np.ndarray:
    """Unit directions of the irises before the head is turned, `(2, 3)`, image left first."""
    gaze = []
    for side, sign in (("Right", -1), ("Left", 1)):
        out, inwards, up, down = (
            float(coefficients[_INDEX[f"eyeLook{way}{side}"]])
            for way in ("Out", "In", "Up", "Down")
        )
        across, rise = sign * 0.42 * (out - inwards), 0.22 * up - 0.32 * down
        # Eyes that look at the camera converge a little.
        direction = np.array(
            [
                np.sin(across) * np.cos(rise) - 0.02 * sign,
                np.sin(rise),
                np.cos(across) * np.cos(rise),
            ]
        )
        gaze.append(direction / np.linalg.norm(direction))
    return np.stack(gaze)


def _open_mouth(coefficients: np.ndarray) -> float:
    """How much light enters the mouth, 0..1."""

    def both(name: str) -> float:
        return float(coefficients[_INDEX[f"{name}Left"]] + coefficients[_INDEX[f"{name}Right"]]) / 2

    jaw = float(coefficients[_INDEX["jawOpen"]])
    lips = max(both("mouthLowerDown"), both("mouthUpperUp"))
    funnel = float(coefficients[_INDEX["mouthFunnel"]])
    return min(1.0, 1.6 * jaw + 0.5 * lips + 0.4 * funnel + 0.25 * both("mouthSmile"))
