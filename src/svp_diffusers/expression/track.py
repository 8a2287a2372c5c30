"""A track of expression coefficients: its space, its rate, and what is the speaker's own in it.

Style encoders take tracks at 25 frames per second; some take them relative to the speaker's mean.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import ConfigurationError, ExpressionError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES

EXPRESSION_FPS = Fraction(25)
MAXIMUM_FPS = 240
"""Of a recording: what phones film at most. What is slower than one frame a second is no motion."""
EXPRESSION_SPACES = {"bfm64": 64, "arkit52": len(ARKIT_BLENDSHAPES)}


@dataclass(frozen=True)
class Expressions:
    """Expression coefficients of one recording.

    values: (frames, dim) float32, finite
    space: "bfm64" (64 Deep3DFaceRecon coefficients) or "arkit52" (ARKit names and order, 0..1)
    fps: frames per second, 1 to 240
    source: where they came from, for messages

    Raises `ExpressionError` for an unknown space, a wrong shape, values that are not finite, or
    another rate.
    """

    values: NDArray[np.float32]
    space: str
    fps: Fraction
    source: str

    def __post_init__(self) -> None:
        if self.space not in EXPRESSION_SPACES:
            raise ExpressionError(
                f"{self.source} declares expression space {self.space!r}; "
                f"known are {', '.join(EXPRESSION_SPACES)}"
            )
        dim = EXPRESSION_SPACES[self.space]
        if self.values.ndim != 2 or self.values.shape[1] != dim or not len(self.values):
            raise ExpressionError(
                f"{self.source} must hold (frames, {dim}) {self.space} coefficients, "
                f"not {self.values.shape}"
            )
        finite = np.isfinite(self.values).all(axis=1)
        if not finite.all():
            raise ExpressionError(
                f"{self.source} has NaN or infinite coefficients, first in frame "
                f"{int(finite.argmin())}; cut or repair those frames"
            )
        if not 1 <= self.fps <= MAXIMUM_FPS:
            raise ExpressionError(
                f"{self.source} has a frame rate of {float(self.fps):g}, not 1 to {MAXIMUM_FPS}"
            )

    def resample(self, fps: Fraction = EXPRESSION_FPS) -> "Expressions":
        """The same motion at another frame rate, by linear interpolation (our choice)."""
        if fps == self.fps:
            return self
        frames = max(1, round(len(self.values) * fps / self.fps))
        times = np.arange(frames) * float(self.fps / fps)  # in frames of the original
        columns = [np.interp(times, np.arange(len(self.values)), c) for c in self.values.T]
        return replace(self, values=np.stack(columns, axis=1).astype(np.float32), fps=fps)

    def center(self, centring: str, average: NDArray[np.float32] | None) -> "Expressions":
        """Subtract the speaker's average if the style encoder's config asks for it, and only then.

        Args:
            centring: "none" or "speaker", `expression_centring` of the encoder.
            average: `(dim,)` of `average_expression`, or None.

        Raises:
            ConfigurationError: the average is needed and missing, or given and not needed.
        """
        if centring == "none":
            if average is not None:
                raise ConfigurationError(
                    "this style encoder takes expressions as they are; give no speaker recordings"
                )
            return self
        if average is None:
            raise ConfigurationError(
                "this style encoder takes expressions relative to the speaker's average: give "
                "recordings of the speaker, best in several moods (--speaker-clip, repeatable)"
            )
        return replace(self, values=self.values - average)


def average_expression(recordings: Sequence[Expressions]) -> NDArray[np.float32]:
    """Mean expression `(dim,)` of one speaker: the mean of the recordings' means.

    Recordings count alike whatever their length and rate (our choice).
    """
    return np.mean([recording.values.mean(axis=0) for recording in recordings], axis=0)


def average_speakers(
    recordings: Iterable[tuple[str, Expressions]],
) -> dict[str, NDArray[np.float32]]:
    """`average_expression` of every speaker, from pairs (speaker, recording)."""
    means: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for speaker, recording in recordings:
        means[speaker].append(recording.values.mean(axis=0))
    return {speaker: np.mean(own, axis=0) for speaker, own in means.items()}
