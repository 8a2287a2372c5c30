"""Whose face it is: an embedding of a face-recognition net, for checkpoints that take one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import has_component
from svp_diffusers.errors import FaceError
from svp_diffusers.media.arrays import read_array
from svp_diffusers.media.input import check_input


def read_face_embedding(path: Path | None, checkpoint: Path) -> NDArray[np.float32] | None:
    """Read an embedding (embed_dim,) of a `.npy` file.

    Args:
        path: of the file, if there is one.
        checkpoint: folder of the checkpoint that it is for.

    Raises:
        FaceError: if it is no such array, or the checkpoint takes none.
    """
    if path is None:
        return None
    if not has_component(checkpoint, "face_projector"):
        raise FaceError(f"{checkpoint.name} takes no face embedding: leave out --face-embedding.")
    try:
        array = read_array(check_input(path))
    except (ValueError, OSError) as error:
        raise FaceError(f"{path} is not an array that numpy.save wrote: {error}") from error
    size = read_config(checkpoint, "face_projector").get("embed_dim")
    if array.dtype.kind not in "iuf" or array.shape != (size,) or not np.isfinite(array).all():
        raise FaceError(
            f"{path} must hold {size} finite numbers, of ArcFace; got {array.shape} {array.dtype}."
        )
    return array.astype(np.float32)
