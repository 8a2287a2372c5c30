"""The cut of the clothes: where the close-fitting suit of the head model ends."""

import numpy as np

from svp_diffusers.talkers.rendered.identity import Person

_NO_V = 9.0


def cut_clothes(person: Person, rest: np.ndarray) -> np.ndarray:
    """Four measures of the vertices, `(v, 4)` float32, for `rasterise_triangles`.

    There is cloth below the collar (1) or, a little higher, beyond the neck (2), and, in front (4),
    not in the V (3);
    each is positive there. They are told apart because only each by itself is nearly linear across
    a triangle: a cut along their sum would have teeth.

    rest: `(v, 3)` vertices of the model.
    """
    x, y, z = rest.T
    collar = person.neckline - 0.30 * z - y
    beyond_neck = np.abs(x) - person.neck_radius
    vee = np.full_like(x, _NO_V)
    if person.v_neck > 0:
        vee = 2.2 * np.abs(x) + (5.85 - person.v_neck - y)
    return np.stack([collar, beyond_neck, vee, z - 0.1], axis=1).astype(np.float32)
