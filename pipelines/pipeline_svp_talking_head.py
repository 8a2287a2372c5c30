"""The SVP pipeline: portrait + speech + style in, talking-head video out (arXiv 2409.03270).

A checkpoint on the Hub carries this file and the siblings that it imports beside its weights. It
knows its components by what they do, and takes images, waveforms, tensors and styles. Files, faces
and clips are the work of the `svp_diffusers` package.
"""

import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.video_processor import VideoProcessor
from transformers import FeatureExtractionMixin, PreTrainedModel

if not __name__.startswith("svp_diffusers."):
    # A checkpoint's copy, which diffusers runs under a name of its own making. The relative imports
    # below would break on a dot in the repository's name, and find the files of a checkpoint loaded
    # before. So this file is a package, which holds the files beside it as they now are.
    __path__ = [str(Path(__file__).parent)]
    __package__, __spec__.submodule_search_locations = __name__, __path__
    for loaded in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()

# diffusers copies what this very file imports, and not what those files import in turn.
from .call_svp import CallInputs, CallMixin, CallSettings, Turn, in_turn
from .checkpoint_svp import CheckpointMixin
from .conditions_svp import HEAD_FRAMES, Conditions, ConditionsMixin
from .detail_svp import VideoDetail
from .guidance_svp import GuidancePass, batch_passes, limit_guidance
from .handler_svp import EndpointHandler  # noqa: F401, which a checkpoint carries by this import
from .head_frames_svp import HeadFramesMixin, read_places
from .head_pictures_svp import HeadPictures
from .head_pose_svp import HeadMotion
from .head_svp import HeadMixin
from .image_prompt_svp import ImagePromptMixin
from .images_svp import Portrait
from .modular_svp import ModularMixin, SVPTalkingHeadBlocks  # noqa: F401, which it carries
from .noise_svp import NoiseMixin, check_finite
from .numbers_svp import check_number  # noqa: F401, which siblings import
from .output_svp import SVPTalkingHeadPipelineOutput
from .portrait_svp import EncodedPortrait, PortraitMixin
from .regional_svp import RegionalMixin
from .sound_svp import Audio, Piece, StoredSound, open_sound
from .speech_frames_svp import LiveSpeech, RecordedSpeech, SpeechEncoder, SpeechFrames
from .speech_svp import pick_embeddings
from .stream_svp import StreamMixin
from .style_adapter_svp import StyleAdapterMixin
from .style_schedule_svp import Style, take_style
from .support_svp import check_scheduler  # noqa: F401, which siblings import
from .weights_svp import check_weights  # noqa: F401, which siblings import
from .windows_svp import (
    BlendedWindows,
    context_windows,
    cyclic_windows,
    divide_frames,
    take_frames,
)


