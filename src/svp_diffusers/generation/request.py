"""What a user asks of `svp generate`, and the checks that open no file."""

import math
from dataclasses import dataclass
from pathlib import Path

from svp_diffusers.checkpoints.loading import DTYPES
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.input import check_input
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.output import check_output


@dataclass(frozen=True)
class GenerationRequest:
    """What the user asked for; see `svp generate --help` for each.

    Attributes:
        image: file of the portrait.
        audio: file of the speech; any container with sound.
        output: file of the video, .mp4.
        model: a checkpoint's folder or Hub id; None for svp-tiny.
        style: None for the prior, else what `parse_style` understands.
        style_temperature: factor on the style's standard deviation.
        num_styles: performances; more than one are also written side by side.
        face_landmarker: MediaPipe model file, for a style taken from a video.
        head_video: video whose head motion is taken over.
        head_keypoints: `.npy` of head keypoints, one set a frame, instead of a video.
        head_keypoints_fps: frame rate of `head_keypoints`.
        portrait_keypoints: `.npy` with the portrait's own keypoints, in pixels of the picture.
        bbox: left, top, right, bottom of the face, in pixels of the picture.
        detect_face: find the face with InsightFace.
        face_index: which of several faces; 0 is the largest.
        seed: of the style's draw and the noise.
        steps: denoising steps; None for the checkpoint's own number.
        size: side of the square video in pixels; None for the checkpoint's own.
        fps: frame rate, "25", "23.976" or "24000/1001".
        guidance_scale, audio_guidance_scale, style_guidance_scale: see the pipeline.
        reference_attention_scale, audio_attention_scale, style_attention_scale: likewise.
        context_length, context_overlap: likewise.
        device: None for the best there is.
        dtype: "float32", "bfloat16" or "float16".
    """

    image: Path
    audio: Path
    output: Path
    model: str | None = None
    style: str | None = None
    style_temperature: float = 1.0
    num_styles: int = 1
    face_landmarker: Path | None = None
    head_video: Path | None = None
    head_keypoints: Path | None = None
    head_keypoints_fps: str = "25"
    portrait_keypoints: Path | None = None
    bbox: tuple[float, float, float, float] | None = None
    detect_face: bool = False
    face_index: int | None = None
    seed: int = 0
    steps: int | None = None
    size: int | None = None
    fps: str = "25"
    guidance_scale: float | None = None
    audio_guidance_scale: float | None = None
    style_guidance_scale: float | None = None
    reference_attention_scale: float = 1.0
    audio_attention_scale: float = 1.0
    style_attention_scale: float = 1.0
    context_length: int = 24
    context_overlap: int = 4
    device: str | None = None
    dtype: str = "float32"

    def inputs(self) -> dict[str, Path]:
        """List the files that are read, by the role they play."""
        files = {
            "image": self.image,
            "audio": self.audio,
            "face_landmarker": self.face_landmarker,
            "head_video": self.head_video,
            "head_keypoints": self.head_keypoints,
            "portrait_keypoints": self.portrait_keypoints,
        }
        return {role: path for role, path in files.items() if path is not None}


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Read a face's box, "left,top,right,bottom" in pixels.

    Raises:
        ConfigurationError: if it is not four numbers.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"--bbox must be left,top,right,bottom in pixels; got {text!r}."
        ) from error
    return left, top, right, bottom


def check_request(request: GenerationRequest) -> list[Path]:
    """Check all that can be checked without opening a file, and name the outputs.

    Raises:
        ConfigurationError: if a value is impossible or two contradict each other.
        MediaError: if a file is missing or empty.
        OutputError: if an output cannot be written there.
    """
    limits: list[tuple[str, float | None, float]] = [
        ("steps", request.steps, 1),
        ("num_styles", request.num_styles, 1),
        ("seed", request.seed, 0),
        ("style_temperature", request.style_temperature, 0),
        ("guidance_scale", request.guidance_scale, 0),
        ("audio_guidance_scale", request.audio_guidance_scale, 0),
        ("style_guidance_scale", request.style_guidance_scale, 0),
        ("reference_attention_scale", request.reference_attention_scale, 0),
        ("audio_attention_scale", request.audio_attention_scale, 0),
        ("style_attention_scale", request.style_attention_scale, 0),
        ("context_overlap", request.context_overlap, 0),
        ("context_length", request.context_length, request.context_overlap + 1),
    ]
    for name, value, least in limits:
        if value is not None and not (math.isfinite(value) and value >= least):
            option = name.replace("_", "-")
            raise ConfigurationError(f"--{option} must be {least} or more, got {value}.")
    if request.dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise ConfigurationError(f"--dtype must be one of {known}; got {request.dtype!r}.")
    if request.head_video and request.head_keypoints:
        raise ConfigurationError("Give --head-video or --head-keypoints, not both.")
    finds = request.detect_face or request.face_index is not None
    if finds and request.bbox is not None:
        raise ConfigurationError("--bbox says where the face is: leave out --detect-face.")
    if request.output.suffix.lower() != ".mp4":
        raise ConfigurationError(f"The output must end in .mp4; got {request.output.name!r}.")
    for path in request.inputs().values():
        check_input(path)
    outputs = [request.output]
    if request.num_styles > 1:
        outputs += [
            request.output.with_stem(f"{request.output.stem}-{number}")
            for number in range(1, request.num_styles + 1)
        ]
    inputs = {path.resolve() for path in request.inputs().values()}
    for path in outputs:
        check_output(path)
        check_output(get_manifest_path(path))
        if path.resolve() in inputs:
            raise ConfigurationError(f"{path} is an input: write the video elsewhere.")
    return outputs
