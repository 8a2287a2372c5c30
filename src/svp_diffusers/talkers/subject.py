"""Who is filmed: a drawn or a rendered person, prepared for pictures of one size."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.geometry import HeadPose, locate_head_keypoints
from svp_diffusers.talkers.identity import Identity, sample_identity
from svp_diffusers.talkers.performance import Performance
from svp_diffusers.talkers.portrait import draw_frame

LOOKS = ("drawn", "rendered")
"""How people look: as vector drawings or as photographs."""


class Subject(Protocol):
    """A person before a camera. Whatever no rig or pose moves is the same in all pictures."""

    def draw(self, rig: Mapping[str, float], pose: HeadPose) -> np.ndarray:
        """One picture, `(size, size, 3)` uint8 RGB; ARKit coefficients left out are 0."""

    def locate_head_keypoints(self, pose: HeadPose) -> np.ndarray:
        """The 8 head keypoints, `(8, 2)`, x then y, as fractions of the picture."""


class DrawnSubject:
    """A drawn person; see `sample_identity`."""

    def __init__(self, identity: Identity, size: int) -> None:
        self._identity = identity
        self._size = size

    def draw(self, rig: Mapping[str, float], pose: HeadPose) -> np.ndarray:
        """See `Subject`."""
        return draw_frame(self._identity, rig, pose, self._size)

    def locate_head_keypoints(self, pose: HeadPose) -> np.ndarray:
        """See `Subject`."""
        return locate_head_keypoints(self._identity, pose)


def prepare_subject(look: str, seed: int, size: int, shot: int = 0) -> Subject:
    """Draw a person of a seed.

    Args:
        look: one of `LOOKS`.
        seed: who.
        size: height and width of the pictures in pixels.
        shot: number of the camera, light and background before which a rendered person stands;
            a drawn one has a single one.

    Raises:
        ConfigurationError: another look.
    """
    if look == "drawn":
        return DrawnSubject(sample_identity(seed), size)
    if look == "rendered":
        # Numba, its kernels and the head model: not for those who want drawings.
        from svp_diffusers.talkers.rendered.renderer import Renderer
        from svp_diffusers.talkers.rendered.shot import sample_rendered_identity

        return Renderer(sample_rendered_identity(seed, shot), size)
    raise ConfigurationError(f"no look {look!r}: choose one of {', '.join(LOOKS)}")


def film(subject: Subject, performance: Performance) -> Iterator[np.ndarray]:
    """The frames of a performance, `(size, size, 3)` uint8 RGB each."""
    for row, pose in zip(performance.expression.tolist(), performance.poses, strict=True):
        yield subject.draw(dict(zip(ARKIT_BLENDSHAPES, row, strict=True)), pose)
