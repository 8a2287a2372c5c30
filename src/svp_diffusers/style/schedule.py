"""Styles over time: one video that goes from neutral to happy to angry."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import torch

from svp_diffusers.errors import StyleError
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.style.storage import check_same_space


@dataclass(frozen=True)
class StyleSchedule:
    """Styles with the seconds at which they begin, cross-faded.

    keys: (seconds, single style), in order; the first begins at 0
    fade: seconds of each cross-fade, centred on where the new style begins (our choice: 0.5)

    Between two styles the distribution moves along the Wasserstein-2 geodesic. Raises `StyleError`
    for an empty or unordered schedule, styles of two encoders, or fades that would overlap.
    """

    keys: Sequence[tuple[float, StyleDistribution]]
    fade: float = 0.5

    def __post_init__(self) -> None:
        seconds = [second for second, _ in self.keys]
        if not seconds or seconds[0] != 0:
            raise StyleError("a style schedule begins at 0 seconds, as in 0:neutral,2.5:happy")
        for before, after in pairwise(seconds):
            if after - before < max(self.fade, 1e-6):
                raise StyleError(
                    f"styles at {before:g} and {after:g} s are closer than the cross-fade of "
                    f"{self.fade:g} s, or out of order; move them apart or shorten the fade"
                )
        check_same_space([style for _, style in self.keys])

    def at(self, second: float) -> StyleDistribution:
        """The style at one moment."""
        (_, style), *rest = self.keys
        for start, following in rest:
            begin = start - self.fade / 2
            if second < begin:
                break
            weight = (second - begin) / self.fade if self.fade else 1.0
            style = style.interpolate(following, min(1.0, weight))
        return style

    def frames(self, number: int, fps: Fraction) -> StyleDistribution:
        """One style per frame: mean and std `(number, style_dim)`."""
        styles = [self.at(float(frame / fps)) for frame in range(number)]
        return StyleDistribution(
            torch.stack([style.mean for style in styles]),
            torch.stack([style.std for style in styles]),
            encoder_id=styles[0].encoder_id,
        )

    def sample(
        self,
        number: int,
        fps: Fraction,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """One smooth performance, `(number, style_dim)`: all frames share one draw."""
        frames = self.frames(number, fps)
        standard = StyleDistribution(
            torch.zeros_like(frames.mean[0]), torch.ones_like(frames.std[0])
        )
        return frames.mean + frames.std * standard.sample(1, temperature, generator)
