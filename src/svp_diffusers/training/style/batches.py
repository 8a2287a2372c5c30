"""Batches of windows for the contrastive loss, a pure function of (seed, batch number).

Nothing is remembered between batches, so that a resumed run and any number of processes see
exactly the windows, the noise and the missing modalities of one uninterrupted process.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from svp_diffusers.data.style_clips import StyleClip
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration

MIN_FRAMES = 5
"""The `min_frames` of every style encoder that is trained here."""


@dataclass(frozen=True)
class StyleBatch:
    """Padded windows of one process.

    expression: (b, t, expression_dim); audio: (b, 2t, audio_dim); masks: (b, t), (b, 2t), True is
    valid; labels: (b,) class numbers; noise: (b, style_dim), standard normal, of the style samples.
    """

    expression: torch.Tensor
    expression_mask: torch.Tensor
    audio: torch.Tensor
    audio_mask: torch.Tensor
    labels: torch.Tensor
    noise: torch.Tensor

    def to(self, device: torch.device) -> "StyleBatch":
        """The same batch on a device."""
        return StyleBatch(**{name: value.to(device) for name, value in vars(self).items()})


class StyleBatchSampler:
    """Draws balanced batches from clips.

    Raises `ConfigurationError` when there are fewer (speaker, style) classes than a batch takes,
    and `DatasetError` for a recording too short to give the windows of its class.
    """

    def __init__(
        self, clips: Sequence[StyleClip], configuration: StyleTrainingConfiguration
    ) -> None:
        self.configuration = configuration
        self.classes: dict[tuple[str, str], list[StyleClip]] = defaultdict(list)
        for clip in clips:
            self.classes[clip.label].append(clip)
        self.labels = {label: number for number, label in enumerate(sorted(self.classes))}
        if len(self.classes) < configuration.classes_per_batch:
            raise ConfigurationError(
                f"the data has {len(self.classes)} (speaker, style) classes, fewer than "
                f"classes_per_batch {configuration.classes_per_batch}"
            )
        for clip in clips:
            if len(clip.expressions.values) < MIN_FRAMES * configuration.windows_per_class:
                raise DatasetError(
                    f"clip {clip.key} has {len(clip.expressions.values)} frames, too few for "
                    f"{configuration.windows_per_class} windows of at least {MIN_FRAMES}"
                )
        self.expression_std = np.concatenate([c.expressions.values for c in clips]).std(axis=0)

    def batch(self, number: int, rank: int = 0, world_size: int = 1) -> StyleBatch:
        """The windows of global batch `number` that belong to process `rank`."""
        configuration = self.configuration
        generator = default_rng([configuration.seed, number])
        windows = [
            (label, *window)
            for label in self._draw_classes(generator)
            for window in self._draw_windows(self.classes[label], generator)
        ]
        if len(windows) % world_size:
            raise ConfigurationError(
                f"a batch of {len(windows)} windows cannot be shared by {world_size} processes"
            )
        share = len(windows) // world_size
        rows = range(rank * share, (rank + 1) * share)
        return self._collate(
            [
                self._cut(*windows[row], default_rng([configuration.seed, number, row]))
                for row in rows
            ]
        )

    def _draw_classes(self, generator: Generator) -> list[tuple[str, str]]:
        """Speakers in turn, each with the style that the batch has least of."""
        free: dict[str, list[str]] = defaultdict(list)
        for speaker, style in sorted(self.classes):
            free[speaker].append(style)
        counts: dict[str, int] = defaultdict(int)
        drawn: list[tuple[str, str]] = []
        while len(drawn) < self.configuration.classes_per_batch:
            speakers = sorted(speaker for speaker, styles in free.items() if styles)
            for speaker in generator.permutation(speakers):
                styles = free[speaker]
                order = generator.random(len(styles))
                best = min(range(len(styles)), key=lambda i: (counts[styles[i]], order[i]))
                counts[styles[best]] += 1
                drawn.append((str(speaker), styles.pop(best)))
        return drawn[: self.configuration.classes_per_batch]

    def _draw_windows(
        self, clips: list[StyleClip], generator: Generator
    ) -> list[tuple[StyleClip, int, int]]:
        """Windows (clip, first, last frame) of one class: of different recordings where there are
        enough, else of disjoint parts of one."""
        wanted = self.configuration.windows_per_class
        order = generator.permutation(len(clips))
        counts = [wanted // len(clips) + (rank < wanted % len(clips)) for rank in range(len(clips))]
        windows = []
        for index, parts in zip(order, counts, strict=True):
            clip = clips[index]
            edges = np.linspace(0, len(clip.expressions.values), parts + 1).astype(int)
            for begin, end in pairwise(edges):
                longest = min(self.configuration.max_window, int(end - begin))
                shortest = min(self.configuration.min_window, longest)
                length = int(generator.integers(shortest, longest + 1))
                start = int(begin + generator.integers(end - begin - length + 1))
                windows.append((clip, start, start + length))
        return windows

    def _cut(
        self, label: tuple[str, str], clip: StyleClip, start: int, end: int, generator: Generator
    ) -> dict[str, Any]:
        configuration = self.configuration
        expression = self._roughen(clip.expressions.values[start:end], generator)
        audio = np.zeros((0, configuration.audio_dim), np.float32)
        if clip.audio is not None:
            audio = clip.audio[2 * start : 2 * end]
            draw = generator.random()
            # A recording's sound may end before its pictures.
            if len(audio) < 2 * MIN_FRAMES:
                audio = audio[:0]
            elif draw < configuration.expression_dropout:
                expression = expression[:0]
            elif draw < configuration.expression_dropout + configuration.audio_dropout:
                audio = audio[:0]
        return {
            "label": self.labels[label],
            "expression": expression,
            "audio": audio,
            "noise": generator.standard_normal(configuration.style_dim, dtype=np.float32),
        }

    def _roughen(
        self, expression: NDArray[np.float32], generator: Generator
    ) -> NDArray[np.float32]:
        """Coefficients (t, dim) as they might have been read from pictures."""
        configuration, (frames, dim) = self.configuration, expression.shape
        # One draw of a fixed size, whatever is used of it.
        noise = generator.standard_normal((frames + 2, dim), dtype=np.float32)
        kept = generator.random(dim) >= configuration.coefficient_dropout
        expression = expression * np.exp(configuration.scale_noise * noise[-1])
        shift = configuration.offset_noise * noise[-2] + configuration.expression_noise * noise[:-2]
        return ((expression + self.expression_std * shift) * kept).astype(np.float32)

    def _collate(self, windows: list[dict[str, Any]]) -> StyleBatch:
        expression, expression_mask = pad([w["expression"] for w in windows])
        audio, audio_mask = pad([w["audio"] for w in windows])
        return StyleBatch(
            expression,
            expression_mask,
            audio,
            audio_mask,
            torch.tensor([w["label"] for w in windows]),
            torch.from_numpy(np.stack([w["noise"] for w in windows])),
        )


def pad(sequences: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack `(t, dim)` sequences to `(b, longest, dim)` and a mask `(b, longest)`, True is valid.

    `longest` is at least 1: a modality that all miss still runs through the encoder, masked, since
    gradients of several processes can only be averaged if all have them.
    """
    longest = max(1, *(len(sequence) for sequence in sequences))
    values = np.zeros((len(sequences), longest, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), longest), bool)
    for row, sequence in enumerate(sequences):
        values[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return torch.from_numpy(values), torch.from_numpy(mask)
