"""Strands: hair, brows, lashes, beards and glasses as polylines with a width."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Strands:
    """`k` polylines of `n` points on a person's neutral head; all arrays float32 but the anchors.

    Args:
        points: `(k, n, 3)` positions in dm.
        widths: `(k, n)` in dm.
        colours: `(k, n, 3)` linear albedo.
        normals: `(k, n, 3)` unit vectors away from what the strands grow on.
        occlusion: `(k, n)` 0 (no light from around) to 1.
        follow: `(k, n)` 1 turns with the head, 0 stays with the shoulders.
        anchors: `(k, n, 3)` int32 vertices: each point moves as the weighted mean of them does
            through an expression; `(0, n, 3)` where no expression moves the strands.
        anchor_weights: `(k, n, 3)` or `(0, n, 3)`, sum 1.
        shadow: whether they throw a shadow.
        gloss: factor of their highlights.
    """

    points: np.ndarray
    widths: np.ndarray
    colours: np.ndarray
    normals: np.ndarray
    occlusion: np.ndarray
    follow: np.ndarray
    anchors: np.ndarray
    anchor_weights: np.ndarray
    shadow: bool = False
    gloss: float = 1.0
