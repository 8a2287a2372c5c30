"""Checkpoints of `LipSyncPipeline`: found, read and loaded."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from svp_diffusers.checkpoints.json_files import is_lip_sync, read_config, read_model_index
from svp_diffusers.checkpoints.loading import (
    check_components,
    download_checkpoint,
    find_checkpoint,
)
from svp_diffusers.checkpoints.precision import DTYPES
from svp_diffusers.errors import CheckpointError
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline


@dataclass(frozen=True)
class LipSyncCheckpoint:
    """A checkpoint, of which no weight is loaded.

    Attributes:
        folder: where it lies.
        fps: of its videos.
        size: side of the aligned faces in pixels.
        num_inference_steps: unless a call says otherwise.
        guidance_scale: unless a call says otherwise.
    """

    folder: Path
    fps: Fraction
    size: int
    num_inference_steps: int
    guidance_scale: float


def find_lip_sync(model: str | Path) -> LipSyncCheckpoint:
    """Find a checkpoint; one on the Hub is downloaded to the cache.

    Raises:
        CheckpointError: if there is none, it is incomplete, or of another pipeline.
    """
    folder = download_checkpoint(model, LipSyncPipeline)
    index = read_model_index(folder)
    if not is_lip_sync(index):
        raise CheckpointError(
            f"{folder} is no lip-sync checkpoint: it animates a portrait, with `svp generate`. "
            "`svp convert latentsync` makes one."
        )
    check_components(folder)
    return LipSyncCheckpoint(
        folder=folder,
        fps=Fraction(index.get("fps", 25.0)).limit_denominator(1001),
        size=read_config(folder, "unet")["sample_size"] * 8,
        num_inference_steps=index.get("num_inference_steps", 20),
        guidance_scale=index.get("guidance_scale", 1.5),
    )


def find_any_checkpoint(model: str | Path | None) -> Path:
    """The folder of a checkpoint of either pipeline; see `find_checkpoint` and `find_lip_sync`."""
    folder = download_checkpoint(model, LipSyncPipeline)  # whose components the other has too
    if is_lip_sync(read_model_index(folder)):
        return find_lip_sync(folder).folder
    return find_checkpoint(folder)


def load_lip_sync(folder: Path, device: torch.device, dtype: str) -> LipSyncPipeline:
    """Load a checkpoint's weights; the audio encoder, which runs once, stays in float32.

    Raises:
        CheckpointError: if a weight file is missing or damaged.
    """
    dtypes = {"default": DTYPES[dtype], "audio_encoder": torch.float32}
    try:
        pipeline: LipSyncPipeline = LipSyncPipeline.from_pretrained(str(folder), dtype=dtypes)
    except Exception as error:
        raise CheckpointError(f"The checkpoint {folder} cannot be loaded: {error}") from error
    if device.type == "cpu":  # where convolutions are faster so
        for network in (pipeline.vae, pipeline.unet):
            network.to(memory_format=torch.channels_last)
    return pipeline.to(device, silence_dtype_warnings=True)
