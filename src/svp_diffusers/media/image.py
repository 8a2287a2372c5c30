"""Portraits: an image file in, a plain 8-bit RGB picture out."""

from pathlib import Path

from PIL import Image

from svp_diffusers.errors import MediaError
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.images_svp import open_image


def read_image(path: str | Path) -> Image.Image:
    """The picture as 8-bit RGB, as a viewer shows it (see `to_rgb`).

    Raises `MediaError` when the file is missing, empty, not an image of a format for photographs,
    damaged, animated, huge (see `open_image`), or smaller than 64 pixels on a side.
    """
    path = check_input(path)
    try:
        return open_image(path)
    except ValueError as error:
        raise MediaError(str(error)) from error
