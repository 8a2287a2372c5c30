"""Pictures for SVP: whatever Pillow opens, as a viewer shows it; pixels; pictures of a head.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps

BACKGROUND = "white"  # under what is transparent (our choice)

Portrait = Image.Image | np.ndarray | torch.Tensor | str | Path
"""A picture or its path; or pixels, an array (height, width, 3) or a tensor (3, height, width)."""


class DrawnLater(Protocol):
    """Pictures that are drawn when a slice of them is read, so that a long video is cheap."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: slice) -> np.ndarray:
        """Some of them: (frames, 3, height, width)."""


HeadPictures = torch.Tensor | np.ndarray | Sequence[Image.Image] | DrawnLater
"""Pictures of head keypoints: pixels (frames, 3, height, width), a list, or drawn later."""


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


def read_portrait(image: Portrait) -> Image.Image | torch.Tensor:
    """Read the portrait, and check its shape and range.

    Returns:
        An RGB picture as a viewer shows it; pixels as a tensor (3, height, width) in [0, 1].

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
    return to_unit_range("image", pixels)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB picture as pixels (3, height, width) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def stack_head_pictures(
    pictures: torch.Tensor | np.ndarray | Sequence[Image.Image],
) -> torch.Tensor:
    """Bring pictures of head keypoints to a tensor (frames, 3, height, width) in [0, 1].

    Raises:
        ValueError: if their range is another.
    """
    if isinstance(pictures, (np.ndarray, torch.Tensor)):
        return to_unit_range("head_keypoints", torch.as_tensor(pictures))
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    return to_unit_range("head_keypoints", torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


def draw_face_rectangle(
    height: int, width: int, box: Sequence[float] = (0.25, 0.25, 0.75, 0.75)
) -> torch.Tensor:
    """Draw the face's place: its box and a tenth of it on each side, white on black.

    Args:
        height: of the picture.
        width: of the picture.
        box: of the face: left, top, right, bottom, as shares of the picture. By default that of a
            portrait cropped by EchoMimic's rule, half a box more on each side.

    Returns:
        (1, 3, height, width), 0 or 1.
    """
    left, top, right, bottom = box
    margin_x, margin_y = 0.1 * (right - left), 0.1 * (bottom - top)
    columns = slice(
        round(max(0.0, left - margin_x) * width), round(min(1.0, right + margin_x) * width)
    )
    rows = slice(
        round(max(0.0, top - margin_y) * height), round(min(1.0, bottom + margin_y) * height)
    )
    picture = torch.zeros(1, 3, height, width)
    picture[:, :, rows, columns] = 1
    return picture
