"""Portraits: an image file in, a plain 8-bit RGB picture out."""

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from svp_diffusers.errors import MediaError
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.images_svp import to_rgb

# Our choice: with fewer pixels a face has no eyes to speak of.
MINIMUM_SIDE = 64


def read_image(path: str | Path) -> Image.Image:
    """The picture as 8-bit RGB, as a viewer shows it (see `to_rgb`).

    Raises `MediaError` when the file is missing, empty, not an image, damaged, animated, huge
    (Pillow's decompression bomb limit), or smaller than 64 pixels on a side.
    """
    path = check_input(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
        # A phone's multi-picture JPEG holds the photograph first and its by-products after it.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise MediaError(f"{path} is animated; save one of its pictures as PNG or JPEG")
        if min(image.size) < MINIMUM_SIDE:
            raise MediaError(
                f"{path} has {image.width}x{image.height} pixels; "
                f"a portrait needs at least {MINIMUM_SIDE} on each side"
            )
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{path} is too large: {error}; scale it down") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{path} is not an image that Pillow reads, whatever its name says; "
            "save it as PNG or JPEG"
        ) from error
    except (OSError, SyntaxError) as error:
        raise MediaError(f"{path} is damaged or cut short: {error}; save it again") from error
    return to_rgb(image)
