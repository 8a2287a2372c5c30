"""From files to files: the job of `svp generate`, checked to the end before a weight is loaded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import (
    CallDefaults,
    find_checkpoint,
    load_pipeline,
    name_checkpoint,
    outline_style_encoder,
    read_call_defaults,
    select_device,
)
from svp_diffusers.errors import CheckpointError
from svp_diffusers.generation.checks import check_overwritten, check_request, choose_size
from svp_diffusers.generation.head_motion import (
    check_generated_motion,
    choose_head_pictures,
    prepare_head_motion,
    warn_of_large_motion,
)
from svp_diffusers.generation.portrait import Portrait, prepare_portraits
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.generation.styles import check_styles, load_styles
from svp_diffusers.generation.voices import read_voices
from svp_diffusers.generation.whole_picture import paste_videos, place_portraits
from svp_diffusers.media.audio import Recording
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.manifest import Provenance, hash_folder, write_manifest
from svp_diffusers.media.paste_back import PastedCrop, trim_to_even
from svp_diffusers.media.video import parse_fps, write_video
from svp_diffusers.pipelines.head_pictures_svp import HeadPictures
from svp_diffusers.pipelines.head_svp import Head
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_schedule_svp import Style
from svp_diffusers.style.parse import StyleEntry, format_styles, parse_style

Progress = Callable[[str, int, int], None]
"""Told what is going on, how many steps of it are done, and how many there are."""


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
    outputs = check_request(request)
    given_fps = None if request.fps is None else parse_fps(request.fps)
    picture = read_image(request.image)
    device = select_device(request.device)
    folder = find_checkpoint(request.model)
    defaults = read_call_defaults(folder)
    request = fill_context(request, defaults)
    fps = defaults.fps if given_fps is None else given_fps
    voices = read_voices(request, fps)
    num_frames = voices.count_frames(fps)
    layout = read_config(folder, "head_guider")["keypoint_layout"]
    unet = read_config(folder, "unet")
    size = choose_size(request, unet["sample_size"], unet["motion_max_seq_length"])
    outline = outline_style_encoder(folder)
    styles = parse_style(request.style, outline.style_bank)
    check_styles(styles, outline, voices.heard.duration)
    style_files = [each.file for each in styles if each.file is not None]
    check_overwritten([*request.files().values(), *style_files], outputs)
    detector = detector or LandmarkFaceDetector()
    if request.paste_back:
        picture = trim_to_even(picture)
    portraits = prepare_portraits(request, voices.faces, picture, size, layout, detector)
    landmarker = detector.landmarker if isinstance(detector, LandmarkFaceDetector) else None
    motion = prepare_head_motion(request, portraits[0], fps, num_frames, layout, landmarker)
    if motion is not None:
        warn_of_large_motion(folder, motion, size)
    if request.head_motion == "generated":
        for portrait in portraits:
            check_generated_motion(folder, portrait, layout)
    pasted = place_portraits(picture, portraits) if request.paste_back else []

    pipeline = load_pipeline(folder, device, request.dtype)
    pipeline.set_progress_bar_config(disable=True)
    request = fill_defaults(request, pipeline, size)
    request = fill_head_motion(request, pipeline, portraits)
    style = load_styles(styles, pipeline)
    generator = torch.Generator().manual_seed(request.seed)
    latents: list[torch.Tensor] = []
    for portrait, spoken in zip(portraits, voices.spoken, strict=True):
        with numbers_only():
            latents += animate_portrait(
                pipeline,
                request,
                portrait,
                choose_head_pictures(portrait, motion, layout, size),
                spoken,
                style,
                fps,
                generator,
                on_progress,
            )
    provenance = describe_run(request, styles, folder)
    with numbers_only():
        write_outputs(
            outputs, pipeline, latents, pasted, voices.heard, fps, provenance, on_progress
        )
    return outputs


def animate_portrait(
    pipeline: SVPTalkingHeadPipeline,
    request: GenerationRequest,
    portrait: Portrait,
    head_pictures: HeadPictures | None,
    spoken: Recording,
    style: Style,
    fps: Fraction,
    generator: torch.Generator,
    on_progress: Progress,
) -> list[torch.Tensor]:
    """Let one portrait speak: the latents (channels, frames, h, w) of each performance."""
    latents: list[torch.Tensor]
    latents, _ = pipeline(
        portrait.crop.image,
        spoken.samples,
        style,
        head_keypoints=head_pictures,
        portrait_keypoints=portrait.keypoints if head_pictures is None else None,
        find_face=False,
        head_motion=request.head_motion,
        head_motion_scale=request.head_motion_scale,
        height=request.size,
        width=request.size,
        fps=fps,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        audio_guidance_scale=request.audio_guidance_scale,
        style_guidance_scale=request.style_guidance_scale,
        reference_attention_scale=request.reference_attention_scale,
        audio_attention_scale=request.audio_attention_scale,
        style_attention_scale=request.style_attention_scale,
        style_temperature=request.style_temperature,
        num_videos_per_style=request.num_styles,
        context_length=request.context_length,
        context_overlap=request.context_overlap,
        sampling_rate=spoken.sampling_rate,
        generator=generator,
        output_type="latent",
        return_dict=False,
        callback_on_step_end=_report_steps(on_progress),
    )
    return latents


@contextmanager
def numbers_only() -> Iterator[None]:
    """Raise `CheckpointError` where a network of the pipeline gives NaN or infinity."""
    try:
        yield
    except FloatingPointError as error:
        raise CheckpointError(f"{error} (--dtype)") from error


def fill_context(request: GenerationRequest, defaults: CallDefaults) -> GenerationRequest:
    """Put the checkpoint's windows where none were asked for."""
    length, overlap = request.context_length, request.context_overlap
    return replace(
        request,
        context_length=defaults.context_length if length is None else length,
        context_overlap=defaults.context_overlap if overlap is None else overlap,
    )


