"""What the head guider is shown in training: pictures of the keypoints of whole batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svp_diffusers.media.keypoints import box_from_keypoints, draw_v3_keypoints
from svp_diffusers.pipelines.head_pictures_svp import draw_dots, draw_face_rectangle, draw_keypoints


def draw_heads(layout: str, keypoints: Tensor, height: int, width: int) -> Tensor:
    """Draw the heads of a batch.

    Args:
        layout: of the head guider: "head8" and "v3" are drawn frame by frame; "face" is one
            rectangle around the face in all frames of a clip.
        keypoints: (batch, frames, points, 2), x and y in pixels.
        height: of the pictures.
        width: of the pictures.

    Returns:
        (batch, 3, frames, height, width), in [0, 1].
    """
    clips, frames = keypoints.shape[:2]
    if layout == "face":
        places: Tensor = _draw_face_places(keypoints, height, width)
        return places[:, :, None].expand(-1, -1, frames, -1, -1)
    points = keypoints.flatten(0, 1)
    drawn: Tensor = (_draw_dots if points.shape[1] == 8 else _draw_v3_dots)(points, height, width)
    return drawn.unflatten(0, (clips, frames)).transpose(1, 2)


def draw_clip(layout: str, keypoints: NDArray[np.floating], height: int, width: int) -> Tensor:
    """Draw the head of one clip (frames, points, 2), as the pipeline takes it: (1 or frames, 3,
    height, width)."""
    if layout == "face":
        return _draw_face_place(keypoints, height, width)
    return torch.from_numpy(draw_keypoints(keypoints, height, width))


def _draw_face_place(keypoints: NDArray[np.floating], height: int, width: int) -> Tensor:
    boxes = box_from_keypoints(np.asarray(keypoints, np.float32))
    place = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    shares = [float(side) for side in place / np.array([width, height, width, height])]
    return draw_face_rectangle(height, width, shares)


# Operators, as what they draw depends on values, and tensors without any have to pass them.


@torch.library.custom_op("svp_diffusers::draw_dots", mutates_args=())
def _draw_dots(points: Tensor, height: int, width: int) -> Tensor:
    """Pictures (n, 3, height, width) of keypoints (n, 8, 2)."""
    return draw_dots(points, height, width)


@_draw_dots.register_fake
def _(points: Tensor, height: int, width: int) -> Tensor:
    return points.new_empty(len(points), 3, height, width)


@torch.library.custom_op("svp_diffusers::draw_v3_dots", mutates_args=())
def _draw_v3_dots(points: Tensor, height: int, width: int) -> Tensor:
    """V-Express's pictures (n, 3, height, width) of keypoints (n, 3, 2)."""
    drawn = draw_v3_keypoints(points.cpu().numpy(), height, width)
    return torch.from_numpy(drawn).to(points.device)


@_draw_v3_dots.register_fake
def _(points: Tensor, height: int, width: int) -> Tensor:
    return points.new_empty(len(points), 3, height, width)


@torch.library.custom_op("svp_diffusers::draw_face_places", mutates_args=())
def _draw_face_places(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Pictures (n, 3, height, width) of the faces' places in clips (n, frames, points, 2)."""
    places = [_draw_face_place(clip, height, width) for clip in keypoints.cpu().numpy()]
    return torch.cat(places).to(keypoints)


@_draw_face_places.register_fake
def _(keypoints: Tensor, height: int, width: int) -> Tensor:
    return keypoints.new_empty(len(keypoints), 3, height, width)
