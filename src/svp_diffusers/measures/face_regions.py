"""Where the face, the mouth and the eyes are in a picture, from its head keypoints.

Ellipses in the frame of the eyes: its unit is the distance between the eyes, its vertical axis is
at a right angle to the line that joins them. Their proportions are our choice; they hold the brows,
and a mouth wide open.
"""

import torch
from torch import Tensor

# Centre below the middle of the eyes (or the eye itself), half width, half height.
_FACE = (0.35, 1.15, 1.40)
_MOUTH = (1.00, 0.55, 0.45)
_EYE = (-0.15, 0.45, 0.45)


def locate_face(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Which pixels belong to the face: (n, 1, height, width) bool.

    keypoints: (n, 8, 2) pixels, as `ClipSample.head_keypoints`.
    """
    return _fill_ellipse(keypoints, keypoints[:, 6:].mean(1), _FACE, height, width)


def locate_mouth(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Which pixels belong to the mouth: as `locate_face`."""
    return _fill_ellipse(keypoints, keypoints[:, 6:].mean(1), _MOUTH, height, width)


def locate_eyes(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Which pixels belong to the eyes and brows: as `locate_face`."""
    left, right = (
        _fill_ellipse(keypoints, keypoints[:, eye], _EYE, height, width) for eye in (6, 7)
    )
    return left | right


def weigh_face(
    keypoints: Tensor, height: int, width: int, *, face: float, mouth: float, eyes: float
) -> Tensor:
    """Weights (n, 1, height, width) of mouth, eyes and other parts of the face; 1 elsewhere."""
    weights = torch.where(locate_face(keypoints, height, width), face, 1.0)
    weights = torch.where(locate_eyes(keypoints, height, width), eyes, weights)
    return torch.where(locate_mouth(keypoints, height, width), mouth, weights)


def _fill_ellipse(
    keypoints: Tensor,
    origin: Tensor,
    ellipse: tuple[float, float, float],
    height: int,
    width: int,
) -> Tensor:
    """Pixels (n, 1, height, width) inside an ellipse placed from `origin` (n, 2)."""
    below, half_width, half_height = ellipse
    across = keypoints[:, 7] - keypoints[:, 6]  # from eye to eye: (n, 2)
    down = torch.stack([-across[:, 1], across[:, 0]], dim=1)
    y, x = torch.meshgrid(
        torch.arange(height, device=keypoints.device),
        torch.arange(width, device=keypoints.device),
        indexing="ij",
    )
    pixels = torch.stack([x, y], dim=-1)  # (height, width, 2)
    offset = pixels - (origin + below * down)[:, None, None]
    square = across.square().sum(1)[:, None, None]
    u = (offset * across[:, None, None]).sum(-1) / square / half_width
    v = (offset * down[:, None, None]).sum(-1) / square / half_height
    return (u.square() + v.square() <= 1)[:, None]
