"""Videos whose frames are written as they are finished."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from svp_diffusers.checkpoints.json_files import read_config, read_model_index
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.generation.voices import Voices
from svp_diffusers.media.audio import Recording, RecordingFile
from svp_diffusers.pipelines.detail_svp import VideoDetail
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.sound_svp import StoredSound
from svp_diffusers.style.parse import StyleEntry


class Performed(NamedTuple):
    """A piece of a video, not decoded yet.

    Attributes:
        latents: (channels, frames, h, w).
        detail: of the portrait, that is put into its frames, if there is any.
    """

    latents: torch.Tensor
    detail: VideoDetail | None = None


LONG_SECONDS = 20
"""Of speech that is streamed without being asked for, where the frames are the same (our choice:
a call on a minute takes 180 MB more than one on 10 s)."""


def choose_streaming(
    request: GenerationRequest, styles: Sequence[StyleEntry], folder: Path, voices: Voices
) -> bool:
    """Whether a video is streamed: if it is to be, or is long and its frames are the same.

    Raises:
        ConfigurationError: if it was asked for, and the style is taken from all of the speech, or
            the checkpoint makes clips.
    """
    hears_all = any(entry.text == "from_audio" for entry in styles)
    if request.stream and hears_all:
        raise ConfigurationError(
            "--style from_audio needs all of the speech before the first frame: leave out "
            "--stream, or take the style first with `svp style encode`."
        )
    if request.stream and request.pose_video is not None:
        raise ConfigurationError("--pose-video shows all frames at once: leave out --stream.")
    if request.stream and read_config(folder, "unet").get("num_context_frames", 0):
        raise ConfigurationError(
            f"{folder.name} makes a video clip after clip, each from the frames of the one before: "
            "leave out --stream."
        )
    if request.stream:
        return True
    can = request.num_styles == 1 and not request.speakers and not hears_all
    return can and voices.heard.duration > LONG_SECONDS and has_independent_frames(folder)


def has_independent_frames(folder: Path) -> bool:
    """Whether the frames of a checkpoint do not depend on one another, and its audio encoder gives
    embeddings: then a stream has the frames of a call."""
    unet, index = read_config(folder, "unet"), read_model_index(folder)
    return not (
        unet.get("motion_modules_enabled", True)
        or unet.get("clip_group_norm", False)
        or unet.get("num_context_frames", 0)
        or index.get("cyclic_windows", False)
        or index["audio_encoder"][0] != "transformers"
    )


def stream_performance(
    pipeline: SVPTalkingHeadPipeline,
    heard: Recording | RecordingFile,
    arguments: Mapping[str, Any],
) -> Iterator[Performed]:
    """Yield what is made of a video a few frames at a time.

    Args:
        pipeline: of the checkpoint.
        heard: the speech.
        arguments: of the pipeline's `stream`, but for the speech.
    """
    sound = StoredSound(heard.read, heard.sampling_rate)
    for finished in pipeline.stream(audio=sound, **arguments):
        yield Performed(finished.frames, finished.detail)
