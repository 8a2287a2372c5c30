"""Batches of cached clips for the denoiser, a pure function of (seed, batch number)."""

import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.people import find_person
from svp_diffusers.data.styles import encode_styles, fingerprint_style_encoder
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.noise_svp import share_noise
from svp_diffusers.pipelines.speech_svp import window_audio
from svp_diffusers.training.denoiser.configuration import DenoisingConfiguration

CONDITIONS = ("reference", "audio", "style", "head")


class DenoisingBatches:
    """Draws clips, frames, noise, timesteps and what is left out.

    Of a clip, only the frames that are drawn and what belongs to them are read. Warns how many
    clips have neither a reference picture nor another clip of the same person to take one from: of
    these, a frame of the clip itself is the reference. Warns, too, if the styles that the dataset
    holds are not of this style encoder, and encodes them.

    Args:
        dataset: cached clips.
        style_encoder: of the clips' styles.
        configuration: of the stage.
        num_pad_frames: of the audio projector; None if the audio encoder cuts windows itself.
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
        num_pad_frames: int | None,
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
        heard = "audio_windows" if num_pad_frames is None else "audio_embeddings"
        for index, entry in enumerate(dataset.entries):
            if not dataset.has_member(index, f"{heard}.npy"):
                raise DatasetError(
                    f"clip {entry.key!r} of {dataset.root} has no {heard}, which this pipeline "
                    "hears: run `svp data cache` with it"
                )
        self.styles = self._encode_styles(style_encoder)
        self._clips_of: dict[str, list[int]] = defaultdict(list)
        for index in range(len(dataset)):
            person = find_person(self._metadata(index))
            if person is not None:
                self._clips_of[person].append(index)
        self._warn_of_own_references()

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's clips of global batch `number`.

        Returns:
            `latents`, `noise` (b, c, f, h, w); `reference_latents` (b, c, h, w); `audio_windows`
            (b, f, ...); `head_keypoints` (b, f, points, 2) and `reference_keypoints`
            (b, points, 2) in pixels of the frames; `style` (b, style_dim); `expression` (b, f,
            expression_dim) if the data has it; `timesteps` (b,) in [0, 1); `keep_reference`,
            `keep_audio`, `keep_style`, `keep_head` (b,), 0 where the clip loses that condition.

        Raises:
            ConfigurationError: the clips of a batch do not divide among the processes.
        """
        total = self.configuration.clips_per_batch
        share = share_clips(total, world_size)
        # The batches that are accumulated are parts of one draw, so that they equal a larger batch.
        parts = self.configuration.gradient_accumulation
        step, part = divmod(number, parts)
        seed = [self.configuration.seed, step]
        clips = default_rng(seed).choice(len(self.dataset), total * parts, replace=False)
        first = part * total + rank * share
        rows = range(first, first + share)
        drawn = [self._draw_row(int(clips[row]), default_rng([*seed, row])) for row in rows]
        return {name: torch.stack([row[name] for row in drawn]) for name in drawn[0]}

    def read_style(self, index: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (style_dim,) of the style of clip `index`."""
        if self.styles is None:
            mean, std = self._read_rows(index, "style", np.arange(2))
        else:
            mean, std = self.styles[index]
        return torch.from_numpy(mean), torch.from_numpy(std)

    def read_frames(self, index: int, frames: NDArray[np.int64]) -> dict[str, Tensor]:
        """`latents` (f, c, h, w), `audio_windows` (f, ...), `head_keypoints` (f, points, 2) and, if
        the data has it, `expression` (f, expression_dim) of these frames of clip `index`."""
        read = {
            "latents": torch.from_numpy(self._read_rows(index, "latents", frames)).float(),
            "audio_windows": self._window_audio(index, frames),
            "head_keypoints": torch.from_numpy(self._read_rows(index, "head_keypoints", frames)),
        }
        if self.dataset.entries[index].header["expression_space"] is not None:
            read["expression"] = torch.from_numpy(self._read_rows(index, "expression", frames))
        return read

    def draw_reference(self, index: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Latents (c, h, w) and head keypoints (points, 2) of a picture of the person of a clip."""
        stored = self.dataset.read_members(index, ["reference_latents.npy"])
        reference = stored.array("reference_latents")
        if reference is not None:  # its head is posed as in frame 0
            return torch.from_numpy(reference).float(), self._read_keypoints(index, 0)
        others = self._find_others(index)
        emotion = self._metadata(index).get("emotion")
        different = [each for each in others if self._metadata(each).get("emotion") != emotion]
        candidates = different or others
        if candidates:
            index = int(generator.choice(candidates))
        frame = generator.integers(self._length(index))
        (latents,) = self._read_rows(index, "latents", np.array([frame]))
        return torch.from_numpy(latents).float(), self._read_keypoints(index, int(frame))

    def _draw_row(self, index: int, generator: Generator) -> dict[str, Tensor]:
        configuration = self.configuration
        row = self.read_frames(index, self._draw_frames(self._length(index), generator))
        latents = row["latents"].transpose(0, 1)
        own, common = (
            torch.from_numpy(generator.standard_normal(shape, np.float32))
            for shape in (latents.shape, (len(latents), 1, *latents.shape[2:]))
        )
        mean, std = self.read_style(index)
        noise = torch.from_numpy(generator.standard_normal(len(mean), np.float32))
        dropped = generator.random(len(CONDITIONS)) < [
            getattr(configuration, f"{name}_dropout") for name in CONDITIONS
        ]
        dropped |= generator.random() < configuration.joint_dropout
        reference_latents, reference_keypoints = self.draw_reference(index, generator)
        return {
            **row,
            "latents": latents,
            "noise": share_noise(own, common, configuration.shared_noise),
            "reference_latents": reference_latents,
            "reference_keypoints": reference_keypoints,
            "style": mean + std * noise,
            "timesteps": torch.tensor(generator.random() ** configuration.timestep_power),
            **{
                f"keep_{name}": torch.tensor(float(not is_dropped))
                for name, is_dropped in zip(CONDITIONS, dropped, strict=True)
            },
        }

    def _draw_frames(self, length: int, generator: Generator) -> np.ndarray:
        number = self.configuration.frames_per_clip
        if self.consecutive:
            return np.arange(number) + generator.integers(length - number + 1)
        return np.sort(generator.choice(length, number, replace=False))

    def _window_audio(self, index: int, frames: NDArray[np.int64]) -> Tensor:
        """What the audio projector is given for these frames (n, ...), of what they need."""
        if self.num_pad_frames is None:
            return torch.from_numpy(self._read_rows(index, "audio_windows", frames)).float()
        length, window = self._length(index), 2 * self.num_pad_frames
        stored = self.dataset.open_array(index, "audio_embeddings")
        number, dim = stored.shape
        step = number / (2 * length)  # embeddings between the vectors of a frame, of which it has 2
        first = np.floor((2 * frames - window) * step).astype(int) - 1
        last = np.ceil((2 * frames + window + 2) * step).astype(int) + 1
        needed = np.zeros(number, bool)
        for start, stop in zip(first.clip(0), last, strict=True):
            needed[start:stop] = True
        (rows,) = np.nonzero(needed)
        embeddings = np.zeros((number, dim), np.float32)
        embeddings[rows] = stored.read_rows(rows)
        return window_audio(torch.from_numpy(embeddings), length, self.num_pad_frames)[frames]

    def _encode_styles(self, encoder: StyleEncoder) -> list[NDArray[np.float32]] | None:
        """None if the dataset holds the styles of this encoder."""
        fingerprint = fingerprint_style_encoder(encoder)
        missing = sum(
            self._metadata(index).get("cached_with", {}).get("style_encoder") != fingerprint
            for index in range(len(self.dataset))
        )
        if not missing:
            return None
        warnings.warn(
            f"{missing} of the {len(self.dataset)} clips of {self.dataset.root} hold no style of "
            "the pipeline's style encoder; all are encoded now, by every process at every start. "
            "To do it once, run `svp data cache` with this pipeline",
            stacklevel=3,
        )
        return encode_styles(self.dataset, encoder)

    def _warn_of_own_references(self) -> None:
        alone = sum(
            not self._find_others(index)
            and not self.dataset.has_member(index, "reference_latents.npy")
            for index in range(len(self.dataset))
        )
        if alone:
            warnings.warn(
                f"{alone} of the {len(self.dataset)} clips of {self.dataset.root} have no other "
                "clip of the same person (`identity` or `speaker` in their metadata) to take a "
                "reference from, and get a frame of their own, which gives their style away",
                stacklevel=3,
            )

    def _find_others(self, index: int) -> list[int]:
        """The other clips of the person of clip `index`."""
        person = find_person(self._metadata(index))
        return [] if person is None else [i for i in self._clips_of[person] if i != index]

    def _read_rows(self, index: int, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self.dataset.open_array(index, name).read_rows(rows)

    def _read_keypoints(self, index: int, frame: int) -> Tensor:
        """Head keypoints (points, 2) of one frame."""
        return torch.from_numpy(self._read_rows(index, "head_keypoints", np.array([frame]))[0])

    def _metadata(self, index: int) -> dict[str, Any]:
        metadata: dict[str, Any] = self.dataset.entries[index].header["metadata"]
        return metadata

    def _length(self, index: int) -> int:
        return int(self.dataset.entries[index].header["frames"])


def share_clips(total: int, world_size: int) -> int:
    """Clips of a batch for each process; raises `ConfigurationError` if they do not divide."""
    if total % world_size:
        raise ConfigurationError(
            f"clips_per_batch {total} does not divide among {world_size} processes"
        )
    return total // world_size
