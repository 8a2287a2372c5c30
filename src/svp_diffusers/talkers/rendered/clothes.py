"""The cut of the clothes: where the close-fitting suit of the head model ends."""

import numpy as np

from svp_diffusers.talkers.rendered.identity import Person


def cut_clothes(person: Person, rest: np.ndarray) -> np.ndarray:
    """Negative where the suit is cut away, `(v,)` float32; `rest` are the model's vertices."""
    x, y, z = rest.T
    collar = person.neckline - 0.30 * z - y
    around_neck = np.hypot(x, z - 0.05) - person.neck_radius
    cut = np.maximum(collar, around_neck)
    if person.v_neck > 0:
        vee = 2.2 * np.abs(x) + (5.85 - person.v_neck - y)
        cut = np.where(z > 0.1, np.minimum(cut, vee), cut)
    return cut.astype(np.float32)
