"""Windows of head motion, a pure function of (seed, batch number)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.models.head_motion_svp import (
    EMBEDDINGS_PER_SECOND,
    POSE_DIM,
    HeadMotionModel,
    weigh_knots,
)
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.head_motion.performances import FPS, MotionClip

SMOOTHNESS = 0.02
"""Weight of the knots' third differences in the fit of a curve; it matters only at the ends, where
frames alone do not hold a knot."""

LEAST_STD = 1e-4
"""Of a pose, so that clips without any motion do not divide by 0."""


class MotionBatch(NamedTuple):
    """knots: `(b, window, 6)` relative to the start, over `motion_std`; noise: the same shape;
    audio: `(b, window, audio_dim)`; style: `(b, style_dim)`; start_pose: `(b, 6)`; known_mask:
    `(b, window)`, 1 where the window before has made the knots; valid: `(b, window)`, 0 beyond the
    end of a clip; timestep: `(b,)`, spread evenly over a batch."""

    knots: Tensor
    noise: Tensor
    audio: Tensor
    style: Tensor
    start_pose: Tensor
    known_mask: Tensor
    valid: Tensor
    timestep: Tensor


@dataclass(frozen=True)
class MotionCurve:
    """A clip whose poses are the curve of `knots` `(n, 6)`, as `HeadMotionModel` numbers them."""

    clip: MotionClip
    knots: NDArray[np.float32]

    @property
    def poses(self) -> NDArray[np.float32]:
        """Poses `(n - 2, 6)` at the moments of all knots but the first and the last."""
        knots = self.knots
        return np.asarray((knots[:-2] + 4 * knots[1:-1] + knots[2:]) / 6, np.float32)


def fit_curves(clips: Sequence[MotionClip], knots_per_second: int) -> list[MotionCurve]:
    """The curve of each clip, by least squares."""
    return [MotionCurve(clip, fit_knots(clip.poses, knots_per_second)) for clip in clips]


def fit_knots(poses: NDArray[np.float32], knots_per_second: int) -> NDArray[np.float32]:
    """Knots `(n, 6)` of the uniform cubic B-spline nearest to poses `(frames, 6)` at 25 a second.

    The first lies one distance before the first frame.
    """
    times = np.arange(len(poses)) * (knots_per_second / float(FPS))
    first = np.floor(times).astype(int)
    weights = weigh_knots(torch.from_numpy(times - first)).numpy()
    number = int(first[-1]) + 4
    curve = np.zeros((len(poses), number))
    np.put_along_axis(curve, first[:, None] + np.arange(4), weights, axis=1)
    smooth = SMOOTHNESS * np.diff(np.eye(number), n=3, axis=0)
    wanted = np.concatenate([poses, np.zeros((len(smooth), poses.shape[1]))])
    knots = np.linalg.lstsq(np.concatenate([curve, smooth]), wanted, rcond=None)[0]
    return np.asarray(knots, np.float32)


def measure_poses(curves: Sequence[MotionCurve]) -> dict[str, tuple[float, ...]]:
    """`start_mean`, `start_std` and `motion_std` of `HeadMotionModel` for these clips."""
    poses = np.concatenate([curve.poses for curve in curves])
    # Between two moments of a clip, on average over all pairs.
    spread = np.sqrt(2 * np.mean([curve.poses.var(axis=0) for curve in curves], axis=0))
    return {
        "start_mean": tuple(poses.mean(axis=0).tolist()),
        "start_std": tuple(np.maximum(poses.std(axis=0), LEAST_STD).tolist()),
        "motion_std": tuple(np.maximum(spread, LEAST_STD).tolist()),
    }


class MotionBatchSampler:
    """Draws windows of clips; a batch follows from the seed and its number alone.

    Raises `DatasetError` for a clip too short to continue a window before.
    """

    def __init__(
        self,
        curves: Sequence[MotionCurve],
        model: HeadMotionModel,
        configuration: HeadMotionTrainingConfiguration,
    ) -> None:
        self.curves, self.configuration = curves, configuration
        self.per_knot = EMBEDDINGS_PER_SECOND // model.knots_per_second
        self.motion_std = np.array(model.config.motion_std, np.float32)
        self.timesteps = int(model.make_scheduler().config.num_train_timesteps)
        shortest = min(len(curve.knots) for curve in curves)
        if shortest < configuration.context + 4:
            seconds = (configuration.context + 4) / model.knots_per_second
            raise DatasetError(
                f"a clip has {shortest} knots of motion; head motion is learned from clips of "
                f"{seconds:.1f} s or more"
            )

    def batch(self, number: int, rank: int = 0, world_size: int = 1) -> MotionBatch:
        """The windows of global batch `number` that belong to process `rank`."""
        size = self.configuration.batch_size
        if size % world_size:
            raise ConfigurationError(
                f"a batch of {size} windows cannot be shared by {world_size} processes"
            )
        share = size // world_size
        rows = [
            self._draw_window(row, default_rng([self.configuration.seed, number, row]))
            for row in range(rank * share, (rank + 1) * share)
        ]
        return MotionBatch(*(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def _draw_window(self, row: int, generator: Generator) -> tuple[Tensor, ...]:
        """One row of a batch; up to half of the window may lie beyond the end of its clip."""
        configuration = self.configuration
        window, context = configuration.window, configuration.context
        curve = self.curves[int(generator.integers(len(self.curves)))]
        number = len(curve.knots)
        begins = generator.random() < configuration.first_share
        last = number - 4 if begins else number - context - 4
        first = int(generator.integers(min(last, max(0, number - window // 2)) + 1))
        # Frame 0 lies at the second knot; a window that continues may start anywhere.
        started = first if begins else int(generator.integers(len(curve.poses)))
        start = curve.poses[started]
        inside = np.minimum(np.arange(first, first + window), number - 1)
        knots = (curve.knots[inside] - start) / self.motion_std
        valid = np.arange(first, first + window) < number
        known = np.arange(window) < (0 if begins else context)
        style = curve.clip.style
        drawn = style.mean + generator.random() * style.std * torch.from_numpy(
            generator.standard_normal(style.mean.shape, dtype=np.float32)
        )
        return (
            torch.from_numpy(knots),
            torch.from_numpy(generator.standard_normal((window, POSE_DIM), dtype=np.float32)),
            self._cut_audio(curve.clip.embeddings, first),
            drawn,
            torch.from_numpy(start),
            torch.from_numpy(known.astype(np.float32)),
            torch.from_numpy(valid.astype(np.float32)),
            torch.tensor(
                int((row + generator.random()) / configuration.batch_size * self.timesteps)
            ),
        )

    def _cut_audio(self, embeddings: Tensor, first: int) -> Tensor:
        """As `HeadMotionModel` cuts them for the window whose first knot is number `first`."""
        index = torch.arange(self.per_knot * self.configuration.window)
        index = index + self.per_knot * (first - 1)
        heard = embeddings[index.clamp(0, len(embeddings) - 1)]
        return heard.unflatten(0, (self.configuration.window, self.per_knot)).mean(1)
