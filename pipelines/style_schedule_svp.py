"""Styles over time: one video that goes from neutral to happy to angry.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from diffusers import ModelMixin

MOST_STYLES = 1000  # of a schedule
STYLE_FADE_SECONDS = 0.4  # between the styles of a schedule (our choice)


@runtime_checkable
class Distribution(Protocol):
    """A `StyleDistribution`, known by what it does: its file is not this checkpoint's to import."""

    @property
    def mean(self) -> torch.Tensor:
        """(style_dim,)."""

    @property
    def std(self) -> torch.Tensor:
        """(style_dim,), 0 or more."""

    def to(self, device: torch.device, dtype: torch.dtype) -> "Distribution":
        """The same elsewhere."""

    def sample(self, n: int, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
        """Style vectors (n, style_dim)."""


SingleStyle = str | torch.Tensor | Distribution | None
"""A name, "from_audio", style vectors, a distribution, or None for the prior."""

Style = SingleStyle | Sequence[tuple[float, SingleStyle]]
"""One style, or a schedule of them: (seconds, style)."""


@dataclass(frozen=True)
class StyleSchedule:
    """Styles with the seconds at which they begin to fade in.

    Attributes:
        keys: (seconds, style) in order of time; the first begins at 0.
        fade: seconds until a style has replaced the one before.

    Raises:
        ValueError: for a schedule that is empty, malformed or unordered, or without a fade.
    """

    keys: Sequence[tuple[float, SingleStyle]]
    fade: float = STYLE_FADE_SECONDS

    def __post_init__(self) -> None:
        if not isinstance(self.keys, (list, tuple)):
            raise ValueError(f"A style schedule is a list of (seconds, style); got {self.keys!r}.")
        if not self.keys or not all(isinstance(key, tuple) and len(key) == 2 for key in self.keys):
            raise ValueError(
                "A style schedule is a list of (seconds, style), of one at least; got "
                f"{str(self.keys)[:60]}."
            )
        if len(self.keys) > MOST_STYLES:
            raise ValueError(
                f"A style schedule has at most {MOST_STYLES} styles, got {len(self.keys)}."
            )
        if not all(isinstance(start, Real) for start, _ in self.keys):
            raise ValueError(f"A style begins at a number of seconds, not at {self.keys[-1][0]!r}.")
        if self.seconds[0] != 0:
            raise ValueError(
                "A style schedule begins at 0 seconds, as in 0:neutral,2.5:happy or "
                f'[(0.0, "neutral"), (2.5, "happy")]; got {self.seconds[0]:g}.'
            )
        if not all(before < after for before, after in pairwise(self.seconds)):
            times = ", ".join(f"{start:g}" for start in self.seconds[:10])
            raise ValueError(f"The times of a style schedule must increase; got {times}.")
        if not isinstance(self.fade, Real) or not self.fade > 0:
            raise ValueError(f"A cross-fade takes more than 0 seconds; got {self.fade!r}.")

    @property
    def seconds(self) -> list[float]:
        """When the styles begin."""
        return [float(start) for start, _ in self.keys]

    def check_end(self, num_frames: int, fps: float | Fraction) -> None:
        """Check that every style begins before the video ends.

        Raises:
            ValueError: if one does not.
        """
        if self.seconds[-1] * fps >= num_frames:
            raise ValueError(
                f"The style schedule starts a style at {self.seconds[-1]} s, but the video ends at "
                f"{float(num_frames / fps):.2f} s."
            )

    def blend(
        self, vectors: Sequence[torch.Tensor], frames: range, fps: float | Fraction
    ) -> torch.Tensor:
        """Fade from one style to the next, linearly: the Wasserstein-2 geodesic of Gaussians.

        Args:
            vectors: one a key, each (style_dim,), or (frames of the video, style_dim): what is
                drawn from the styles, or their means, or their standard deviations.
            frames: of the video, whose styles are wanted.
            fps: its frames a second.

        Returns:
            (len(frames), style_dim).
        """
        numbers = torch.arange(frames.start, frames.stop, device=vectors[0].device)
        seconds = numbers / float(fps)
        shown = [each if each.ndim == 1 else each[numbers] for each in vectors]
        blended = shown[0].expand(len(frames), -1)
        for start, vector in zip(self.seconds[1:], shown[1:], strict=True):
            fade = ((seconds - start) / self.fade).clamp(0, 1).to(vector.dtype)
            blended = torch.lerp(blended, vector.expand(len(frames), -1), fade[:, None])
        return blended


def check_style(
    style: Style, encoder: ModelMixin, num_frames: int | None, fps: float | Fraction
) -> None:
    """Check a style of a call, before any network runs.

    Args:
        style: as a call takes it.
        encoder: the checkpoint's style encoder.
        num_frames: of the video; None where its end is not known yet.
        fps: its frames a second.

    Raises:
        ValueError: if it is unknown, malformed, not finite or of another style encoder.
    """
    if isinstance(style, (list, tuple)):
        schedule = StyleSchedule(style)
        if num_frames is not None:
            schedule.check_end(num_frames, fps)
        for _, each in schedule.keys:
            if isinstance(each, (list, tuple)):
                raise ValueError("A style schedule holds styles, and no schedule in its turn.")
            check_style(each, encoder, num_frames, fps)
    elif isinstance(style, torch.Tensor):
        _check_vectors(style, encoder.config.style_dim, num_frames)
    elif isinstance(style, Distribution):
        if style.mean.ndim != 1:
            raise ValueError(
                f"`style` must be one distribution, got a batch {tuple(style.mean.shape)}; "
                "take one of it by its index."
            )
        encoder.check_style(style)
        finite = style.mean.isfinite().all() and style.std.isfinite().all()
        if not finite or not (style.std >= 0).all():
            raise ValueError("`style` has numbers that are not finite, or a negative deviation.")
    elif isinstance(style, str):
        if style != "from_audio":
            encoder.get_style(style)
    elif style is not None:
        raise ValueError(
            "`style` must be None, a name, 'from_audio', a StyleDistribution, a tensor or a "
            f"schedule [(seconds, style), ...]; got {type(style).__name__}."
        )


def _check_vectors(style: torch.Tensor, style_dim: int, num_frames: int | None) -> None:
    if style.shape not in ((style_dim,), (num_frames, style_dim)):
        raise ValueError(
            f"A style tensor must be ({style_dim},) or ({num_frames}, {style_dim}), one a "
            f"frame; got {tuple(style.shape)}."
        )
    if not style.is_floating_point() or not style.isfinite().all():
        raise ValueError("A style tensor must hold finite floats.")


def take_style(style: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """The style of some frames, (style_dim,), or (frames, style_dim) of one that changes."""
    return style[start:stop] if style.ndim == 2 else style
