"""Latents, audio embeddings and styles computed once: training then needs none of the encoders.

A cached dataset is a dataset like any other whose clips hold `latents`, `audio_embeddings` (or
`audio_windows`), `style` and, of those that have a reference, `reference_latents` instead of
pictures. It fits only training with the very encoders that made it: their fingerprints are in every
clip's metadata.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from svp_diffusers.checkpoints.fingerprint import fingerprint_weights
from svp_diffusers.data.clips import ClipSample, StoredClip, encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.data.styles import (
    SpeakerAverages,
    average_dataset,
    encode_clip_style,
    fingerprint_style_encoder,
)
from svp_diffusers.data.workers import map_in_order
from svp_diffusers.errors import CheckpointError, ConfigurationError, DatasetError
from svp_diffusers.pipelines.speech_svp import encode_speech, encode_windows

if TYPE_CHECKING:
    from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline


def cache_dataset(
    dataset: ClipDataset,
    output: Path,
    make_pipeline: Callable[[], "SVPTalkingHeadPipeline"],
    batch_size: int = 8,
    clips: int | None = None,
    workers: int = 1,
    report_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a copy of a dataset with latents, audio embeddings and styles in place of the frames.

    Latents are the mode of the VAE's distribution times its scaling factor, embeddings (or windows,
    where the audio encoder cuts them) those of the speech; both are what the pipeline itself uses,
    stored as float16. Styles are of voice and expressions, which a style encoder with speaker
    centring takes relative to the speaker's mean over the whole dataset.

    Args:
        dataset: with frames.
        output: folder of the new dataset.
        make_pipeline: see `load_encoders`; must pickle if there are several workers. The pipeline
            needs `vae`, `audio_encoder`, `feature_extractor` and `style_encoder` only, on the
            device to use.
        batch_size: frames encoded at once.
        clips: how many, from the first on; all by default.
        workers: processes, each with a pipeline of its own.
        report_progress: called with the number of clips done and of all.

    Raises:
        DatasetError: the dataset is cached already, the output holds one, or a clip lacks what the
            style encoder takes.
        ConfigurationError: frames that the VAE cannot halve often enough.
        OutputError: the output cannot be written.
    """
    total = len(dataset) if clips is None else min(clips, len(dataset))
    threads = max(1, torch.get_num_threads() // workers)  # more than there are cores slow all down
    averages = average_dataset(dataset)
    make_function = partial(_prepare, make_pipeline, batch_size, threads, averages)
    with ShardWriter(output) as writer:
        stored = (dataset[index] for index in range(total))
        for done, clip in enumerate(map_in_order(make_function, stored, workers), start=1):
            writer.write(clip)
            report_progress(done, total)


def load_encoders(folder: Path, device: torch.device) -> "SVPTalkingHeadPipeline":
    """Load the encoders of a checkpoint, in float32, without its denoising half.

    Raises:
        CheckpointError: a weight file is missing or damaged.
    """
    from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

    unneeded = ("unet", "reference_unet", "head_guider", "audio_projector")
    try:
        pipeline = SVPTalkingHeadPipeline.from_pretrained(str(folder), **dict.fromkeys(unneeded))
    except Exception as error:
        raise CheckpointError(f"the checkpoint {folder} cannot be loaded: {error}") from error
    pipeline.vae.to(memory_format=torch.channels_last)  # encodes 1.5 times as fast on CPUs
    return pipeline.to(device)


def _prepare(
    make_pipeline: Callable[[], "SVPTalkingHeadPipeline"],
    batch_size: int,
    threads: int,
    averages: SpeakerAverages,
) -> Callable[[StoredClip], StoredClip]:
    torch.set_num_threads(threads)
    pipeline = make_pipeline()
    fingerprint = {
        "vae": fingerprint_weights(pipeline.vae),
        "audio_encoder": fingerprint_weights(pipeline.audio_encoder),
        "style_encoder": fingerprint_style_encoder(pipeline.style_encoder),
    }
    return partial(_cache_clip, pipeline, batch_size, averages, fingerprint)


def _cache_clip(
    pipeline: "SVPTalkingHeadPipeline",
    batch_size: int,
    averages: SpeakerAverages,
    fingerprint: dict[str, str],
    clip: StoredClip,
) -> StoredClip:
    sample = clip.decode()
    if sample.frames is None:
        raise DatasetError(f"clip {clip.key!r} is cached already; cache the dataset with frames")
    height, width = sample.frames.shape[1:3]
    if height % pipeline.vae_scale_factor or width % pipeline.vae_scale_factor:
        raise ConfigurationError(
            f"clip {clip.key!r} has frames of {width}x{height} pixels; this VAE needs multiples of "
            f"{pipeline.vae_scale_factor}"
        )
    reference = sample.reference
    heard = replace(sample, **_encode_audio(sample, pipeline))
    cached = encode_clip(
        replace(
            heard,
            frames=None,
            latents=encode_frames(sample.frames, pipeline.vae, batch_size),
            reference=None,
            reference_latents=(
                None if reference is None else encode_frames(reference[None], pipeline.vae, 1)[0]
            ),
            style=encode_clip_style(heard, pipeline.style_encoder, averages),
            metadata={**sample.metadata, "cached_with": fingerprint},
        )
    )
    # Keypoints stay in pixels of the frames, so their size must be known.
    size: dict[str, Any] = {"height": height, "width": width}
    return replace(cached, header={**cached.header, **size})


@torch.no_grad()
def encode_frames(frames: np.ndarray, vae: Any, batch_size: int) -> np.ndarray:
    """Encode `(f, H, W, 3)` uint8 frames to `(f, c, h, w)` float16 latents, scaled for the UNet."""
    latents = []
    for start in range(0, len(frames), batch_size):
        batch = torch.from_numpy(frames[start : start + batch_size]).permute(0, 3, 1, 2)
        pixels = batch.to(vae.device, vae.dtype) / 127.5 - 1
        latents.append(vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor)
    return np.asarray(torch.cat(latents).to("cpu", torch.float16).numpy())


@torch.no_grad()
def _encode_audio(sample: ClipSample, pipeline: "SVPTalkingHeadPipeline") -> dict[str, Any]:
    """`audio_embeddings` of the recording, or `audio_windows` of its frames."""
    encoder, extractor = pipeline.audio_encoder, pipeline.feature_extractor
    waveform = torch.from_numpy(sample.waveform)
    if isinstance(encoder, PreTrainedModel):
        name, heard = "audio_embeddings", encode_speech(waveform, encoder, extractor)
    else:
        name = "audio_windows"
        heard = encode_windows(waveform, encoder, extractor, sample.number_of_frames, sample.fps)
    return {name: np.asarray(heard.to("cpu", torch.float16).numpy())}
