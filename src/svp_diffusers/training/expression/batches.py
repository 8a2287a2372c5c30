"""What an expression encoder is trained on: augmented frames, or latents held in memory."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from svp_diffusers.checkpoints.loading import load_network
from svp_diffusers.data.frames import FrameDataset, to_pixels
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration

LIPS = (
    *("mouthPucker", "mouthFunnel", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthSmileLeft", "mouthSmileRight"),
)
COEFFICIENTS = (
    "jawOpen",
    *LIPS,
    *("mouthFrownLeft", "mouthFrownRight", "mouthPressLeft", "mouthPressRight"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("browInnerUp", "browOuterUpLeft", "browOuterUpRight", "browDownLeft", "browDownRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight"),
    *("eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
"""What is read: all that the procedural talkers show but the gaze, which has no part in speech."""

_COLUMNS = [ARKIT_BLENDSHAPES.index(name) for name in COEFFICIENTS]


def select_coefficients(expression: np.ndarray) -> Tensor:
    """The columns `COEFFICIENTS` of `(n, 52)` as float32 `(n, len(COEFFICIENTS))`."""
    return torch.from_numpy(expression[:, _COLUMNS]).float()


def check_space(clips: ClipDataset) -> None:
    """Raise `DatasetError` for a clip whose expression is not of ARKit's coefficients."""
    for entry in clips.entries:
        space = entry.header["expression_space"]
        if space != "arkit52":
            raise DatasetError(
                f"clip {entry.key!r} of {clips.root} has {space or 'no'} expressions; an "
                "expression encoder learns from arkit52, as of `svp data synth`"
            )


class FrameBatches:
    """Batches of augmented frames; the same number gives the same batch."""

    def __init__(
        self, frames: FrameDataset, configuration: ExpressionTrainingConfiguration
    ) -> None:
        self.frames, self.configuration = frames, configuration

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's part: `sample` (n, 3, H, W), `expression` (n, coefficients)."""
        configuration = self.configuration
        seed = [configuration.seed, number]
        indices, first = self.frames.draw(
            configuration.batch_size, seed, rank, world_size, configuration.frames_per_clip
        )
        batch = self.frames.read(indices)
        pixels = [
            augment_frame(frame, configuration, np.random.default_rng([*seed, row]))
            for row, frame in enumerate(to_pixels(batch.pixels), first)
        ]
        return {"sample": torch.stack(pixels), "expression": select_coefficients(batch.expression)}


@dataclass(frozen=True)
class HeldLatents:
    """`n` frames as latents, scaled as the UNet sees them, of `m` clips.

    Args:
        latents: `(n, c, h, w)` float16.
        expression: `(n, 52)`.
        references: `(m, c, h, w)` float16, of the picture of the person that comes with a clip, or
            of the first frame of a clip that has none.
        clips: `(n,)`, the clip of each frame.
    """

    latents: np.ndarray
    expression: np.ndarray
    references: np.ndarray
    clips: np.ndarray

    def to_batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """`sample` and `reference` (rows, c, h, w), `expression` (rows, coefficients)."""
        return {
            "sample": torch.from_numpy(self.latents[rows]).float(),
            "reference": torch.from_numpy(self.references[self.clips[rows]]).float(),
            "expression": select_coefficients(self.expression[rows]),
        }


class LatentBatches:
    """Batches of latents with noise, and their references; the same number gives the same batch."""

    def __init__(self, held: HeldLatents, configuration: ExpressionTrainingConfiguration) -> None:
        self.held, self.configuration = held, configuration

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's part; see `HeldLatents.to_batch`."""
        configuration = self.configuration
        if configuration.batch_size % world_size:
            raise ConfigurationError(
                f"batch_size {configuration.batch_size} cannot be shared by {world_size} processes"
            )
        share = configuration.batch_size // world_size
        seed = [configuration.seed, number]
        drawn = np.random.default_rng(seed).integers(
            len(self.held.latents), size=share * world_size
        )
        rows = range(rank * share, (rank + 1) * share)
        batch = self.held.to_batch(drawn[rows.start : rows.stop])
        noisy = [
            add_noise(sample, configuration.noise, np.random.default_rng([*seed, row]))
            for row, sample in zip(rows, batch["sample"], strict=True)
        ]
        return batch | {"sample": torch.stack(noisy)}


