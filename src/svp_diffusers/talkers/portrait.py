"""A portrait, from who it is, what the face does and where the head is."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.eyes import draw_brows, draw_eyes, draw_glasses
from svp_diffusers.talkers.geometry import HeadPose, HeadProjection
from svp_diffusers.talkers.hair import draw_back_hair, draw_front_hair
from svp_diffusers.talkers.head import draw_ears, draw_face, draw_nose, outline_head
from svp_diffusers.talkers.identity import Identity
from svp_diffusers.talkers.mouth import draw_mouth, shape_mouth
from svp_diffusers.talkers.scene import draw_background, draw_body
from svp_diffusers.talkers.svg import Drawing, rasterise

UNDRAWN_COEFFICIENTS = ("jawForward", "tongueOut")
"""ARKit coefficients that the portraits do not show: always 0 in the clips."""

_REST = dict.fromkeys(ARKIT_BLENDSHAPES, 0.0)


def write_portrait_svg(
    identity: Identity, rig: Mapping[str, float] | None = None, pose: HeadPose | None = None
) -> str:
    """Write a portrait as an SVG document; the arguments are those of `draw_portrait`."""
    coefficients = {**_REST, **(rig or {})}
    projection = HeadProjection(identity, pose or HeadPose())
    drawing = Drawing()
    draw_background(drawing, identity)
    drawing.open_transform(projection.to_canvas)
    draw_back_hair(drawing, projection)
    drawing.close_group()
    draw_body(drawing, projection)
    drawing.open_transform(projection.to_canvas)
    draw_ears(drawing, projection)
    outline = outline_head(projection, coefficients)
    mouth = shape_mouth(identity, coefficients)
    draw_face(drawing, projection, coefficients, outline, mouth)
    draw_nose(drawing, projection, coefficients)
    draw_mouth(drawing, projection, coefficients, mouth)
    draw_eyes(drawing, projection, coefficients)
    draw_brows(drawing, projection, coefficients)
    draw_front_hair(drawing, projection)
    draw_glasses(drawing, projection)
    drawing.close_group()
    return drawing.write()


def draw_frame(
    identity: Identity, rig: Mapping[str, float], pose: HeadPose, size: int = 128
) -> np.ndarray:
    """Draw one frame, `(size, size, 3)` uint8 RGB; the arguments are those of `draw_portrait`."""
    return rasterise(write_portrait_svg(identity, rig, pose), size)


def draw_portrait(
    identity: Identity,
    size: int = 128,
    rig: Mapping[str, float] | None = None,
    pose: HeadPose | None = None,
) -> Image.Image:
    """Draw a portrait.

    Args:
        identity: who; see `sample_identity`.
        size: width and height in pixels.
        rig: ARKit coefficients by name, 0..1; those left out are 0.
        pose: pose of the head; facing the viewer by default.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    return Image.fromarray(draw_frame(identity, rig or {}, pose or HeadPose(), size))
