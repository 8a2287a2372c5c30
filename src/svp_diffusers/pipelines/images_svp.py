"""Pictures for SVP: whatever Pillow opens, as the upright 8-bit RGB that a viewer shows.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

BACKGROUND = "white"  # under what is transparent (our choice)


def open_image(path: str | Path) -> Image.Image:
    """Open a file as `to_rgb` shows it.

    Raises:
        ValueError: if it is no picture that Pillow reads, or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return to_rgb(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"The picture {path} cannot be read: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it: upright, in sRGB with 8 bits, on white.

    Applied are the EXIF orientation and the colour profile (a damaged one counts for nothing). 16
    bits are scaled to 8, and what is transparent is laid over white.

    Args:
        image: of any mode.

    Returns:
        The picture in mode RGB; one that is in it already keeps its values.
    """
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            white = Image.new("RGBA", image.size, BACKGROUND)
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Grey of 16 bits, or of floats in [0, 1], as 8 bits."""
    scale = 255.0 if values.dtype.kind == "f" else 255 / 65535
    return (values * scale).clip(0, 255).round().astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted or image