def read_latents(
    configuration: ExpressionTrainingConfiguration, split: str, number: int
) -> HeldLatents:
    """`number` latents spread over a split, or all if there are fewer.

    Raises:
        ConfigurationError: the dataset has frames, and no VAE is named.
        CheckpointError: the VAE cannot be loaded.
        DatasetError: see `FrameDataset` and `check_space`.
    """
    clips = ClipDataset(configuration.data, split)
    check_space(clips)
    if clips.entries[0].header["pictures"] == "latents":
        return _read_cached(clips, number)
    if configuration.vae is None:
        raise ConfigurationError(
            f"{configuration.data} has frames; name the VAE that encodes them (vae), or a dataset "
            "that `svp data cache` made"
        )
    from svp_diffusers.data.cache import encode_frames

    frames = FrameDataset(configuration.data, split)
    vae = load_network(SpaceToDepthAutoencoderKL, str(configuration.vae), "VAE")
    chosen = frames.spread(number)
    read = [frames.read(part) for part in np.array_split(chosen, -(-len(chosen) // 64))]
    latents = np.concatenate([encode_frames(batch.pixels, vae, 8) for batch in read])
    expression = np.concatenate([batch.expression for batch in read])
    numbers, places = np.unique(frames.find_clips(chosen), return_inverse=True)
    references = encode_frames(frames.read_references(numbers), vae, 8)
    return HeldLatents(latents, expression, references, places)


def augment_frame(
    pixels: Tensor,
    configuration: ExpressionTrainingConfiguration,
    generator: np.random.Generator,
) -> Tensor:
    """Move, blur, tint and roughen a frame (3, H, W) in [-1, 1]."""
    shift = configuration.shift
    zoom, right, down = generator.uniform(-shift, shift, 3).tolist()
    matrix = torch.tensor([[[1 + zoom, 0, 2 * right], [0, 1 + zoom, 2 * down]]])
    grid = F.affine_grid(matrix, [1, *pixels.shape], align_corners=False)
    pixels = F.grid_sample(pixels[None], grid, padding_mode="border", align_corners=False)
    size = pixels.shape[-2:]
    share = generator.uniform(configuration.blur, 1)
    small = [max(1, round(side * share)) for side in size]
    pixels = F.interpolate(pixels, small, mode="bilinear", antialias=True, align_corners=False)
    pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False)[0]
    colour = configuration.colour
    gain = 1 + generator.uniform(-colour, colour)
    tint = generator.uniform(-colour, colour) + generator.uniform(-colour, colour, 3) / 2
    pixels = gain * pixels + torch.from_numpy(tint).float()[:, None, None]
    return add_noise(pixels, configuration.noise, generator)


def add_noise(sample: Tensor, largest: float, generator: np.random.Generator) -> Tensor:
    """Add Gaussian noise of a standard deviation drawn uniformly from 0 to `largest`."""
    std = generator.uniform(0, largest)
    noise = torch.from_numpy(generator.standard_normal(tuple(sample.shape), np.float32))
    return sample + std * noise


def _read_cached(clips: ClipDataset, number: int) -> HeldLatents:
    per_clip = max(1, -(-number // len(clips)))
    latents, expression, references = [], [], []
    for index in np.unique(np.linspace(0, len(clips) - 1, number).round().astype(int)).tolist():
        length = clips.entries[index].header["frames"]
        frames = np.linspace(0, length - 1, per_clip).round().astype(int)
        latents.append(clips.open_array(index, "latents").read_rows(frames))
        expression.append(clips.open_array(index, "expression").read_rows(frames))
        stored = clips.read_members(index, ["reference_latents.npy"]).array("reference_latents")
        references.append(latents[-1][0] if stored is None else stored)
    return HeldLatents(
        np.concatenate(latents),
        np.concatenate(expression),
        np.stack(references),
        np.repeat(np.arange(len(latents)), per_clip),
    )
