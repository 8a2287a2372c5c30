"""How a picture was taken: lens, development and what was done to it afterwards."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from svp_diffusers.talkers.rendered.filters import paint_in_oil

KINDS = ("photograph", "phone", "film", "soft", "grey", "sepia", "oil")
_SHARES = (0.45, 0.17, 0.13, 0.09, 0.08, 0.02, 0.06)


@dataclass(frozen=True)
class Finish:
    """The same for all frames of a clip.

    Args:
        kind: one of `KINDS`.
        exposure: what the mean of a lit face becomes, 0..1 before the contrast.
        contrast: strength of the S-curve, 0..1.
        white_balance: factors of red, green and blue.
        saturation: 0 grey, 1 as it is.
        blur: of the lens, in pixels of the finished picture at 128 pixels.
        grain: standard deviation, the same grain in every frame.
        quality: of the JPEG that it was, 0 if it was none.
        seed: pattern of grain and canvas.
    """

    kind: str
    exposure: float
    contrast: float
    white_balance: tuple[float, float, float]
    saturation: float
    blur: float
    grain: float
    quality: int
    seed: int


def sample_finish(generator: np.random.Generator) -> Finish:
    """Draw a finish."""
    kind = str(generator.choice(KINDS, p=_SHARES))
    red, green, blue = np.exp(generator.normal(size=3) * 0.04).tolist()
    jpeg = generator.uniform() < 0.35
    return Finish(
        kind=kind,
        exposure=float(generator.uniform(0.30, 0.48)),
        contrast=float(generator.uniform(0.10, 0.75)),
        white_balance=(red, green, blue),
        saturation=float(np.clip(generator.normal(1.0, 0.15), 0.6, 1.4)),
        blur=float(generator.uniform(0.0, 0.55)),
        grain=float(max(0.0, generator.uniform(-0.008, 0.012))) * (2 if kind == "film" else 1),
        quality=int(generator.integers(45, 92)) if jpeg or kind == "phone" else 0,
        seed=int(generator.integers(1 << 30)),
    )


class Darkroom:
    """Makes finished pictures of one clip.

    Args:
        finish: what is done.
        size: of the finished pictures, pixels.
    """

    def __init__(self, finish: Finish, size: int) -> None:
        self.finish = finish
        self.size = size
        generator = np.random.default_rng(finish.seed)
        grain = generator.normal(size=(size, size, 3)).astype(np.float32)
        if finish.kind in ("film", "grey", "sepia"):
            grain = grain.mean(2, keepdims=True) * np.float32(3**0.5)
        self._grain = finish.grain * grain
        weave = generator.normal(size=(size, size)).astype(np.float32)
        self._canvas = 1 + 0.02 * gaussian_filter(weave, (0.4, 0.9), mode="wrap")[..., None]

    def develop(self, radiance: np.ndarray) -> np.ndarray:
        """A finished picture, `(size, size, 3)` uint8, of exposed linear radiance of that size."""
        finish = self.finish
        linear = np.maximum(radiance * np.array(finish.white_balance, np.float32), 0)
        if finish.kind == "soft":
            spread = self.size / 128
            glow = gaussian_filter(linear, (spread, spread, 0), mode="nearest")
            linear = 0.5 * linear + 0.5 * glow
        # Bright light is held back as film does, then what a display expects.
        shouldered = 1.25 * linear * (1 + linear / 6) / (1 + linear)
        picture = np.clip(shouldered, 0, 1) ** np.float32(1 / 2.2)
        picture = picture + finish.contrast * (picture * picture * (3 - 2 * picture) - picture)
        grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
        if finish.kind in ("grey", "sepia"):
            tone = (1.0, 1.0, 1.0) if finish.kind == "grey" else (1.06, 0.98, 0.82)
            picture = grey[..., None] * np.array(tone, np.float32)
        else:
            picture = grey[..., None] + finish.saturation * (picture - grey[..., None])
        if finish.kind == "film":
            picture = 0.06 + 0.90 * picture * np.array([1.03, 1.0, 0.94], np.float32)
        elif finish.kind == "phone":
            wide = gaussian_filter(picture, (1.0, 1.0, 0), mode="nearest")
            picture = picture + 0.45 * (picture - wide)
        elif finish.kind == "oil":
            radius = max(1, round(self.size / 128))
            strokes = paint_in_oil(np.ascontiguousarray(picture, dtype=np.float32), radius)
            picture = strokes * self._canvas
        levels = np.clip((picture + self._grain) * 255 + 0.5, 0, 255).astype(np.uint8)
        return _compress(levels, finish.quality) if finish.quality else levels


def _compress(levels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
