"""Rendered portraits, with the signatures of the drawn ones."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.rendered.assets import load_head_model
from svp_diffusers.talkers.rendered.camera import Framing
from svp_diffusers.talkers.rendered.renderer import Renderer
from svp_diffusers.talkers.rendered.shot import RenderedIdentity


def render_portrait(
    identity: RenderedIdentity,
    size: int = 128,
    rig: Mapping[str, float] | None = None,
    pose: HeadPose | None = None,
) -> Image.Image:
    """Render a portrait.

    Args:
        identity: who, and how they are shown; see `sample_rendered_identity`.
        size: width and height in pixels.
        rig: ARKit coefficients by name, 0..1; those left out are 0.
        pose: pose of the head; facing the viewer by default.
    """
    return Image.fromarray(Renderer(identity, size).draw(rig or {}, pose or HeadPose()))


def locate_head_keypoints(identity: RenderedIdentity, pose: HeadPose) -> np.ndarray:
    """The 8 head keypoints, `(8, 2)`, as those of drawn people; no expression moves them."""
    head = load_head_model()
    vertices = head.shape(identity.person.shape_weights)
    return Framing(head, vertices, identity.shot.camera).locate_keypoints(pose)
