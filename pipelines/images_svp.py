"""Pictures for SVP: whatever Pillow opens, as a viewer shows it; pixels.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

BACKGROUND = "white"  # under what is transparent (our choice)

IMAGE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Those of photographs. Pillow knows others, and for some (EPS) starts another program."""
MAXIMUM_PIXELS = 50_000_000  # beyond what telephones take unless told to
MAXIMUM_FILE_BYTES = 2**28
# Our choice: with fewer pixels a face has no eyes to speak of.
MINIMUM_SIDE = 64

Portrait = Image.Image | np.ndarray | torch.Tensor | str | Path
"""A picture or its path; or pixels, an array (height, width, 3) or a tensor (3, height, width)."""


def open_image(path: str | Path) -> Image.Image:
    """Open a file as `to_rgb` shows it.

    Raises:
        ValueError: if it is no picture of `IMAGE_FORMATS`, or damaged, animated, smaller than 64
            pixels on a side, or larger than 50 million pixels or 256 MiB.
    """
    Image.init()
    formats = [each for each in IMAGE_FORMATS if each in Image.OPEN]  # AVIF is new
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAXIMUM_FILE_BYTES + 1)
        if len(data) > MAXIMUM_FILE_BYTES:
            raise _NoPortraitError(f"{path} is too large: more than {MAXIMUM_FILE_BYTES >> 20} MiB")
        with Image.open(io.BytesIO(data), formats=formats) as image:
            _check_picture(image, path)
            image.load()
            return to_rgb(image)
    except UnidentifiedImageError as error:
        known = ", ".join(formats)
        raise ValueError(
            f"{path} is not an image, whatever its name says, or not one of {known}; save it as "
            "PNG or JPEG"
        ) from error
    except Image.DecompressionBombError as error:  # Pillow's own limit lies above ours
        raise ValueError(f"{path} is too large: {error}; scale it down") from error
    except _NoPortraitError:
        raise
    except Exception as error:  # of each of Pillow's plug-ins its own, where a file is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(
            f"{path} cannot be read: {reason}; it is damaged or cut short, save it again"
        ) from error


class _NoPortraitError(ValueError):
    """A sound picture of no use."""


def _check_picture(image: Image.Image, path: str | Path) -> None:
    size = f"{image.width}x{image.height} pixels"
    # A phone's multi-picture JPEG holds the photograph first and its by-products after it.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise _NoPortraitError(f"{path} is animated; save one of its pictures as PNG or JPEG")
    if min(image.size) < MINIMUM_SIDE:
        raise _NoPortraitError(
            f"{path} has {size}; a portrait needs at least {MINIMUM_SIDE} on each side"
        )
    if image.width * image.height > MAXIMUM_PIXELS:
        raise _NoPortraitError(
            f"{path} is too large: {size}, of which it may have {MAXIMUM_PIXELS:,}; scale it down"
        )


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
    scaled = np.multiply(values, scale, dtype=np.float32)
    return scaled.clip(0, 255, out=scaled).round(out=scaled).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted or image


def to_unit_range(name: str, pixels: torch.Tensor) -> torch.Tensor:
    """Bring pixels, which are uint8 of 0 to 255 or floats of 0 to 1, to floats of 0 to 1.

    Raises:
        ValueError: if they are anything else, saying what `name` may hold.
    """
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    if not pixels.is_floating_point():
        raise ValueError(
            f"`{name}` must hold uint8 pixels of 0 to 255 or floats of 0 to 1, got {pixels.dtype}."
        )
    low, high = (float(each) for each in torch.aminmax(pixels))
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise ValueError(
            f"`{name}` must hold floats of 0 to 1, or uint8 pixels of 0 to 255; got floats of "
            f"{low:g} to {high:g}. Divide pixels of 0 to 255 by 255."
        )
    return pixels


def read_portrait(image: Portrait) -> Image.Image:
    """Read the portrait, and check its shape and range.

    Returns:
        An RGB picture as a viewer shows it, whatever it was given as.

    Raises:
        ValueError: if it cannot be read, or has another shape or range.
    """
    if isinstance(image, (str, Path)):
        return open_image(image)
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if not isinstance(image, (np.ndarray, torch.Tensor)):
        raise ValueError(
            "`image` must be a PIL image, a path, an array (height, width, 3) or a tensor "
            f"(3, height, width); got {type(image).__name__}."
        )
    pixels = torch.tensor(image) if isinstance(image, np.ndarray) else image
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    if isinstance(image, np.ndarray) and pixels.ndim == 3:
        pixels = pixels.permute(2, 0, 1)
    if pixels.ndim != 3 or len(pixels) != 3 or not pixels.numel():
        raise ValueError(
            "`image` must be an array (height, width, 3) or a tensor (3, height, width), got "
            f"{type(image).__name__} {tuple(image.shape)}."
        )
    levels = (255 * to_unit_range("image", pixels).float()).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


def to_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB picture as pixels (3, height, width) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