def fill_defaults(
    request: GenerationRequest, pipeline: SVPTalkingHeadPipeline, size: int
) -> GenerationRequest:
    """Put what is used where nothing was asked for: the manifest shows it."""
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
    outputs: Sequence[Path],
    pipeline: SVPTalkingHeadPipeline,
    latents: Sequence[torch.Tensor],
    pasted: Sequence[PastedCrop],
    recording: Recording,
    fps: Fraction,
    provenance: Provenance,
    on_progress: Progress,
) -> None:
    """Decode and write every video a few frames at a time, then its manifest.

    Videos are put back into the picture if they are `pasted`, else set side by side.
    """
    groups = [latents] if len(outputs) == 1 else [latents, *([each] for each in latents)]
    total = sum(group[0].shape[1] for group in groups)
    done = count(1)

    def report(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            yield frame
            on_progress("writing", next(done), total)

    for path, group in zip(outputs, groups, strict=True):
        if pasted:
            videos = [decode_side_by_side(pipeline, [video]) for video in group]
            frames = paste_videos(pasted, videos)
        else:
            frames = decode_side_by_side(pipeline, group)
        write_video(path, report(frames), fps, recording, {"title": path.stem})
        write_manifest(path, provenance)


def describe_run(
    request: GenerationRequest, styles: Sequence[StyleEntry], folder: Path
) -> Provenance:
    """What the manifest says of a request, all of whose values are filled in."""
    files = [entry.file for entry in styles if entry.file is not None]
    source = name_checkpoint(request.model)
    return Provenance(
        seed=request.seed,
        arguments={**asdict(request), "model": source, "style": format_styles(styles)},
        inputs={**request.files(), **({"style": files} if files else {})},
        checkpoint={"source": source, "sha256": hash_folder(folder)},
        machine={"device": str(request.device), "threads": torch.get_num_threads()},
    )


def decode_side_by_side(
    pipeline: SVPTalkingHeadPipeline, videos: Sequence[torch.Tensor]
) -> Iterator[NDArray[np.uint8]]:
    """Decode videos of one length, each (channels, frames, h, w), into one beside the other.

    Yields:
        Frames (height, videos * width, 3), a few of them in memory at a time.
    """
    for parts in zip(*(pipeline.decode_latents(video) for video in videos), strict=True):
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
