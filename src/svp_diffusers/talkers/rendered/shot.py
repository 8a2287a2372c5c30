"""How a person is shown in a clip: camera, light, background and finish."""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.rendered.assets import load_places
from svp_diffusers.talkers.rendered.background import Background, sample_background
from svp_diffusers.talkers.rendered.camera import Camera, sample_camera
from svp_diffusers.talkers.rendered.finish import Finish, sample_finish
from svp_diffusers.talkers.rendered.identity import Person, sample_person
from svp_diffusers.talkers.rendered.light import Light, sample_light


@dataclass(frozen=True)
class Shot:
    """All that stays as it is through a clip but the person."""

    camera: Camera
    light: Light
    background: Background
    finish: Finish


@dataclass(frozen=True)
class RenderedIdentity:
    """A person before a camera: what `Identity` is for drawn talkers."""

    person: Person
    shot: Shot


def sample_shot(seed: int, number: int = 0) -> Shot:
    """Draw a shot; a person of a seed can be shown in several, by their number."""
    generator = np.random.default_rng([seed, number, 0x5407])
    light = sample_light(generator, load_places())
    return Shot(
        camera=sample_camera(generator),
        light=light,
        background=sample_background(generator, light.place),
        finish=sample_finish(generator),
    )


def sample_rendered_identity(seed: int, shot: int = 0) -> RenderedIdentity:
    """Draw a person and how they are shown.

    Args:
        seed: who.
        shot: number of the camera, light, background and finish in which they are shown.
    """
    return RenderedIdentity(sample_person(seed), sample_shot(seed, shot))
