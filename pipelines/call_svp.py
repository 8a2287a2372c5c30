"""What a call of the SVP pipeline asks for: filled in by the checkpoint, and checked.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from diffusers import ModelMixin, SchedulerMixin
from diffusers.utils import logging
from numpy.typing import NDArray
from PIL import Image
from transformers import FeatureExtractionMixin

from .detail_svp import MOST_DETAIL
from .guidance_svp import GuidancePass, plan_distilled_guidance, plan_guidance
from .head_pictures_svp import HeadPictures
from .head_pose_svp import HeadMotion
from .images_svp import Portrait, read_portrait
from .numbers_svp import MOST_FPS, MOST_SCALE, MOST_STEPS, check_number
from .sound_svp import Audio, check_rate, prepare_waveform
from .speech_svp import count_frames
from .style_schedule_svp import Style, check_style
from .support_svp import check_caches, check_scheduler

logger = logging.get_logger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])


class Turn:
    """Is taken by one call of a pipeline at a time; a copy of the pipeline has its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a callback may call the pipeline in turn

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["Turn"], tuple[()]]:
        return Turn, ()


def in_turn(method: Method) -> Method:
    """Let calls from several threads wait for each other: they share scheduler and hooks."""

    @wraps(method)
    def wait(self: Any, *arguments: Any, **named: Any) -> Any:
        with self.turn:
            return method(self, *arguments, **named)

    return cast(Method, wait)


@dataclass(frozen=True)
class CallSettings:
    """The settings of a call, all of them known.

    height, width: of the video in pixels
    fps: its frames a second
    num_inference_steps: of denoising
    guidance_scale: the joint one
    own_guidance_scales: of audio and style by themselves, where they have any
    passes: the predictions of a step
    shared_noise: share of the noise's variance that all frames have in common
    context_length: frames denoised together
    context_overlap: frames that windows share
    detail_scale: how many times as large frames are, with the portrait's detail; 0 is without
    attention_scales: what the UNet takes, and `cross_attention_kwargs`, if they are given
    """

    height: int
    width: int
    fps: float | Fraction
    num_inference_steps: int
    guidance_scale: float
    own_guidance_scales: tuple[float | None, float | None]
    passes: Sequence[GuidancePass]
    shared_noise: float
    context_length: int
    context_overlap: int
    detail_scale: int
    attention_scales: dict[str, Any]


@dataclass(frozen=True)
class CallInputs:
    """What a call is given, read and checked: lists of one a portrait, but for the generators.

    portraits: RGB
    waveforms: (samples,) at the audio encoder's rate
    num_frames: of the videos
    portrait_keypoints: (points, 2) in pixels of the video, if they are given
    generators: one a video
    """

    portraits: list[Image.Image]
    waveforms: list[torch.Tensor]
    num_frames: list[int]
    portrait_keypoints: list[NDArray[np.floating]] | None
    generators: list[torch.Generator | None]


