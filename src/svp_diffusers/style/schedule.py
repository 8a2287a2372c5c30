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
    """Styles with the seconds at which they begin to fade in.

    keys: (seconds, single style), in order; the first begins at 0
    fade: seconds until a style has replaced the one before (our choice: 0.4)

    During a fade the distribution moves along the Wasserstein-2 geodesic. Raises `StyleError` for
    an empty or unordered schedule, no fade, or styles of two encoders.
    """

    keys: Sequence[tuple[float, StyleDistribution]]
    fade: float = 0.4

    def __post_init__(self) -> None:
        seconds = [second for second, _ in self.keys]
        if not seconds or seconds[0] != 0:
            raise StyleError("a style schedule begins at 0 seconds, as in 0:neutral,2.5:happy")
        if any(after <= before for before, after in pairwise(seconds)):
            raise StyleError(f"the times of a style schedule must increase, not {seconds}")
        if self.fade <= 0:
            raise StyleError(f"a cross-fade takes more than 0 seconds, not {self.fade:g}")
        check_same_space([style for _, style in self.keys])

    def frames(self, number: int, fps: Fraction) -> StyleDistribution:
        """One style per frame: mean and std `(number, style_dim)`."""
        (_, first), *rest = self.keys
        seconds = torch.arange(number, dtype=first.mean.dtype) / float(fps)
        mean, std = first.mean.expand(number, -1), first.std.expand(number, -1)
        for start, style in rest:
            weight = ((seconds - start) / self.fade).clamp(0, 1)[:, None].to(style.mean.device)
            mean, std = torch.lerp(mean, style.mean, weight), torch.lerp(std, style.std, weight)
        return StyleDistribution(mean, std, encoder_id=first.encoder_id)

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
            torch.zeros_like(frames.mean[0]), torch.ones_like(frames.mean[0])
        )
        return frames.mean + frames.std * standard.sample(1, temperature, generator)
