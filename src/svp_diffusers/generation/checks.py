"""What can be checked of a request before a weight is loaded."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from svp_diffusers.checkpoints.precision import check_precision
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.generation.request import HEAD_KEYPOINTS_FPS, GenerationRequest
from svp_diffusers.media.input import check_input
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.output import check_output
from svp_diffusers.pipelines.detail_svp import MOST_DETAIL
from svp_diffusers.pipelines.head_pose_svp import HEAD_MOTIONS
from svp_diffusers.pipelines.numbers_svp import MOST_SCALE, MOST_SEED, MOST_STEPS

MOST_SIDE = 4096
"""Of a video in pixels: what players of H.264 take (our choice)."""
MOST_WIDTH = 16384
"""Of videos side by side, in pixels: what the encoder of H.264 takes."""
MOST_STYLES = 100
"""Performances of a line (our choice): they are all in memory before the first is written."""


LIMITS: Mapping[str, tuple[int, int]] = {
    "steps": (1, MOST_STEPS),
    "seed": (0, MOST_SEED),
    "style_temperature": (0, MOST_SCALE),
    "guidance_scale": (0, MOST_SCALE),
    "audio_guidance_scale": (0, MOST_SCALE),
    "style_guidance_scale": (0, MOST_SCALE),
    "reference_attention_scale": (0, MOST_SCALE),
    "audio_attention_scale": (0, MOST_SCALE),
    "style_attention_scale": (0, MOST_SCALE),
    "style_adapter_scale": (0, MOST_SCALE),
    "context_overlap": (0, 10_000),
    "context_length": (1, 10_000),
    "head_motion_scale": (0, MOST_SCALE),
}
"""From the least to the most that an option takes."""


def check_request(request: GenerationRequest) -> list[Path]:
    """Check all that can be checked without opening a file, and name the outputs.

    Raises:
        ConfigurationError: if a value is impossible or two contradict each other.
        MediaError: if a file is missing or empty.
        OutputError: if an output cannot be written there.
    """
    for name, (least, most) in LIMITS.items():
        value = getattr(request, name)
        if value is not None and not least <= value <= most:  # NaN is not
            option = name.replace("_", "-")
            raise ConfigurationError(f"--{option} must be from {least} to {most}, got {value}.")
    check_precision(request.dtype)
    if request.style_adapter is None and request.style_adapter_scale != 1:
        raise ConfigurationError("--style-adapter-scale is of an adapter: add --style-adapter.")
    if request.head_video and request.head_keypoints:
        raise ConfigurationError("Give --head-video or --head-keypoints, not both.")
    if request.head_motion not in (None, *HEAD_MOTIONS):
        known = " or ".join(HEAD_MOTIONS)
        raise ConfigurationError(f"--head-motion must be {known}; got {request.head_motion!r}.")
    if request.head_motion and (request.head_video or request.head_keypoints):
        raise ConfigurationError(
            "--head-video and --head-keypoints say how the head moves: leave out --head-motion."
        )
    if request.head_motion == "still" and request.head_motion_scale != 1:
        raise ConfigurationError("A still head has no motion: leave out --head-motion-scale.")
    if request.head_keypoints is None and request.head_keypoints_fps != HEAD_KEYPOINTS_FPS:
        raise ConfigurationError("--head-keypoints-fps is of keypoints: add --head-keypoints.")
    if request.face_index is not None and request.bbox is not None:
        raise ConfigurationError("--bbox says where the face is: leave out --face-index.")
    if not request.detect_face and (request.face_index is not None or request.bbox is not None):
        raise ConfigurationError(
            "--no-detect-face takes the picture's middle: leave out --face-index and --bbox."
        )
    check_speakers(request)
    if request.stream and (request.num_styles > 1 or request.speakers):
        raise ConfigurationError(
            "--stream makes one performance of one face: leave out --num-styles and --speaker."
        )
    for path in request.files().values():
        check_input(path)
    outputs = name_outputs(request)
    for path in outputs:
        check_output(path, ".mp4")
        check_output(get_manifest_path(path))
    return outputs


def name_outputs(request: GenerationRequest) -> list[Path]:
    """The video, and after it, where several performances are asked for, each of them.

    Raises:
        ConfigurationError: if there are none, or more than `MOST_STYLES`.
    """
    output = request.output
    if not 1 <= request.num_styles <= MOST_STYLES:
        raise ConfigurationError(
            f"--num-styles must be 1 to {MOST_STYLES}, got {request.num_styles}."
        )
    if request.num_styles == 1:
        return [output]
    numbers = range(1, request.num_styles + 1)
    return [output, *(output.with_stem(f"{output.stem}-{number}") for number in numbers)]


def check_speakers(request: GenerationRequest) -> None:
    """Check who speaks, and what goes with the whole picture.

    Raises:
        ConfigurationError: if nobody speaks, or options contradict each other.
    """
    if request.paste_back and request.num_styles > 1:
        raise ConfigurationError(
            "--paste-back makes one performance of the whole picture: leave out --num-styles, and "
            "vary --seed."
        )
    if not request.speakers:
        if request.audio is None:
            raise ConfigurationError("Say what is to be said: AUDIO, or --speaker for each face.")
        return
    if not request.paste_back:
        raise ConfigurationError("--speaker puts faces back into one picture: add --paste-back.")
    alone = {
        "--face-index": request.face_index,
        "--bbox": request.bbox,
        "--portrait-keypoints": request.portrait_keypoints,
        "--head-video": request.head_video,
        "--head-keypoints": request.head_keypoints,
        "--no-detect-face": None if request.detect_face else True,
    }
    given = [option for option, value in alone.items() if value is not None]
    if given:
        raise ConfigurationError(f"--speaker says which faces are animated: leave out {given[0]}.")


def check_overwritten(inputs: Iterable[Path | None], outputs: Iterable[Path]) -> None:
    """Raise `ConfigurationError` if a video or its manifest is one of the inputs."""
    read = {path.resolve() for path in inputs if path is not None}
    for video in outputs:
        for path in (video, get_manifest_path(video)):
            if path.resolve() in read:
                raise ConfigurationError(f"{path} is an input: write the video elsewhere.")


def check_guidance(request: GenerationRequest, unet: Mapping[str, Any]) -> None:
    """Check guidance scales against those that guidance was distilled for, if it was.

    Args:
        request: what to make.
        unet: configuration of the checkpoint's UNet.

    Raises:
        ConfigurationError: if a scale that is asked for is outside its range.
    """
    for name, (least, most) in (unet.get("guidance_ranges") or {}).items():
        scale = getattr(request, name)
        if scale is None:
            scale = request.guidance_scale
        if scale is not None and not least <= scale <= most:
            option = name.replace("_", "-")
            wanted = f"{least:g}" if least == most else f"from {least:g} to {most:g}"
            raise ConfigurationError(
                f"--{option} must be {wanted}, got {scale:g}: guidance was distilled into this "
                "checkpoint, for no other scales. (What is not given is --guidance-scale.)"
            )


def choose_size(request: GenerationRequest, sample_size: int, longest: int) -> int:
    """Give the side of what is generated in pixels; check it and the context for a checkpoint.

    Args:
        request: what to make.
        sample_size: of the checkpoint's UNet, in latents.
        longest: frames that its motion modules know.

    Raises:
        ConfigurationError: if the checkpoint cannot make it.
    """
    length, overlap = request.context_length or longest, request.context_overlap or 0
    if length <= overlap:
        raise ConfigurationError(
            f"--context-length must be {overlap + 1} or more, got {length}: it must be above "
            "--context-overlap."
        )
    if length > longest:
        raise ConfigurationError(
            f"--context-length {length} is beyond the {longest} frames that this "
            "checkpoint's motion modules know."
        )
    size = request.size if request.size is not None else 8 * sample_size
    if size % 8 or not 64 <= size <= 2048:
        raise ConfigurationError(
            f"--size must be a multiple of 8 from 64 to 2048 pixels; got {size}."
        )
    scale = request.detail_scale or 0
    if not 0 <= scale <= MOST_DETAIL or scale * size > MOST_SIDE:
        raise ConfigurationError(
            f"--detail-scale must be from 0 to {min(MOST_DETAIL, MOST_SIDE // size)} where {size} "
            f"pixels are generated; got {scale}."
        )
    width = request.num_styles * max(1, scale) * size
    if width > MOST_WIDTH:
        raise ConfigurationError(
            f"--num-styles {request.num_styles} would make a video {width} pixels wide, side by "
            f"side, and H.264 takes {MOST_WIDTH}: make fewer, or with a smaller --detail-scale."
        )
    return size
