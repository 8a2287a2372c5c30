"""Batches of cached clips for the denoiser, a pure function of (seed, batch number)."""

from collections import defaultdict
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import share_noise
from svp_diffusers.pipelines.speech_svp import window_audio
from svp_diffusers.training.denoiser.configuration import DenoisingConfiguration

STYLES_AT_ONCE = 64
"""Clips of one length that the style encoder sees together."""

CONDITIONS = ("reference", "audio", "style", "head")


class DenoisingBatches:
    """Draws clips, frames, noise, timesteps and what is left out.

    Args:
        dataset: cached clips.
        style_encoder: gives each clip its style distribution, once.
        configuration: of the stage.
        num_pad_frames: of the audio projector.
        consecutive: take neighbouring frames, else any of the clip.

    Raises:
        DatasetError: clips that are not cached, lack what the style encoder needs or head
            keypoints, or are shorter than `frames_per_clip`.
        ConfigurationError: fewer clips than a batch takes.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        style_encoder: StyleEncoder,
        configuration: DenoisingConfiguration,
        num_pad_frames: int,
        consecutive: bool,
    ) -> None:
        self.dataset, self.configuration = dataset, configuration
        self.num_pad_frames, self.consecutive = num_pad_frames, consecutive
        wanted = configuration.clips_per_batch * configuration.gradient_accumulation
        if len(dataset) < wanted:
            raise ConfigurationError(
                f"{dataset.root} has {len(dataset)} clips, fewer than the {wanted} of a step "
                "(clips_per_batch * gradient_accumulation)"
            )
        for entry in dataset.entries:
            if entry.header["pictures"] != "latents" or entry.header["head_keypoints"] is None:
                raise DatasetError(
                    f"clip {entry.key!r} of {dataset.root} is not cached, or lacks head "
                    "keypoints: run `svp data cache` and name its output"
                )
            if entry.header["frames"] < configuration.frames_per_clip:
                raise DatasetError(
                    f"clip {entry.key!r} has {entry.header['frames']} frames, fewer than "
                    f"frames_per_clip {configuration.frames_per_clip}"
                )
        self.styles = encode_styles(dataset, style_encoder)
        self.by_identity: dict[str, list[int]] = defaultdict(list)
        for index, entry in enumerate(dataset.entries):
            identity = entry.header["metadata"].get("identity", entry.key)
            self.by_identity[str(identity)].append(index)

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's clips of global batch `number`.

        Returns:
            `latents`, `noise` (b, c, f, h, w); `reference_latents` (b, c, h, w); `audio_windows`
            (b, f, window, dim); `head_keypoints` (b, f, points, 2) in pixels of the frames; `style`
            (b, style_dim); `expression` (b, f, expression_dim) if the data has it; `timesteps` (b,)
            in [0, 1); `keep_reference`, `keep_audio`, `keep_style`, `keep_head` (b,), 0 where the
            clip loses that condition.

        Raises:
            ConfigurationError: the clips of a batch do not divide among the processes.
        """
        total = self.configuration.clips_per_batch
        if total % world_size:
            raise ConfigurationError(
                f"clips_per_batch {total} does not divide among {world_size} processes"
            )
        # The batches that are accumulated are parts of one draw, so that they equal a larger batch.
        parts = self.configuration.gradient_accumulation
        step, part = divmod(number, parts)
        seed = [self.configuration.seed, step]
        clips = default_rng(seed).choice(len(self.dataset), total * parts, replace=False)
        share = total // world_size
        first = part * total + rank * share
        rows = range(first, first + share)
        drawn = [self._draw_row(int(clips[row]), default_rng([*seed, row])) for row in rows]
        return {name: torch.stack([row[name] for row in drawn]) for name in drawn[0]}

    def draw_reference(self, index: int, sample: ClipSample, generator: Generator) -> Tensor:
        """Latents (c, h, w) of a picture of the person of clip `index`, which is `sample`."""
        if sample.reference_latents is not None:
            return torch.from_numpy(sample.reference_latents).float()
        identity = str(sample.metadata.get("identity", sample.key))
        others = [each for each in self.by_identity[identity] if each != index]
        different = [each for each in others if self._emotion(each) != self._emotion(index)]
        candidates = different or others
        if candidates:
            sample = self.dataset[int(generator.choice(candidates))].decode(sound=False)
        assert sample.latents is not None
        return torch.from_numpy(sample.latents[generator.integers(len(sample.latents))]).float()

    def _draw_row(self, index: int, generator: Generator) -> dict[str, Tensor]:
        configuration = self.configuration
        stored = self.dataset[index]
        sample = stored.decode(sound=False)
        frames = self._draw_frames(sample.number_of_frames, generator)
        assert sample.latents is not None
        assert sample.head_keypoints is not None
        latents = torch.from_numpy(sample.latents[frames]).float().transpose(0, 1)
        own, common = (
            torch.from_numpy(generator.standard_normal(shape, np.float32))
            for shape in (latents.shape, (len(latents), 1, *latents.shape[2:]))
        )
        mean, std = self.styles[index]
        noise = torch.from_numpy(generator.standard_normal(len(mean), np.float32))
        lost = generator.random(len(CONDITIONS)) < [
            getattr(configuration, f"{name}_dropout") for name in CONDITIONS
        ]
        lost |= generator.random() < configuration.joint_dropout
        row = {
            "latents": latents,
            "noise": share_noise(own, common, configuration.shared_noise),
            "reference_latents": self.draw_reference(index, sample, generator),
            "audio_windows": self._window_audio(sample)[frames],
            "head_keypoints": torch.from_numpy(sample.head_keypoints[frames]),
            "style": mean + std * noise,
            "timesteps": torch.tensor(generator.random() ** configuration.timestep_power),
            **{
                f"keep_{name}": torch.tensor(float(not is_lost))
                for name, is_lost in zip(CONDITIONS, lost, strict=True)
            },
        }
        if sample.expression is not None:
            row["expression"] = torch.from_numpy(sample.expression[frames])
        return row

    def _draw_frames(self, length: int, generator: Generator) -> np.ndarray:
        number = self.configuration.frames_per_clip
        if self.consecutive:
            return np.arange(number) + generator.integers(length - number + 1)
        return np.sort(generator.choice(length, number, replace=False))

    def _emotion(self, index: int) -> Any:
        return self.dataset.entries[index].header["metadata"].get("emotion")

    def _window_audio(self, sample: ClipSample) -> Tensor:
        embeddings = torch.from_numpy(sample.audio_embeddings).float()
        return window_audio(embeddings, sample.number_of_frames, self.num_pad_frames)


