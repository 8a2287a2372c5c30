"""Streaming for SVP: the frames of a video as they are finished, in memory that does not grow.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ModelMixin, SchedulerMixin
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedModel

from .call_svp import CallSettings
from .conditions_svp import Conditions
from .detail_svp import VideoDetail
from .head_frames_svp import ReadHead
from .head_pictures_svp import HeadPictures
from .head_pose_svp import HeadMotion
from .images_svp import Portrait, read_portrait
from .noise_svp import check_finite
from .portrait_svp import EncodedPortrait
from .sound_svp import Audio, Piece, StoredSound
from .speech_frames_svp import SpeechFrames, Tape
from .style_schedule_svp import Style, StyleSchedule, check_style, take_style

STREAMED = (str, Path, np.ndarray, torch.Tensor, tuple, StoredSound, Iterator)


@dataclass(frozen=True)
class FinishedFrames:
    """A part of a video that is finished.

    Attributes:
        first_frame: the number of its first frame.
        frames: a list of PIL images, an array (frames, height, width, 3) or a tensor (frames, 3,
            height, width) in [0, 1], or latents (channels, frames, height, width), by
            `output_type`.
        styles: the style vector (style_dim,) or vectors (frames, style_dim) they were made with.
        detail: of the portrait, for `decode_latents`, where `frames` are latents.
    """

    first_frame: int
    frames: Any
    styles: torch.Tensor
    detail: VideoDetail | None = None


class StreamMixin:
    """Makes a video as its speech comes, for a pipeline that has what is named here."""

    config: Any
    unet: ModelMixin
    style_encoder: ModelMixin
    scheduler: SchedulerMixin
    image_encoder: PreTrainedModel | None
    fill_settings: Callable[..., CallSettings]
    open_speech: Callable[..., SpeechFrames]
    prepare_heads: Callable[..., ReadHead]
    check_inputs: Callable[..., None]
    check_heads: Callable[..., None]
    check_head_keypoints: Callable[..., None]
    encode_portraits: Callable[..., list[EncodedPortrait]]
    choose_head_motion: Callable[..., HeadMotion]
    encode_style: Callable[..., torch.Tensor]
    draw_noise: Callable[..., Iterator[torch.Tensor]]
    denoise_step: Callable[..., torch.Tensor]
    maybe_free_model_hooks: Callable[[], None]
    _to_output: Callable[..., Any]
    _execution_device: torch.device

    @property
    def frames_are_independent(self) -> bool:
        """Whether each frame is predicted by itself, so that a stream has the frames of a call."""
        config = self.unet.config
        return not (
            config.motion_modules_enabled or config.clip_group_norm or self.config.cyclic_windows
        )

    def stream(
        self,
        image: Portrait,
        audio: Audio | StoredSound | Iterator[Piece],
        style: Style = None,
        *,
        head_keypoints: HeadPictures | None = None,
        portrait_keypoints: NDArray[np.floating] | None = None,
        find_face: bool = True,
        head_motion: HeadMotion = None,
        head_motion_scale: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        fps: float | Fraction | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
        reference_attention_scale: float = 1.0,
        audio_attention_scale: float = 1.0,
        style_attention_scale: float = 1.0,
        style_temperature: float = 1.0,
        context_length: int | None = None,
        context_overlap: int | None = None,
        shared_noise: float | None = None,
        detail_scale: int | None = None,
        generator: torch.Generator | None = None,
        sampling_rate: int = 16000,
        output_type: str = "pil",
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> Iterator[FinishedFrames]:
        """Make a portrait speak, and give its frames as they are finished.

        Of a recording whose encoder gives embeddings, where frames are independent
        (`frames_are_independent`) and the scheduler adds no noise, they are the frames of
        `__call__` with the same seed. With motion modules, windows of `context_length` frames are
        finished one after another; each holds the `context_overlap` frames that it shares with the
        one before to what they were at every step, so that there is no seam.

        Speech that comes live is heard 0.2 s ahead: a frame is made when so much sound beyond it
        has come. Its lips differ a little from those of the recording, which is encoded with all
        that follows; its head moves to what was said before.

        Memory does not grow with the length of the speech. Closed before its end, as where a loop
        is left, it lets go of the file, or of the iterator of pieces.

        Args:
            image: the portrait, as in `__call__`.
            audio: the speech: a recording, as in `__call__` or stored; or an iterator of the pieces
                of a waveform, (samples,) or (channels, samples) in [-1, 1], as they come from a
                microphone.
            style: as in `__call__`, but for "from_audio", for which all must have been heard.
            sampling_rate: of a waveform, or of the pieces.
            generator: of everything that is drawn.

        The other arguments are those of `__call__`; where the speech is live, poses and pictures of
        each frame are not known.

        Returns:
            An iterator of `FinishedFrames`: of a recording, up to `context_length` frames at a
            time; of live speech, what a piece makes ready.

        Raises:
            ValueError: saying which argument is wrong and what is expected; of live speech, when it
                comes.
            FloatingPointError: a network gave NaN or infinity, as in float16 it may.
        """
        settings = self.fill_settings(
            *(height, width, fps, num_inference_steps),
            (guidance_scale, audio_guidance_scale, style_guidance_scale),
            (reference_attention_scale, audio_attention_scale, style_attention_scale),
            *(shared_noise, context_length, context_overlap, detail_scale),
            cross_attention_kwargs,
        )
        self.check_inputs(
            *([image], [audio], settings, style_temperature, 1, sampling_rate, generator),
            *(output_type, ()),
        )
        if not isinstance(audio, STREAMED):
            raise ValueError(
                "`audio` of a stream must be a recording, or an iterator of its pieces, as "
                f"`iter(pieces)` gives one; got {type(audio).__name__}."
            )
        speech = self.open_speech(audio, sampling_rate, settings)
        self._check_stream(style, head_motion, head_keypoints, speech.num_frames)
        points = None if portrait_keypoints is None else [portrait_keypoints]
        check_style(style, self.style_encoder, speech.num_frames, settings.fps)
        if isinstance(generator, list):
            raise ValueError("`generator` of a stream must be one, and no list.")
        length = speech.num_frames or 1
        self.check_heads(
            *(head_motion, head_motion_scale, head_keypoints, points, find_face, [length])
        )
        if head_keypoints is not None:
            self.check_head_keypoints(head_keypoints, length, settings.height, settings.width)
        portrait = read_portrait(image)
        finished = self._stream(
            *(portrait, speech, style, style_temperature, head_keypoints, points, find_face),
            *(head_motion, head_motion_scale, settings, generator, output_type),
        )
        return self._free_after(finished, speech)

    def _free_after(
        self, finished: Iterator[FinishedFrames], speech: SpeechFrames
    ) -> Iterator[FinishedFrames]:
        """Let go of the speech and of the models' hooks whichever way a stream ends."""
        try:
            yield from finished
        finally:
            speech.close()
            self.maybe_free_model_hooks()

    @torch.no_grad()
    def _stream(
        self,
        portrait: Image.Image,
        speech: SpeechFrames,
        style: Style,
        style_temperature: float,
        head_keypoints: HeadPictures | None,
        portrait_keypoints: Sequence[NDArray[np.floating]] | None,
        find_face: bool,
        head_motion: HeadMotion,
        head_motion_scale: float,
        settings: CallSettings,
        generator: torch.Generator | None,
        output_type: str,
    ) -> Iterator[FinishedFrames]:
        (encoded,) = self.encode_portraits(
            [portrait], head_keypoints, portrait_keypoints, find_face, settings
        )
        head = encoded.head
        styles = self._prepare_styles(style, speech, settings, style_temperature, generator)
        motion = self.choose_head_motion(head_motion, head_motion_scale, head)
        heads = self.prepare_heads(
            *(head, motion, head_motion_scale, speech.hear, speech.num_frames),
            *(styles, settings, generator),
        )
        blocks = self.draw_noise(
            speech.num_frames, settings.height, settings.width, generator, settings.shared_noise
        )
        noise = Tape(block.transpose(0, 1) for block in blocks)
        if speech.num_frames is None:  # live, the first frame is not to wait for it
            noise.read(0, 1)
        scheduler = copy.deepcopy(self.scheduler)
        device, dtype = self._execution_device, self.unet.dtype
        scheduler.set_timesteps(settings.num_inference_steps, device=device)

        done, earlier_start = 0, 0
        earlier: list[torch.Tensor] = []
        while stop := self._wait_for_window(speech, done, settings):
            independent = self.frames_are_independent
            start = done if independent else max(0, stop - settings.context_length)
            speech.drop(start)
            noise.drop(start)
            tokens = speech.tokens.read(start, stop).to(dtype)
            shown = heads(start, stop)
            detail = None
            if encoded.detail is not None:
                detail = VideoDetail(encoded.detail, shown.keypoints)
                detail = detail.cut(done - start, stop - start)
            conditions = Conditions(
                *(tokens, styles(start, stop), encoded.latents, encoded.features),
                shown.features,
            )
            initial = noise.read(start, stop).transpose(0, 1) * scheduler.init_noise_sigma
            held = [each[:, start - earlier_start :] for each in earlier]
            trajectory = self._denoise_window(
                scheduler, initial, conditions, settings, generator, held
            )
            finished = trajectory[-1][:, done - start :]
            style_vectors = conditions.style
            if style_vectors.ndim == 2:
                style_vectors = style_vectors[done - start :]
            frames = self._to_output(finished, output_type, detail, device)
            yield FinishedFrames(done, frames, style_vectors, detail)
            if not independent:
                earlier, earlier_start = trajectory, start
            done = stop

    def _denoise_window(
        self,
        scheduler: SchedulerMixin,
        noise: torch.Tensor,
        conditions: Conditions,
        settings: CallSettings,
        generator: torch.Generator | None,
        held: Sequence[torch.Tensor],
    ) -> list[torch.Tensor]:
        """Denoise a window of frames, the first of which may be held to what is shown.

        Args:
            scheduler: with timesteps; it is copied, since schedulers remember what they stepped.
            noise: (channels, frames, height, width), scaled for the scheduler.
            conditions: of the frames.
            settings: of the call.
            generator: of the noise that some schedulers add.
            held: latents (channels, first frames, height, width) of each step; none are held if
                there are none.

        Returns:
            The latents (channels, frames, height, width) of the start and after each step.
        """
        scheduler = copy.deepcopy(scheduler)
        trajectory = [noise]
        for step in range(len(scheduler.timesteps)):
            stepped = self.denoise_step(
                scheduler, step, trajectory[-1], conditions, settings, generator
            )
            check_finite(stepped, f"the latents of step {step + 1}", conditions.audio_tokens.dtype)
            if held:
                shown = held[step + 1]
                stepped = torch.cat([shown, stepped[:, shown.shape[1] :]], dim=1)
            trajectory.append(stepped)
        return trajectory

    def _wait_for_window(self, speech: SpeechFrames, done: int, settings: CallSettings) -> int:
        """The end of the next window, when its speech has come; 0 if there is no more."""
        wanted = done + settings.context_length
        if self.frames_are_independent:
            stop = min(speech.wait(done + 1), wanted)
        else:
            if done:
                wanted -= settings.context_overlap
            stop = min(speech.wait(wanted), wanted)
        return stop if stop > done else 0

    def _check_stream(
        self,
        style: Style,
        head_motion: HeadMotion,
        head_keypoints: HeadPictures | None,
        num_frames: int | None,
    ) -> None:
        """Check what only a stream cannot do.

        Raises:
            ValueError: for what needs speech that is still to come, and of checkpoints that make
                clips.
        """
        if self.image_encoder is not None:
            raise ValueError("A checkpoint that is driven by pictures of poses cannot stream.")
        if self.unet.config.get("num_context_frames"):
            raise ValueError(
                "This checkpoint makes a video clip after clip, each from the frames of the one "
                "before, and cannot be streamed: call the pipeline."
            )
        named = [each for _, each in style] if isinstance(style, (list, tuple)) else [style]
        if any(isinstance(each, str) and each == "from_audio" for each in named):
            raise ValueError(
                'style="from_audio" needs all of the speech before the first frame: encode it with '
                "`svp style encode` and pass that style."
            )
        if num_frames is not None:
            return
        has_rows = any(isinstance(each, torch.Tensor) and each.ndim > 1 for each in named)
        has_poses = head_motion is not None and not isinstance(head_motion, str)
        if has_rows or has_poses or (head_keypoints is not None and len(head_keypoints) > 1):
            raise ValueError(
                "The frames of live speech are not known before it comes: pass one style, one "
                "picture of head keypoints, and no poses."
            )

    def _prepare_styles(
        self,
        style: Style,
        speech: SpeechFrames,
        settings: CallSettings,
        temperature: float,
        generator: torch.Generator | None,
    ) -> Callable[[int, int], torch.Tensor]:
        """Draw the style; give that of some frames, (style_dim,) or (frames, style_dim)."""
        length, fps = speech.num_frames or 1, settings.fps

        def draw(each: Style) -> torch.Tensor:
            return self.encode_style(each, None, length, fps, temperature, generator)

        if isinstance(style, (list, tuple)):
            schedule = StyleSchedule(style)
            vectors = [draw(each) for _, each in schedule.keys]
            return lambda start, stop: schedule.blend(vectors, range(start, stop), fps)
        drawn = draw(style)
        return partial(take_style, drawn)
