"""Colours of single hairs."""

import numpy as np

from svp_diffusers.talkers.rendered.identity import GREY_HAIR, Person


def draw_hair_colours(
    generator: np.random.Generator, person: Person, count: int, grey: float
) -> np.ndarray:
    """`(count, 3)` linear albedo; a share `grey` of the hairs has lost its pigment."""
    pigment = np.exp(generator.normal(size=(count, 1)) * 0.25)
    tint = np.exp(generator.normal(size=(count, 3)) * 0.04)
    colours = np.array(person.hair) * pigment * tint
    # A strand stands for some thirty hairs.
    spread = 0.8 * grey * (1 - grey)
    lost = np.clip(grey + spread * generator.normal(size=(count, 1)), 0, 1)
    mixed: np.ndarray = (1 - lost) * colours + lost * GREY_HAIR * np.sqrt(pigment)
    return mixed


def mean_hair_colour(person: Person) -> np.ndarray:
    """`(3,)` the colour from afar."""
    mixed: np.ndarray = (1 - person.grey) * np.array(person.hair) + person.grey * GREY_HAIR
    return mixed