class CallMixin:
    """Fills in and checks the arguments of a call, for a pipeline that has what is named here."""

    config: Any
    unet: ModelMixin
    style_encoder: ModelMixin
    vae_scale_factor: int
    style_adapter_scale: float
    feature_extractor: FeatureExtractionMixin
    scheduler: SchedulerMixin
    check_heads: Callable[..., None]
    check_head_keypoints: Callable[..., None]
    check_face_embedding: Callable[..., None]
    check_latents: Callable[..., None]
    fill_clips: Callable[[int, int], int]
    _callback_tensor_inputs: ClassVar[list[str]]

    def fill_guidance_scales(
        self,
        guidance_scale: float | None = None,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
    ) -> tuple[float, float | None, float | None]:
        """The three scales that a call uses, joint, audio and style, where some are not given."""
        if guidance_scale is not None:
            return guidance_scale, audio_guidance_scale, style_guidance_scale
        if audio_guidance_scale is None:
            audio_guidance_scale = self.config.get("audio_guidance_scale")
        if style_guidance_scale is None:
            style_guidance_scale = self.config.get("style_guidance_scale")
        return self.config.guidance_scale, audio_guidance_scale, style_guidance_scale

    def plan_passes(
        self,
        guidance_scale: float,
        audio_guidance_scale: float | None,
        style_guidance_scale: float | None,
    ) -> list[GuidancePass]:
        """The predictions of a step: one, where guidance was distilled into the UNet."""
        scales = (guidance_scale, audio_guidance_scale, style_guidance_scale)
        ranges = self.unet.config.get("guidance_ranges")
        if ranges is not None:
            return plan_distilled_guidance(ranges, *scales)
        return plan_guidance(*scales)

    def fill_settings(
        self,
        height: int | None,
        width: int | None,
        fps: float | Fraction | None,
        num_inference_steps: int | None,
        guidance_scales: tuple[float | None, float | None, float | None],
        attention_scales: tuple[float, float, float],
        shared_noise: float | None,
        context_length: int | None,
        context_overlap: int | None,
        detail_scale: int | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> CallSettings:
        """The settings of a call: the checkpoint's own where the arguments are None.

        Args:
            guidance_scales: joint, audio and style.
            attention_scales: reference, audio and style.

        The others are those of `__call__`.

        Raises:
            ValueError: if a scale is not a number of its range, or of the one that guidance was
                distilled for.
        """
        if cross_attention_kwargs is not None:
            if not isinstance(cross_attention_kwargs, dict) or set(cross_attention_kwargs) - {
                "scale"
            }:
                raise ValueError(
                    "`cross_attention_kwargs` may hold the `scale` of a LoRA, and nothing else; "
                    f"got {cross_attention_kwargs!r:.100}."
                )
            for scale in cross_attention_kwargs.values():
                check_number("scale", scale, -MOST_SCALE, MOST_SCALE)
        config = self.config
        size = (self.unet.config.sample_size or 64) * self.vae_scale_factor
        scales = self.fill_guidance_scales(*guidance_scales)
        reference_scale, audio_scale, style_scale = attention_scales
        for name, scale in (
            ("guidance_scale", scales[0]),
            ("audio_guidance_scale", scales[1]),
            ("style_guidance_scale", scales[2]),
            ("reference_attention_scale", reference_scale),
            ("audio_attention_scale", audio_scale),
            ("style_attention_scale", style_scale),
        ):
            if scale is not None:
                check_number(name, scale, 0, MOST_SCALE)
        return CallSettings(
            height=size if height is None else height,
            width=size if width is None else width,
            fps=config.fps if fps is None else fps,
            num_inference_steps=config.num_inference_steps
            if num_inference_steps is None
            else num_inference_steps,
            guidance_scale=scales[0],
            own_guidance_scales=scales[1:],
            passes=self.plan_passes(*scales),
            shared_noise=config.shared_noise if shared_noise is None else shared_noise,
            context_length=config.context_length if context_length is None else context_length,
            context_overlap=config.context_overlap if context_overlap is None else context_overlap,
            detail_scale=config.get("detail_scale", 0) if detail_scale is None else detail_scale,
            attention_scales={
                "reference_attention_scale": reference_scale,
                "audio_attention_scale": audio_scale,
                "style_attention_scale": style_scale * self.style_adapter_scale,
                **(
                    {"cross_attention_kwargs": cross_attention_kwargs}
                    if cross_attention_kwargs
                    else {}
                ),
            },
        )

    def change_guidance(self, settings: CallSettings, guidance_scale: float) -> CallSettings:
        """The settings with another joint guidance scale, as a callback may set it.

        Raises:
            ValueError: as `fill_settings`.
        """
        check_number("guidance_scale", guidance_scale, 0, MOST_SCALE)
        passes = self.plan_passes(guidance_scale, *settings.own_guidance_scales)
        return replace(settings, guidance_scale=guidance_scale, passes=passes)

    def read_inputs(
        self,
        image: Portrait | list[Portrait],
        audio: Audio | list[Audio],
        settings: CallSettings,
        *,
        head_keypoints: HeadPictures | None,
        portrait_keypoints: NDArray[np.floating] | list[NDArray[np.floating]] | None,
        find_face: bool,
        face_embedding: torch.Tensor | NDArray[np.floating] | None,
        head_motion: HeadMotion,
        head_motion_scale: float,
        style_temperature: float,
        num_videos_per_style: int,
        generator: torch.Generator | list[torch.Generator] | None,
        sampling_rate: int,
        output_type: str,
        style: Style = None,
        latents: torch.Tensor | None = None,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
    ) -> CallInputs:
        """Read portraits and speech, and check everything that can be before a model runs.

        Args:
            settings: of `fill_settings`.

        The others are those of `__call__`.

        Raises:
            ValueError: saying which argument is wrong, and what is expected.
        """
        images = image if isinstance(image, list) else [image]
        audios = audio if isinstance(audio, list) else [audio]
        self.check_inputs(
            *(images, audios, settings, style_temperature, num_videos_per_style, sampling_rate),
            *(generator, output_type, callback_on_step_end_tensor_inputs),
        )
        portraits = [read_portrait(each) for each in images]
        rate = self.feature_extractor.sampling_rate
        waveforms = [prepare_waveform(each, sampling_rate, rate) for each in audios]
        num_frames = [count_frames(len(waveform), rate, settings.fps) for waveform in waveforms]
        points = portrait_keypoints
        if isinstance(points, np.ndarray):
            points = [points]
        self.check_heads(
            head_motion, head_motion_scale, head_keypoints, points, find_face, num_frames
        )
        if head_keypoints is not None:
            for frames in num_frames:
                self.check_head_keypoints(head_keypoints, frames, settings.height, settings.width)
        self.check_face_embedding(face_embedding)
        for frames in num_frames:
            check_style(style, self.style_encoder, frames, settings.fps)
        filled = [self.fill_clips(frames, settings.context_length) for frames in num_frames]
        lengths = [frames for frames in filled for _ in range(num_videos_per_style)]
        self.check_latents(latents, lengths, settings.height, settings.width)
        if callback_on_step_end is not None and not callable(callback_on_step_end):
            raise ValueError(f"`callback_on_step_end` must be callable: {callback_on_step_end!r}.")
        num_videos = len(images) * num_videos_per_style
        return CallInputs(
            portraits,
            waveforms,
            num_frames,
            points,
            list(generator) if isinstance(generator, list) else [generator] * num_videos,
        )

    def check_inputs(
        self,
        image: Sequence[Portrait],
        audio: Sequence[Audio],
        settings: CallSettings,
        style_temperature: float,
        num_videos_per_style: int,
        sampling_rate: int,
        generator: torch.Generator | list[torch.Generator] | None,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Check what the caller handed in, before any model runs.

        Raises:
            ValueError: saying which argument is wrong, and what is expected.
        """
        check_scheduler(self.scheduler)
        check_caches(self.unet)
        height, width = settings.height, settings.width
        check_number("height", height, self.vae_scale_factor, 4096, whole=True)
        check_number("width", width, self.vae_scale_factor, 4096, whole=True)
        if height % self.vae_scale_factor or width % self.vae_scale_factor:
            raise ValueError(
                f"`height` and `width` must be positive multiples of {self.vae_scale_factor}, got "
                f"{height} and {width}."
            )
        trained = (self.unet.config.sample_size or 0) * self.vae_scale_factor
        if trained and (height, width) != (trained, trained):
            logger.warning(
                f"This checkpoint was trained at {trained}x{trained} pixels; at {width}x{height} "
                "faces may come out wrong. Make the video at that size, and enlarge it afterwards."
            )
        check_number("fps", settings.fps, 1, MOST_FPS)
        check_number("style_temperature", style_temperature, 0, MOST_SCALE)
        check_number("shared_noise", settings.shared_noise, 0, 1)
        check_number("num_inference_steps", settings.num_inference_steps, 1, MOST_STEPS, whole=True)
        check_number("num_videos_per_style", num_videos_per_style, 1, 1000, whole=True)
        check_number("context_overlap", settings.context_overlap, 0, 10_000, whole=True)
        check_number("detail_scale", settings.detail_scale, 0, MOST_DETAIL, whole=True)
        check_number("context_length", settings.context_length, 1, 10_000, whole=True)
        check_rate(sampling_rate)
        config = self.unet.config
        longest = config.motion_max_seq_length - config.get("num_context_frames", 0)
        if not settings.context_overlap < settings.context_length <= longest:
            raise ValueError(
                f"`context_length` must be above `context_overlap` ({settings.context_overlap}) "
                f"and at most {longest}, the longest clip of this checkpoint's motion modules; got "
                f"{settings.context_length}."
            )
        if any(isinstance(each, (int, float)) for each in audio):
            raise ValueError("`audio` is a list of numbers: pass a waveform as an array or tensor.")
        if len(image) != len(audio) or not image:
            raise ValueError(
                f"As many images as recordings are needed, got {len(image)} and {len(audio)}."
            )
        num_videos = len(image) * num_videos_per_style
        generators = generator if isinstance(generator, list) else [generator] * num_videos
        if len(generators) != num_videos:
            raise ValueError(
                f"A list of generators must have one a video, {num_videos}, got {len(generators)}."
            )
        for each in generators:
            if each is not None and not isinstance(each, torch.Generator):
                raise ValueError(f"`generator` must be a torch.Generator, or a list; got {each!r}.")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"`output_type` must be pil, np, pt or latent, got {output_type!r}.")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` may hold {self._callback_tensor_inputs}, "
                f"got {sorted(unknown)}."
            )
