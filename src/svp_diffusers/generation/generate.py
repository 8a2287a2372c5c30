"""From files to files: the job of `svp generate`, checked to the end before a weight is loaded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count, starmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.loading import load_pipeline
from svp_diffusers.checkpoints.precision import open_precision, select_precision
from svp_diffusers.checkpoints.style_adapters import load_adapter
from svp_diffusers.errors import CheckpointError
from svp_diffusers.generation.finished_video import write_finished_video
from svp_diffusers.generation.portrait import Portrait
from svp_diffusers.generation.preparation import PreparedVideo, prepare_video
from svp_diffusers.generation.provenance import describe_run, hash_checkpoint
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.generation.streaming import Performed, stream_performance
from svp_diffusers.generation.styles import load_styles
from svp_diffusers.generation.whole_picture import paste_videos
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold
from svp_diffusers.media.manifest import Provenance
from svp_diffusers.pipelines.head_svp import Head
from svp_diffusers.pipelines.output_svp import SVPTalkingHeadPipelineOutput
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_schedule_svp import Style

Progress = Callable[[str, int, int], None]
"""Told what is going on, how many steps of it are done, and how many there are."""
Show = Callable[[NDArray[np.uint8]], None]
"""Given each frame (height, width, 3) of the first video when it is finished."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint's pipeline, ready to make many videos, the hashes of its files, and what it
    computes in."""

    pipeline: SVPTalkingHeadPipeline
    hashes: dict[str, str]
    precision: str


def load_checkpoint(
    folder: Path, device: torch.device, dtype: str | None, adapter: Path | None = None
) -> LoadedCheckpoint:
    """Load a checkpoint's weights and those of a style adapter.

    Args:
        folder: of the checkpoint.
        device: to compute on.
        dtype: see `select_precision`.
        adapter: of the style adapter.

    Raises:
        SVPError: see `load_pipeline`.
    """
    precision = select_precision(dtype, device)
    pipeline = load_pipeline(folder, device, precision)
    if adapter is not None:
        load_adapter(pipeline, adapter)
    pipeline.set_progress_bar_config(disable=True)
    return LoadedCheckpoint(pipeline, hash_checkpoint(folder, adapter), precision)


def generate_video(
    request: GenerationRequest,
    on_progress: Progress = lambda task, done, total: None,
    detector: FaceDetector | None = None,
) -> list[Path]:
    """Make the video or videos of a request, each with its manifest beside it.

    Args:
        request: what to make.
        on_progress: called at every step.
        detector: finds the portrait's face; the package's own networks by default.

    Returns:
        The files: the video; or, for several performances, the side-by-side video and each one.

    Raises:
        SVPError: of the kind that fits, before any weight is loaded; nothing is left behind.
    """
    prepared = prepare_video(request, detector)
    with hold(prepared.outputs[0], "video", patience=WORK_PATIENCE_SECONDS):
        checkpoint = load_checkpoint(
            prepared.folder, prepared.device, request.dtype, prepared.adapter
        )
        return make_video(prepared, checkpoint, on_progress)


def make_video(
    prepared: PreparedVideo,
    checkpoint: LoadedCheckpoint,
    on_progress: Progress = lambda task, done, total: None,
    show: Show = lambda frame: None,
) -> list[Path]:
    """Make what was prepared, see `generate_video`; the checkpoint is as it was afterwards."""
    pipeline = checkpoint.pipeline
    if prepared.adapter is not None:
        pipeline.set_style_adapter_scale(prepared.request.style_adapter_scale)
    request = fill_defaults(prepared.request, checkpoint, prepared.size)
    request = fill_head_motion(request, pipeline, prepared.portraits)
    request = replace(request, stream=prepared.streamed)
    style = load_styles(prepared.styles, pipeline)
    provenance = describe_run(prepared.asked, request, prepared.styles, checkpoint.hashes)
    with open_precision(checkpoint.precision, prepared.device), numbers_only():
        performances = perform(prepared, pipeline, request, style, on_progress)
        write_outputs(prepared, pipeline, performances, provenance, on_progress, show)
    return prepared.outputs


def perform(
    prepared: PreparedVideo,
    pipeline: SVPTalkingHeadPipeline,
    request: GenerationRequest,
    style: Style,
    on_progress: Progress,
) -> list[Iterable[Performed]]:
    """Every performance, piece by piece."""
    generator = torch.Generator().manual_seed(request.seed)
    if prepared.streamed:
        arguments = call_arguments(prepared, request, 0, style, generator)
        return [stream_performance(pipeline, prepared.voices.heard, arguments)]
    performances: list[Iterable[Performed]] = []
    for number, voice in enumerate(prepared.voices.spoken):
        made = pipeline(
            audio=voice.samples,
            **call_arguments(prepared, request, number, style, generator),
            face_embedding=prepared.face_embedding,
            sampling_rate=voice.sampling_rate,
            num_videos_per_style=request.num_styles,
            callback_on_step_end=_report_steps(on_progress),
        )
        assert isinstance(made, SVPTalkingHeadPipelineOutput)
        performances += [[Performed(*each)] for each in zip(made.frames, made.details, strict=True)]
    return performances


def call_arguments(
    prepared: PreparedVideo,
    request: GenerationRequest,
    number: int,
    style: Style,
    generator: torch.Generator,
) -> dict[str, Any]:
    """What the pipeline is called with for one of the portraits, but for the speech."""
    portrait, head_pictures = prepared.portraits[number], prepared.head_pictures[number]
    return {
        "image": portrait.crop.image,
        "style": style,
        "head_keypoints": head_pictures,
        "portrait_keypoints": portrait.keypoints if head_pictures is None else None,
        "find_face": False,
        "head_motion": request.head_motion,
        "head_motion_scale": request.head_motion_scale,
        "height": prepared.size,
        "width": prepared.size,
        "fps": prepared.fps,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "audio_guidance_scale": request.audio_guidance_scale,
        "style_guidance_scale": request.style_guidance_scale,
        "reference_attention_scale": request.reference_attention_scale,
        "audio_attention_scale": request.audio_attention_scale,
        "style_attention_scale": request.style_attention_scale,
        "style_temperature": request.style_temperature,
        "context_length": request.context_length,
        "context_overlap": request.context_overlap,
        "detail_scale": request.detail_scale,
        "generator": generator,
        "output_type": "latent",
    }


@contextmanager
def numbers_only() -> Iterator[None]:
    """Raise `CheckpointError` where a network of the pipeline gives NaN or infinity."""
    try:
        yield
    except FloatingPointError as error:
        raise CheckpointError(f"{error} (--dtype)") from error


def fill_defaults(
    request: GenerationRequest, checkpoint: LoadedCheckpoint, size: int
) -> GenerationRequest:
    """Put what is used where nothing was asked for: the manifest shows it."""
    pipeline = checkpoint.pipeline
    guidance_scale, audio_guidance_scale, style_guidance_scale = pipeline.fill_guidance_scales(
        request.guidance_scale, request.audio_guidance_scale, request.style_guidance_scale
    )
    config = pipeline.config
    return replace(
        request,
        steps=request.steps or config.num_inference_steps,
        fps=request.fps or f"{config.fps:g}",
        guidance_scale=guidance_scale,
        audio_guidance_scale=audio_guidance_scale,
        style_guidance_scale=style_guidance_scale,
        size=size,
        device=str(pipeline.device),
        dtype=checkpoint.precision,
    )


def fill_head_motion(
    request: GenerationRequest, pipeline: SVPTalkingHeadPipeline, portraits: Sequence[Portrait]
) -> GenerationRequest:
    """Put how a single head moves, where no motion is taken over."""
    own = portraits[0].keypoints
    if len(portraits) > 1 or own is None or request.head_video or request.head_keypoints:
        return request
    chosen = pipeline.choose_head_motion(
        request.head_motion, request.head_motion_scale, Head(None, own)
    )
    return replace(request, head_motion="still" if chosen is None else "generated")


def write_outputs(
    prepared: PreparedVideo,
    pipeline: SVPTalkingHeadPipeline,
    performances: Sequence[Iterable[Performed]],
    provenance: Provenance,
    on_progress: Progress,
    show: Show,
) -> None:
    """Decode and write every video a few frames at a time, then its manifest.

    Videos are put back into the picture if they are to be, else set side by side.

    Args:
        performances: each piece by piece.
    """
    outputs, heard, fps = prepared.outputs, prepared.voices.heard, prepared.fps
    groups = [performances]
    if len(outputs) > 1:
        groups += [[each] for each in performances]
    total = len(groups) * prepared.voices.count_frames(fps)
    done = count(1)

    def report(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            if path == outputs[0]:
                show(frame)
            yield frame
            on_progress("writing", next(done), total)

    for path, group in zip(outputs, groups, strict=True):
        if prepared.pasted:
            videos = [decode_side_by_side(pipeline, [video]) for video in group]
            frames = paste_videos(prepared.pasted, videos)
        else:
            frames = decode_side_by_side(pipeline, group)
        write_finished_video(path, report(frames), fps, heard, provenance, prepared.signer)


def decode_side_by_side(
    pipeline: SVPTalkingHeadPipeline, videos: Sequence[Iterable[Performed]]
) -> Iterator[NDArray[np.uint8]]:
    """Decode videos of one length into one beside the other.

    Args:
        videos: each piece by piece, cut alike, of one size.

    Yields:
        Frames (height, videos * width, 3), a few of them in memory at a time.
    """
    decoded = (chain.from_iterable(starmap(pipeline.decode_latents, video)) for video in videos)
    for parts in zip(*decoded, strict=True):
        joined = torch.cat([part.float().cpu() for part in parts], dim=3)
        yield from (joined * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _report_steps(on_progress: Progress) -> Callable[..., dict[str, torch.Tensor]]:
    def report(
        pipeline: SVPTalkingHeadPipeline,
        step: int,
        timestep: torch.Tensor,
        tensors: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        on_progress("denoising", step + 1, pipeline.num_timesteps)
        return tensors

    return report
