"""From files to files: the job of `svp generate`, checked to the end before a weight is loaded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.loading import (
    find_checkpoint,
    load_pipeline,
    outline_style_encoder,
    read_config,
    select_device,
)
from svp_diffusers.errors import ConfigurationError, StyleError
from svp_diffusers.generation.portrait import (
    KeypointImages,
    prepare_head_motion,
    prepare_portrait,
)
from svp_diffusers.generation.request import GenerationRequest, check_request
from svp_diffusers.media.audio import Recording, check_speech, read_audio, to_mono
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.image import read_image
from svp_diffusers.media.input import check_input
from svp_diffusers.media.manifest import hash_folder, write_manifest
from svp_diffusers.media.video import parse_fps, write_video
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.speech_svp import count_frames
from svp_diffusers.style.clip import encode_clip
from svp_diffusers.style.parse import parse_style

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
        on_progress: told of every step.
        detector: finds faces; InsightFace by default.

    Returns:
        The files: the video; or, for several performances, the side-by-side video and each one.

    Raises:
        SVPError: of the kind that fits, before any weight is loaded; nothing is left behind.
    """
    outputs = check_request(request)
    fps = parse_fps(request.fps)
    recording = read_audio(request.audio)
    check_speech(recording, fps)
    waveform = to_mono(recording)
    num_frames = count_frames(len(waveform), 16000, fps)
    picture = read_image(request.image)
    device = select_device(request.device)
    folder = find_checkpoint(request.model)
    layout = read_config(folder, "head_guider")["keypoint_layout"]
    size = check_size(request, read_config(folder, "unet"))
    check_style_argument(request, folder, recording.duration)
    portrait = prepare_portrait(request, picture, size, layout, detector)
    motion = prepare_head_motion(request, portrait, fps, num_frames, layout, detector)

    pipeline = load_pipeline(folder, device, request.dtype)
    request = fill_defaults(request, pipeline)
    style = encode_style_argument(request, folder, pipeline)
    pipeline.set_progress_bar_config(disable=True)
    latents, _ = pipeline(
        portrait.image,
        waveform,
        style,
        head_keypoints=None if motion is None else KeypointImages(motion, size),
        height=size,
        width=size,
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
        generator=torch.Generator().manual_seed(request.seed),
        output_type="latent",
        return_dict=False,
        callback_on_step_end=_report_steps(on_progress),
    )
    checkpoint = {
        "source": request.model or "svp-tiny",
        "sha256": hash_folder(folder),
    }
    write_outputs(request, outputs, pipeline, latents, recording, fps, checkpoint, on_progress)
    return outputs


def fill_defaults(
    request: GenerationRequest, pipeline: SVPTalkingHeadPipeline
) -> GenerationRequest:
    """Put the checkpoint's own values where nothing was asked for; the manifest shows them."""
    guidance_scale, audio_guidance_scale, style_guidance_scale = pipeline.fill_guidance_scales(
        request.guidance_scale, request.audio_guidance_scale, request.style_guidance_scale
    )
    return replace(
        request,
        steps=request.steps or pipeline.config.num_inference_steps,
        guidance_scale=guidance_scale,
        audio_guidance_scale=audio_guidance_scale,
        style_guidance_scale=style_guidance_scale,
    )


def check_size(request: GenerationRequest, unet_config: dict[str, Any]) -> int:
    """Give the side of the video in pixels, and check it and the context against the checkpoint.

    Raises:
        ConfigurationError: if the checkpoint cannot make it.
    """
    longest = unet_config["motion_max_seq_length"]
    if request.context_length > longest:
        raise ConfigurationError(
            f"--context-length {request.context_length} is beyond the {longest} frames that this "
            "checkpoint's motion modules know."
        )
    size: int = request.size if request.size is not None else 8 * unet_config["sample_size"]
    if size % 8 or not 64 <= size <= 2048:
        raise ConfigurationError(
            f"--size must be a multiple of 8 from 64 to 2048 pixels; got {size}."
        )
    return size


def check_style_argument(request: GenerationRequest, folder: Path, duration: float) -> None:
    """Check a style against the checkpoint's configuration and the length of the speech.

    Raises:
        StyleError: if it is unknown, malformed, of another style encoder, or begins after the end.
        MediaError: if its file is missing.
    """
    if request.style is None:
        return
    outline = outline_style_encoder(folder)

    def stand_in(path: Path) -> StyleDistribution:
        check_input(path)
        return outline.prior()

    parsed = parse_style(request.style, outline, stand_in)
    if isinstance(parsed, list) and parsed[-1][0] >= duration:
        raise StyleError(
            f"The style schedule starts a style at {parsed[-1][0]:g} s, but the speech ends at "
            f"{duration:.2f} s."
        )


def encode_style_argument(
    request: GenerationRequest, folder: Path, pipeline: SVPTalkingHeadPipeline
) -> Any:
    """Turn the style argument into what the pipeline takes, encoding clips."""
    if request.style is None:
        return None
    encoder = pipeline.style_encoder
    encode = partial(
        encode_clip,
        encoder,
        face_landmarker=request.face_landmarker,
        audio_encoder=folder if encoder.config.audio_features == "wav2vec2" else None,
    )
    return parse_style(request.style, encoder, encode)


def write_outputs(
    request: GenerationRequest,
    outputs: Sequence[Path],
    pipeline: SVPTalkingHeadPipeline,
    latents: Sequence[torch.Tensor],
    recording: Recording,
    fps: Fraction,
    checkpoint: dict[str, str],
    on_progress: Progress,
) -> None:
    """Decode and write every video a few frames at a time, then its manifest."""
    groups = [latents] if len(outputs) == 1 else [latents, *([each] for each in latents)]
    total = sum(group[0].shape[1] for group in groups)
    done = count(1)
    for path, group in zip(outputs, groups, strict=True):
        frames = decode_side_by_side(
            pipeline, group, lambda: on_progress("writing", next(done), total)
        )
        write_video(path, frames, fps, recording, {"title": path.stem})
        write_manifest(
            path,
            seed=request.seed,
            arguments=asdict(request),
            inputs=request.inputs(),
            checkpoint=checkpoint,
        )


def decode_side_by_side(
    pipeline: SVPTalkingHeadPipeline,
    videos: Sequence[torch.Tensor],
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[NDArray[np.uint8]]:
    """Decode videos of one length, each (channels, frames, h, w), into one beside the other.

    Yields:
        Frames (height, videos * width, 3), a few of them in memory at a time.
    """
    for parts in zip(*(pipeline.decode_latents(video) for video in videos), strict=True):
        joined = torch.cat([part.float().cpu() for part in parts], dim=3)
        for frame in (joined * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
            yield frame
            on_frame()


def _report_steps(on_progress: Progress) -> Callable[..., dict[str, Any]]:
    def report(
        pipeline: SVPTalkingHeadPipeline, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        on_progress("denoising", step + 1, pipeline.num_timesteps)
        return tensors

    return report
