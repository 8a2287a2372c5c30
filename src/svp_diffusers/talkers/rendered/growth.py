"""All that grows on a person or sits on the nose."""

import numpy as np

from svp_diffusers.talkers.rendered.assets import HeadModel
from svp_diffusers.talkers.rendered.beard import grow_beard
from svp_diffusers.talkers.rendered.brows import grow_brows
from svp_diffusers.talkers.rendered.glasses import make_glasses
from svp_diffusers.talkers.rendered.hair import grow_hair
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.lashes import grow_lashes
from svp_diffusers.talkers.rendered.strands import Strands
from svp_diffusers.talkers.rendered.surface import Surface


def grow_strands(person: Person, head: HeadModel, vertices: np.ndarray) -> tuple[Strands, ...]:
    """Hair, brows, lashes, beard and glasses of a person.

    vertices: `(v, 3)` float32, the person's head with a neutral face
    """
    generator = np.random.default_rng([person.seed, 0x4A1])
    surface = Surface(head, vertices)
    grown = (
        grow_hair(generator, person, surface),
        grow_brows(generator, person, surface),
        *grow_lashes(generator, person, head, vertices),
        grow_beard(generator, person, surface),
        make_glasses(generator, person, head, vertices),
    )
    return tuple(strands for strands in grown if strands is not None)