class SVPTalkingHeadPipeline(
    CallMixin,
    ModularMixin,
    CheckpointMixin,
    StyleAdapterMixin,
    ConditionsMixin,
    HeadMixin,
    RegionalMixin,
    PortraitMixin,
    ImagePromptMixin,
    HeadFramesMixin,
    NoiseMixin,
    StreamMixin,
    DiffusionPipeline,
):
    """Makes a portrait speak, in a style that is sampled from a probability distribution.

    Args:
        vae: pixels in [-1, 1] to latents and back.
        reference_unet: `ReferenceUNet`, latents of the portrait to reference features.
        unet: `TemporalUNet`, predicts the noise (or velocity) of a clip of latents.
        head_guider: `HeadKeypointGuider`, pictures of head keypoints to features.
        audio_encoder: a wav2vec 2.0-like model (HuBERT, WavLM, XLS-R): a waveform of 16 kHz to
            embeddings at 50 Hz; or `WhisperStates` or `Wav2Vec2States`: to windows of frames.
        feature_extractor: normalises the waveform.
        audio_projector: `AudioProjector`, windows of embeddings to audio tokens, or another that
            takes the windows of the audio encoder.
        style_encoder: `StyleEncoder`, holds the style prior and the bank of named styles.
        scheduler: any diffusers scheduler.
        face_landmarker: `FaceLandmarker`, finds the portrait's face where a call gives no head
            keypoints. Optional.
        head_motion: `HeadMotionModel`, speech and style to the motion of the head. Optional.
        face_projector: `FaceProjector`, of a UNet that attends to the identity of a face. Optional.
        image_encoder: CLIP's, of UNets that attend to an embedding of the portrait. Optional.
        num_inference_steps: the default of a call, as are the next seven: they depend on how a
            checkpoint was trained, so it carries them.
        guidance_scale, audio_guidance_scale, style_guidance_scale: the defaults of a call.
        shared_noise: the default of a call.
        fps: the default of a call.
        context_length, context_overlap: the defaults of a call.
        cyclic_windows: whether windows of frames run over the end of the video to its beginning,
            and are averaged where they overlap, as in AnimateAnyone and EchoMimic.
        window_shift: frames that cyclic windows move on from step to step.
        noise_limit: the largest value of the noise that is drawn, if there is a limit.
        guidance_limit: the most that guidance adds, if there is a limit: see `limit_guidance`.
        detail_scale: the default of a call.
        min_portrait_psnr: a warning is given for a portrait whose reconstruction by the VAE has a
            lower PSNR (dB): it is unlike all that the checkpoint was trained on. 0 never warns.
    """

    model_cpu_offload_seq = (
        "face_landmarker->audio_encoder->style_encoder->audio_projector->face_projector"
        "->image_encoder->reference_unet"
        "->head_motion->head_guider->unet->vae"
    )
    _callback_tensor_inputs: ClassVar = ["latents"]
    _optional_components: ClassVar = [
        *("face_landmarker", "head_motion", "face_projector", "image_encoder"),
    ]

    def __init__(
        self,
        vae: AutoencoderKL,
        reference_unet: ModelMixin,
        unet: ModelMixin,
        head_guider: ModelMixin,
        audio_encoder: PreTrainedModel | ModelMixin,
        feature_extractor: FeatureExtractionMixin,
        audio_projector: ModelMixin,
        style_encoder: ModelMixin,
        scheduler: SchedulerMixin,
        face_landmarker: ModelMixin | None = None,
        head_motion: ModelMixin | None = None,
        face_projector: ModelMixin | None = None,
        image_encoder: PreTrainedModel | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 3.5,
        audio_guidance_scale: float | None = None,
        style_guidance_scale: float | None = None,
        shared_noise: float = 0.0,
        min_portrait_psnr: float = 0.0,
        fps: float = 25.0,
        context_length: int = 24,
        context_overlap: int = 4,
        cyclic_windows: bool = False,
        window_shift: int = 0,
        noise_limit: float | None = None,
        guidance_limit: float | None = None,
        detail_scale: int = 0,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            reference_unet=reference_unet,
            unet=unet,
            head_guider=head_guider,
            audio_encoder=audio_encoder,
            feature_extractor=feature_extractor,
            audio_projector=audio_projector,
            style_encoder=style_encoder,
            scheduler=scheduler,
            face_landmarker=face_landmarker,
            head_motion=head_motion,
            face_projector=face_projector,
            image_encoder=image_encoder,
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            shared_noise=shared_noise,
            min_portrait_psnr=min_portrait_psnr,
            fps=fps,
            context_length=context_length,
            context_overlap=context_overlap,
            cyclic_windows=cyclic_windows,
            window_shift=window_shift,
            detail_scale=detail_scale,
        )
        optional = {
            "audio_guidance_scale": audio_guidance_scale,
            "style_guidance_scale": style_guidance_scale,
            "noise_limit": noise_limit,
            "guidance_limit": guidance_limit,
        }
        # In an index, what is null is a component that is left out.
        self.register_to_config(
            **{name: value for name, value in optional.items() if value is not None}
        )
        self.turn = Turn()
        self.vae_scale_factor = 8
        if vae:  # an autoencoder may fold patches of pixels into channels before its blocks
            halvings = len(vae.config.block_out_channels) - 1
            self.vae_scale_factor = vae.config.get("patch_size", 1) * 2**halvings
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor)

    @property
    def guidance_scale(self) -> float:
        """The joint guidance scale of the call that is running.

        Set `pipe._guidance_scale` in a callback for the steps that follow.
        """
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """The number of denoising steps of the call that is running."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipe._interrupt = True` in a callback to stop denoising."""
        return self._interrupt

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        conditions: Conditions,
        passes: Sequence[GuidancePass],
        attention_scales: dict[str, Any],
    ) -> torch.Tensor:
        """Predict one window of one video, with guidance.

        Args:
            latents: (1, channels, frames of the window, height, width).
            timestep: of the diffusion.
            conditions: of the window.
            passes: of `plan_guidance`; the last is that of all conditions.
            attention_scales: of the UNet.

        Returns:
            The guided prediction, in the shape and dtype of `latents`, whatever the UNet's dtype.
        """
        prediction = torch.zeros_like(latents)
        noisy = latents.to(conditions.audio_tokens.dtype)
        batches: list[Sequence[GuidancePass]] = [[each] for each in passes]
        if conditions.can_batch and not self.unet.config.clip_group_norm:
            batches = batch_passes(passes, conditions.num_frames)
        for batch in batches:
            given = conditions.give_batch(batch, attention_scales)
            clips = noisy.expand(len(batch), -1, -1, -1, -1)
            predicted = self.unet(clips, timestep, **given, return_dict=False)[0]
            for each, own in zip(batch, predicted.to(latents.dtype).split(1), strict=True):
                prediction = prediction + each.weight * own
        return limit_guidance(prediction, own, self.config.get("guidance_limit"))

    def plan_windows(
        self, num_frames: int, settings: CallSettings, step: int
    ) -> tuple[list[tuple[int, int]], int]:
        """The windows (start, stop) of a denoising step, and the frames that are blended of two.

        Without motion modules every frame is predicted by itself, and no window overlaps another.

        Args:
            num_frames: of the video.
            settings: of the call.
            step: number of the step, from 0.
        """
        length, overlap = settings.context_length, settings.context_overlap
        if self.config.cyclic_windows:
            shift = step * self.config.window_shift
            return cyclic_windows(num_frames, length, overlap, shift), 0
        if self.unet.config.motion_modules_enabled:
            return context_windows(num_frames, length, overlap), overlap
        return divide_frames(num_frames, length), overlap

    def denoise_step(
        self,
        scheduler: SchedulerMixin,
        step: int,
        latents: torch.Tensor,
        conditions: Conditions,
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        """Take one step of the diffusion of one video: predict every window, blend, and step.

        Args:
            scheduler: the video's own, with its timesteps.
            step: number of the step, from 0.
            latents: (channels, frames, height, width).
            conditions: of the video.
            settings: of the call.
            generator: of the noise that some schedulers add.

        Returns:
            The latents of the next step.
        """
        timestep = scheduler.timesteps[step]
        scaled = scheduler.scale_model_input(latents[None], timestep)
        windows, overlap = self.plan_windows(latents.shape[1], settings, step)
        blended = BlendedWindows(scaled[0], overlap)
        for window in windows:
            predicted = self.predict(
                take_frames(scaled, *window, dim=2),
                timestep,
                conditions.cut(*window),
                settings.passes,
                settings.attention_scales,
            )
            blended.add(*window, predicted[0])
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        own = {"generator": generator} if takes_generator else {}
        stepped: torch.Tensor = scheduler.step(
            blended.mean()[None], timestep, latents[None], **own, return_dict=False
        )[0]
        return stepped[0]

    def open_speech(
        self,
        audio: Audio | StoredSound | Iterator[Piece],
        sampling_rate: int,
        settings: CallSettings,
    ) -> SpeechFrames:
        """Open speech to be read frame by frame: a recording, or an iterator of pieces, live.

        Raises:
            ValueError: as `prepare_waveform`, of a recording.
        """
        encoder = SpeechEncoder(
            encoder=self.audio_encoder,
            extractor=self.feature_extractor,
            projector=self.audio_projector,
            fps=Fraction(settings.fps),
            device=self._execution_device,
        )
        if isinstance(audio, Iterator):
            return LiveSpeech(audio, sampling_rate, encoder)
        return RecordedSpeech(open_sound(audio, sampling_rate), encoder)

    @in_turn
    @torch.no_grad()
    def __call__(
        self,
        image: Portrait | list[Portrait],
        audio: Audio | list[Audio],
        style: Style = None,
        *,
        head_keypoints: HeadPictures | None = None,
        portrait_keypoints: np.ndarray | list[np.ndarray] | None = None,
        find_face: bool = True,
        face_embedding: torch.Tensor | np.ndarray | None = None,
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
        num_videos_per_style: int = 1,
        context_length: int | None = None,
        context_overlap: int | None = None,
        shared_noise: float | None = None,
        detail_scale: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        sampling_rate: int = 16000,
        output_type: str = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable[..., dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> SVPTalkingHeadPipelineOutput | tuple[Any, list[torch.Tensor]]:
        """Make a portrait speak. Calls from several threads are made one after another.

        Args:
            image: the portrait: a PIL image, a path, an array (height, width, 3) or a tensor
                (3, height, width), of floats in [0, 1] or of uint8; or a list of them, one a
                recording.
            audio: the speech: a waveform (samples,) or (channels, samples), of floats in [-1, 1]
                or of integers; a pair of its rate and (samples,) or (samples, channels), as Gradio
                gives it; or a path if soundfile is installed; or a list of them, one a portrait.
            style: None draws from the prior; a name, from the checkpoint's style bank;
                "from_audio", from the style of the voice; a `StyleDistribution`, from itself; a
                tensor (style_dim,) or (frames, style_dim) is taken as it is; a schedule
                `[(0.0, "neutral"), (2.5, "happy")]` changes over time, each style fading in over
                0.4 s (our choice). All videos of a batch have the style that is given.
            head_keypoints: pictures of head keypoints, one for a still head or one a frame: a list
                of PIL images, or an array or tensor (frames, 3, height, width) of floats in [0, 1]
                or of uint8, the first posed as the portrait. None takes the keypoints of the
                portrait, and moves them.
            portrait_keypoints: of a portrait that is taken as it is: (8, 2), x and y in pixels of
                the video; or a list, one a portrait.
            find_face: find the largest face of the portrait where no keypoints are given and the
                checkpoint has a `face_landmarker`: the portrait is cut around it. Else the head is
                left to the model, which seldom ends well; where the checkpoint is given the face's
                place, that is the portrait's middle.
            face_embedding: whose face it is, (512,), as ArcFace says, of a checkpoint that has a
                `face_projector`; None is nobody's. All portraits of a batch have it.
            head_motion: "generated" from speech and style, where the checkpoint has the component
                `head_motion`; "still"; or poses (frames, 6), see `head_pose_svp`, whose difference
                from the first moves the head. By default generated, if that is possible and the
                portrait is near the front, else still.
            head_motion_scale: factor of that motion.
            height: of what is generated in pixels; the checkpoint's own by default.
            width: of it in pixels.
            fps: frames a second, the checkpoint's own by default; the video has `round(duration *
                fps)` frames.
            num_inference_steps: denoising steps; the checkpoint's own number by default.
            guidance_scale: classifier-free guidance on all conditions together; 1 is none. By
                default the checkpoint's own, and so are then the two below.
            audio_guidance_scale: if given, guidance on the audio by itself, for one more pass.
            style_guidance_scale: if given, guidance on the style by itself, for one more pass,
                which is saved where it equals the audio's.
            reference_attention_scale: factor on what the portrait adds in every block.
            audio_attention_scale: factor on what the audio adds in every block.
            style_attention_scale: factor on what the style adds in every block.
            style_temperature: factor on the style's standard deviation; 0 gives its mean.
            num_videos_per_style: performances of each line, each with its own style and noise.
            context_length: frames denoised together, the checkpoint's own number by default; longer
                videos are cut into windows.
            context_overlap: frames that neighbouring windows share, if there are motion modules;
                the checkpoint's own number by default.
            shared_noise: share of the initial noise's variance that all frames of a video have in
                common, 0 (every frame its own, the paper's) to 1 (one noise for all); the
                checkpoint's own by default.
            detail_scale: how many times as large as they are generated frames become, 1 to 8: what
                the VAE loses of the portrait is put back where a frame agrees with it, where it
                lies in the portrait and, of heads with 8 keypoints, where the head has moved it. 0
                leaves frames as they are generated; the checkpoint's own by default.
            generator: one for all, or a list with one a video, which makes each video of a batch
                what a call by itself would, with any scheduler.
            latents: the initial noise (videos, channels, frames, height / 8, width / 8).
            sampling_rate: of the waveforms.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: return an output object rather than a tuple.
            cross_attention_kwargs: `{"scale": factor}` of the LoRAs that are loaded.
            callback_on_step_end: called as `(pipe, step, timestep, tensors)`; may return
                replacements.
            callback_on_step_end_tensor_inputs: names of the tensors it is handed.

        Returns:
            `SVPTalkingHeadPipelineOutput`, or the tuple (frames, styles). Videos are in the order
            of the portraits, those of one portrait together.

        Raises:
            ValueError: saying which argument is wrong and what is expected, before denoising.
            FloatingPointError: a network gave NaN or infinity, as in float16 it may.
        """
        # 1. Check everything that can be checked before a model runs
        settings = self.fill_settings(
            *(height, width, fps, num_inference_steps),
            (guidance_scale, audio_guidance_scale, style_guidance_scale),
            (reference_attention_scale, audio_attention_scale, style_attention_scale),
            *(shared_noise, context_length, context_overlap, detail_scale),
            cross_attention_kwargs,
        )
        inputs = self.read_inputs(
            image,
            audio,
            settings,
            head_keypoints=head_keypoints,
            portrait_keypoints=portrait_keypoints,
            find_face=find_face,
            face_embedding=face_embedding,
            head_motion=head_motion,
            head_motion_scale=head_motion_scale,
            style_temperature=style_temperature,
            num_videos_per_style=num_videos_per_style,
            generator=generator,
            sampling_rate=sampling_rate,
            output_type=output_type,
            style=style,
            latents=latents,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )

        # 2. Encode the portraits, and all that each video is made of
        portraits = self.encode_portraits(
            *(inputs.portraits, head_keypoints, inputs.portrait_keypoints, find_face, settings)
        )
        conditions = self.encode_videos(
            *(portraits, inputs, settings, style, style_temperature, num_videos_per_style),
            *(head_motion, head_motion_scale, face_embedding),
        )

        # 3. Draw noise, and denoise each video
        denoised = self.denoise(
            *(conditions, settings, inputs.generators, latents),
            *(callback_on_step_end, callback_on_step_end_tensor_inputs),
        )

        # 4. Decode each video at its own length
        details = [each.detail for each in conditions]
        frames = self.decode(denoised, inputs.num_frames, output_type, details)
        styles = [each.style for each in conditions]
        self.maybe_free_model_hooks()
        if not return_dict:
            return frames, styles
        return SVPTalkingHeadPipelineOutput(frames=frames, styles=styles, details=details)

    def encode_videos(
        self,
        portraits: Sequence[EncodedPortrait],
        inputs: CallInputs,
        settings: CallSettings,
        style: Style = None,
        style_temperature: float = 1.0,
        num_videos_per_style: int = 1,
        head_motion: HeadMotion = None,
        head_motion_scale: float = 1.0,
        face_embedding: torch.Tensor | np.ndarray | None = None,
    ) -> list[Conditions]:
        """Encode speech, draw styles, and move heads: what each video is conditioned on.

        Args:
            portraits: of `encode_portraits`.
            inputs: of `read_inputs`.
            settings: of the call.

        The others are those of `__call__`.

        Returns:
            One a video, those of one portrait together.

        Raises:
            ValueError: if the style is unknown, malformed or of another style encoder.
        """
        fps = settings.fps
        conditions: list[Conditions] = []
        lines = zip(portraits, inputs.waveforms, inputs.num_frames, strict=True)
        for portrait, waveform, frames in lines:
            head = portrait.head
            motion = self.choose_head_motion(head_motion, head_motion_scale, head)
            made = self.fill_clips(frames, settings.context_length)
            audio_tokens, embeddings = self.encode_audio_tokens(waveform, made, fps)
            audio_tokens = audio_tokens.to(self.unet.dtype)
            hear = None if embeddings is None else partial(pick_embeddings, embeddings)
            still = None
            if motion is None and head.pictures is not None:
                still = self.encode_heads(head.pictures)
            for _ in range(num_videos_per_style):
                drawn = inputs.generators[len(conditions)]
                vector = self.encode_style(style, embeddings, frames, fps, style_temperature, drawn)
                head_features, places = still, read_places(head.pictures)
                if motion is not None:
                    move = self.move_head(
                        *(head, motion, head_motion_scale, hear, frames),
                        *(partial(take_style, vector), settings, drawn),
                    )
                    moved = [move(*window) for window in divide_frames(frames, HEAD_FRAMES)]
                    head_features = torch.cat([features.cpu() for features, _ in moved], dim=2)
                    places = torch.cat([keypoints for _, keypoints in moved])
                detail = None if portrait.detail is None else VideoDetail(portrait.detail, places)
                all_of = Conditions(
                    *(audio_tokens, vector, portrait.latents, portrait.features, head_features),
                    detail=detail,
                )
                if self.makes_clips and head.pictures is not None:
                    all_of = self.add_regions(all_of, head.pictures, face_embedding)
                conditions.append(self.add_image_prompt(all_of, portrait.image_tokens))
        return conditions

    @in_turn
    def denoise(
        self,
        conditions: Sequence[Conditions],
        settings: CallSettings,
        generators: Sequence[torch.Generator | None],
        latents: torch.Tensor | None = None,
        callback_on_step_end: Callable[..., dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> torch.Tensor:
        """Make the latents of all videos from noise.

        Args:
            conditions: of `encode_videos`.
            settings: of the call.
            generators: one a video.

        The others are those of `__call__`.

        Returns:
            Latents (videos, channels, frames of the longest, height / 8, width / 8).

        Raises:
            ValueError: see `check_latents`.
            FloatingPointError: see `check_finite`.
        """
        self._guidance_scale = settings.guidance_scale
        self._interrupt = False
        self.scheduler.set_timesteps(settings.num_inference_steps, device=self._execution_device)
        timesteps = self.scheduler.timesteps
        lengths = [each.num_frames for each in conditions]
        self.check_latents(latents, lengths, settings.height, settings.width)
        clips = self.plan_clips(max(lengths), settings.context_length)
        self._num_timesteps = len(timesteps) * len(clips)
        latents = self.prepare_latents(
            *(lengths, settings.height, settings.width, generators, latents, settings.shared_noise)
        )
        with self.progress_bar(total=self._num_timesteps) as progress_bar:
            for number, ((start, stop), step) in enumerate(product(clips, range(len(timesteps)))):
                if self.interrupt:
                    break
                if step == 0:
                    rows = [row for row, length in enumerate(lengths) if length > start]
                    shown = [self.start_clip(conditions[r], latents[r], start, stop) for r in rows]
                    # Schedulers remember what they stepped: each video has its own, and its length.
                    schedulers = [copy.deepcopy(self.scheduler) for _ in rows]
                stepped = latents.clone()
                for row, scheduler, each in zip(rows, schedulers, shown, strict=True):
                    span = slice(start, start + each.num_frames)
                    stepped[row, :, span] = self.denoise_step(
                        scheduler, step, latents[row, :, span], each, settings, generators[row]
                    )
                check_finite(stepped, f"the latents of step {number + 1}", self.unet.dtype)
                latents = stepped
                if callback_on_step_end is not None:
                    offered = {"latents": latents}
                    tensors = {name: offered[name] for name in callback_on_step_end_tensor_inputs}
                    returned = callback_on_step_end(self, number, timesteps[step], tensors)
                    latents = (returned or {}).get("latents", latents)
                    if self._guidance_scale != settings.guidance_scale:
                        settings = self.change_guidance(settings, self._guidance_scale)
                progress_bar.update()
        return latents

    def decode(
        self,
        latents: torch.Tensor,
        num_frames: Sequence[int],
        output_type: str = "pil",
        details: Sequence[VideoDetail | None] | None = None,
    ) -> list[Any] | np.ndarray | torch.Tensor:
        """Decode videos, each at its own length.

        Args:
            latents: of `denoise`.
            num_frames: of the videos of each portrait, which lie together.
            output_type: as in `__call__`.
            details: of the portraits, one a video, that are put into the frames; None for none.

        Returns:
            The frames of each video, see `SVPTalkingHeadPipelineOutput`.
        """
        performances = len(latents) // len(num_frames)
        lengths = [length for length in num_frames for _ in range(performances)]
        videos = [
            self._to_output(video[:, :length], output_type, detail)
            for video, length, detail in zip(
                latents, lengths, details or [None] * len(lengths), strict=True
            )
        ]
        if output_type == "pil" or len(set(lengths)) > 1:
            return videos
        return np.stack(videos) if output_type == "np" else torch.stack(videos)

    def _to_output(
        self,
        latents: torch.Tensor,
        output_type: str,
        detail: VideoDetail | None,
        device: torch.device | None = None,
    ) -> Any:
        if output_type == "latent":
            return latents
        parts = [part.float().cpu() for part in self.decode_latents(latents, detail, device)]
        if output_type == "pt":
            return torch.cat(parts)
        arrays = [self.video_processor.pt_to_numpy(part) for part in parts]
        if output_type == "np":
            return np.concatenate(arrays)
        return [image for array in arrays for image in self.video_processor.numpy_to_pil(array)]