@torch.no_grad()
def encode_styles(dataset: ClipDataset, encoder: StyleEncoder) -> list[tuple[Tensor, Tensor]]:
    """Mean and standard deviation (style_dim,) of the style of every clip, by expression and voice.

    Raises:
        DatasetError: a clip lacks what the encoder needs.
    """
    means = average_speakers(dataset) if encoder.config.expression_centring == "speaker" else {}
    inputs = (
        _read_style_inputs(dataset[index].decode(sound=False), encoder, means)
        for index in range(len(dataset))
    )
    styles: list[tuple[Tensor, Tensor]] = []
    for _, group in groupby(inputs, key=lambda tensors: [tensor.shape for tensor in tensors]):
        while clips := list(islice(group, STYLES_AT_ONCE)):
            *expression, audio = (torch.stack(tensors) for tensors in zip(*clips, strict=True))
            style = encoder(*expression, audio=audio)
            styles += zip(style.mean, style.std, strict=True)
    return styles


def _read_style_inputs(
    sample: ClipSample, encoder: StyleEncoder, means: dict[str, np.ndarray]
) -> list[Tensor]:
    """Expression (frames, expression_dim), if the clip has one, and audio embeddings (t, dim)."""
    audio = torch.from_numpy(sample.audio_embeddings).float()
    if audio.shape[-1] != encoder.config.audio_dim:
        raise DatasetError(
            f"clip {sample.key!r} is cached with audio embeddings of {audio.shape[-1]} numbers, "
            f"the style encoder takes {encoder.config.audio_dim}"
        )
    if sample.expression is None:
        return [audio]
    if sample.expression_space != encoder.config.expression_space:
        raise DatasetError(
            f"clip {sample.key!r} has {sample.expression_space} expressions, the style encoder "
            f"takes {encoder.config.expression_space}"
        )
    average = means.get(str(sample.metadata.get("speaker")), 0.0)
    return [torch.from_numpy(sample.expression - average).float(), audio]


def average_speakers(dataset: ClipDataset) -> dict[str, np.ndarray]:
    """The mean expression (expression_dim,) of every speaker."""
    totals: dict[str, np.ndarray] = {}
    frames: dict[str, int] = defaultdict(int)
    for index in range(len(dataset)):
        sample = dataset[index].decode(sound=False)
        if sample.expression is not None:
            speaker = str(sample.metadata.get("speaker"))
            totals[speaker] = totals.get(speaker, 0.0) + sample.expression.sum(axis=0)
            frames[speaker] += len(sample.expression)
    return {speaker: total / frames[speaker] for speaker, total in totals.items()}
