"""What a video is conditioned on: speech, portrait, style and head, encoded once for all steps.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.video_processor import VideoProcessor
from transformers import FeatureExtractionMixin, PreTrainedModel

from .detail_svp import VideoDetail
from .guidance_svp import GuidancePass, embed_guidance
from .head_pictures_svp import HeadPictures, stack_head_pictures
from .images_svp import Portrait, read_portrait
from .noise_svp import check_finite
from .sound_svp import Audio, prepare_waveform
from .speech_svp import encode_speech, encode_windows, project_windows, window_audio
from .style_schedule_svp import Distribution, Style, StyleSchedule, check_style
from .windows_svp import divide_frames, take_frames

HEAD_FRAMES = 24  # whose keypoint pictures are drawn and encoded at once
DECODE_FRAMES = 8  # frames the VAE decodes at once


@dataclass(frozen=True)
class Conditions:
    """Everything the UNet is given of one video, prepared once and read by every step."""

    can_batch: ClassVar[bool] = True  # whether the UNet can be given several passes at once

    audio_tokens: torch.Tensor  # (frames, tokens, dim)
    style: torch.Tensor  # (style_dim,) or (frames, style_dim)
    reference_latents: torch.Tensor  # (1, channels, height, width)
    reference_features: dict[str, torch.Tensor]  # each (1, tokens, dim)
    head_features: torch.Tensor | None  # (1, channels, frames, height, width), or of one frame
    detail: VideoDetail | None = field(default=None, kw_only=True)  # put into decoded frames

    @property
    def num_frames(self) -> int:
        """Length of the video."""
        return len(self.audio_tokens)

    def give(self, shown: GuidancePass, scales: dict[str, float]) -> dict[str, Any]:
        """What the UNet is given in one pass of guidance, with its attention scales."""
        tokens = self.audio_tokens
        told = None
        if shown.told_scales is not None:
            told = embed_guidance(tokens.new_tensor([shown.told_scales]))
        return {
            "timestep_cond": told,
            "encoder_hidden_states": tokens if shown.audio else torch.zeros_like(tokens),
            "style": self.style[None] if shown.style else None,
            "reference_features": self.reference_features if shown.portrait else None,
            "reference_latents": self.reference_latents if shown.portrait else None,
            "head_features": self.head_features if shown.portrait else None,
            **scales,
        }

    def give_batch(
        self, passes: Sequence[GuidancePass], scales: dict[str, float]
    ) -> dict[str, Any]:
        """What the UNet is given in passes that are its batch, with its attention scales.

        Several are some that `batch_passes` puts together.
        """
        if len(passes) == 1:
            return self.give(passes[0], scales)
        number, tokens, head = len(passes), self.audio_tokens, self.head_features
        nothing = torch.zeros_like(tokens)
        return {
            "encoder_hidden_states": torch.cat(
                [tokens if each.audio else nothing for each in passes]
            ),
            "style": self.style.expand(number, *self.style.shape),
            "style_mask": tokens.new_tensor([float(each.style) for each in passes]),
            "reference_features": self.reference_features,
            "reference_latents": self.reference_latents,
            "head_features": None if head is None else head.expand(number, -1, -1, -1, -1),
            **scales,
        }

    def cut(self, start: int, stop: int) -> Self:
        """Those of a window of frames, which may run over the end to the beginning."""
        head_features = self.head_features
        if head_features is not None:
            if head_features.shape[2] > 1:
                head_features = take_frames(head_features, start, stop, dim=2)
            head_features = head_features.to(self.audio_tokens.device)
            head_features = head_features.expand(-1, -1, stop - start, -1, -1)
        return replace(
            self,
            audio_tokens=take_frames(self.audio_tokens, start, stop, dim=0),
            style=take_frames(self.style, start, stop, dim=0)
            if self.style.ndim == 2
            else self.style,
            head_features=head_features,
        )


class ConditionsMixin:
    """The encoders of a pipeline, which has the components named here, and its decoder."""

    config: Any
    vae: AutoencoderKL
    reference_unet: ModelMixin
    unet: ModelMixin
    head_guider: ModelMixin
    audio_encoder: PreTrainedModel | ModelMixin
    feature_extractor: FeatureExtractionMixin
    audio_projector: ModelMixin
    style_encoder: ModelMixin
    video_processor: VideoProcessor
    _execution_device: torch.device

    def prepare_waveform(self, audio: Audio, sampling_rate: int) -> torch.Tensor:
        """Bring speech to the audio encoder's rate; see `speech_svp.prepare_waveform`."""
        return prepare_waveform(audio, sampling_rate, self.feature_extractor.sampling_rate)

    def encode_audio(self, waveform: torch.Tensor) -> torch.Tensor:
        """Encode speech (samples,) to embeddings (time, dim); see `speech_svp.encode_speech`."""
        return encode_speech(
            waveform, self.audio_encoder, self.feature_extractor, self._execution_device
        )

    def encode_audio_tokens(
        self, waveform: torch.Tensor, num_frames: int, fps: float | Fraction
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode speech for the frames of a video, as the checkpoint's audio encoder does.

        Args:
            waveform: (samples,), of `prepare_waveform`.
            num_frames: frames of the video.
            fps: its frames a second.

        Returns:
            Audio tokens (num_frames, tokens, dim); and the embeddings (time, dim) that a style is
            taken from, where the encoder gives them.
        """
        encoder, extractor = self.audio_encoder, self.feature_extractor
        device = self._execution_device
        embeddings = None
        if isinstance(encoder, PreTrainedModel):
            embeddings = encode_speech(waveform, encoder, extractor, device)
            num_pad_frames = self.audio_projector.config.num_pad_frames
            windows = window_audio(embeddings, num_frames, num_pad_frames)
        else:
            windows = encode_windows(waveform, encoder, extractor, num_frames, fps, device)
        return project_windows(windows, self.audio_projector), embeddings

    def prepare_image(self, image: Portrait, height: int, width: int) -> torch.Tensor:
        """Bring the portrait to what the VAE takes.

        Args:
            image: a PIL image or the path of one, an array (height, width, 3) or a tensor
                (3, height, width) of floats in [0, 1] or of uint8; cropped about its centre to the
                requested aspect and resized, whatever it is given as.
            height: of the video.
            width: of the video.

        Returns:
            Pixels (1, 3, height, width) in [-1, 1].

        Raises:
            ValueError: if the image cannot be read, or has another shape or range.
        """
        pixels = self.video_processor.preprocess(
            read_portrait(image), height, width, resize_mode="crop"
        )
        return pixels.to(self._execution_device, self.vae.dtype)

    def encode_image(self, image: Portrait, height: int, width: int) -> torch.Tensor:
        """Encode the portrait with the VAE; the reference UNet then reads these latents.

        Args:
            image: as `prepare_image` takes it.
            height: of the video.
            width: of the video.

        Returns:
            Latents (1, channels, height / 8, width / 8), scaled for the UNets.
        """
        pixels = self.prepare_image(image, height, width)
        latents: torch.Tensor = self.vae.encode(pixels).latent_dist.mode()
        return (latents * self.vae.config.scaling_factor).to(self.reference_unet.dtype)

    def decode_latents(
        self,
        latents: torch.Tensor,
        detail: VideoDetail | None = None,
        device: torch.device | None = None,
    ) -> Iterator[torch.Tensor]:
        """Decode one video a few frames at a time, so that its length does not cost memory.

        Args:
            latents: (channels, frames, height, width), as `output_type="latent"` returns them.
            detail: of the portrait, that is put into the frames, if there is any.
            device: see `encode_head`.

        Yields:
            Pixels (a few frames, 3, height, width) in [0, 1], of the detail's size if there is any.

        Raises:
            FloatingPointError: see `check_finite`.
        """
        device, dtype = device or self._execution_device, self.vae.dtype
        done = 0
        for part in latents.transpose(0, 1).split(DECODE_FRAMES):
            part = part.to(device, dtype)
            with torch.no_grad():
                pixels = self.vae.decode(part / self.vae.config.scaling_factor).sample
            check_finite(pixels, "the decoded frames", dtype)
            pixels = self.video_processor.denormalize(pixels)
            if detail is not None:
                pixels = detail.cut(done, done + len(part)).restore(pixels)
            done += len(part)
            yield pixels

    def encode_reference(
        self, portrait_latents: torch.Tensor, image_tokens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """What the UNet reads of the portrait: its latents and reference features.

        Both are in the UNet's dtype, so that the reference UNet may have another.

        Args:
            portrait_latents: of `encode_image`.
            image_tokens: of `encode_image_prompt`, what the reference UNet's own attention sees.
        """
        dtype = self.unet.dtype
        if image_tokens is not None:
            image_tokens = image_tokens.to(self.reference_unet.dtype)
        features = self.reference_unet(portrait_latents, image_tokens)
        return portrait_latents.to(dtype), {name: each.to(dtype) for name, each in features.items()}

    def encode_style(
        self,
        style: Style,
        embeddings: torch.Tensor | None,
        num_frames: int,
        fps: float | Fraction,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw the style vector, or vectors, of one video.

        Args:
            style: as in `__call__`.
            embeddings: of the speech (time, dim), read by "from_audio", of `encode_audio_tokens`.
            num_frames: length of the video.
            fps: its frames a second.
            temperature: factor on the standard deviation; 0 gives the mean.
            generator: of the draw.

        Returns:
            (style_dim,), or (num_frames, style_dim) for a style that changes.

        Raises:
            ValueError: if the style is unknown, malformed or of another style encoder.
        """
        check_style(style, self.style_encoder, num_frames, fps)
        if isinstance(style, (list, tuple)):
            schedule = StyleSchedule(style)
            rest = (embeddings, num_frames, fps, temperature, generator)
            vectors = [self.encode_style(each, *rest) for _, each in schedule.keys]
            return schedule.blend(vectors, range(num_frames), fps)
        if isinstance(style, torch.Tensor):
            return style.to(self._execution_device, self.unet.dtype)
        if style is None:
            distribution: Distribution = self.style_encoder.prior()
        elif isinstance(style, str) and style == "from_audio":
            distribution = self._style_from_audio(embeddings)
        elif isinstance(style, str):
            distribution = self.style_encoder.get_style(style)
        else:
            assert isinstance(style, Distribution)
            distribution = style
        distribution = distribution.to(self._execution_device, torch.float32)
        drawn: torch.Tensor = distribution.sample(1, temperature, generator)[0]
        return drawn.to(self.unet.dtype)

    def _style_from_audio(self, embeddings: torch.Tensor | None) -> Distribution:
        config = self.style_encoder.config
        if embeddings is None:
            raise ValueError(
                'style="from_audio" needs an audio encoder that gives embeddings of the whole '
                "recording; this checkpoint's gives windows of frames. Encode the recording with "
                "`svp style encode` and pass that style."
            )
        if config.audio_features != "wav2vec2" or config.audio_dim != embeddings.shape[-1]:
            raise ValueError(
                'style="from_audio" needs a style encoder trained on the embeddings of this '
                f"pipeline's audio encoder ({embeddings.shape[-1]} numbers); this one takes "
                f"{config.audio_dim} numbers of {config.audio_features}."
            )
        return self.style_encoder(audio=embeddings[None].to(self.style_encoder.dtype))[0]

    def check_head_keypoints(
        self, head_keypoints: HeadPictures, num_frames: int, height: int, width: int
    ) -> None:
        """Check that there is one keypoint image, or one a frame, of the size of the video.

        Raises:
            ValueError: if not.
        """
        if len(head_keypoints) not in (1, num_frames):
            raise ValueError(
                f"`head_keypoints` must have one image for a still head, or {num_frames}, one a "
                f"frame; got {len(head_keypoints)}."
            )
        first = stack_head_pictures(head_keypoints[:1])
        channels = self.head_guider.config.conditioning_channels
        if tuple(first.shape[1:]) not in ((3, height, width), (channels, height, width)):
            raise ValueError(
                f"`head_keypoints` must be images (3, {height}, {width}); got "
                f"{tuple(first.shape[1:])}."
            )

    def encode_head(
        self, images: HeadPictures, start: int, stop: int, device: torch.device | None = None
    ) -> torch.Tensor:
        """Features (1, channels, frames, h, w) of the keypoint images of a window of frames.

        The first image of all is the portrait's own, for a head guider that takes it.

        Args:
            images: as in `__call__`.
            start: the first frame of the window.
            stop: the frame after its last.
            device: that the pipeline runs on, if the caller has asked: for that, diffusers looks
                through all modules.
        """
        still, device = len(images) == 1, device or self._execution_device
        window = self._stack_for_guider(images, 0 if still else start, 1 if still else stop, device)
        takes_own = self.head_guider.config.with_reference
        own = self._stack_for_guider(images, 0, 1, device) if takes_own else None
        features: torch.Tensor = self.head_guider(window, own).to(self.unet.dtype)
        return features.expand(-1, -1, stop - start, -1, -1) if still else features

    def _stack_for_guider(
        self, images: HeadPictures, start: int, stop: int, device: torch.device
    ) -> torch.Tensor:
        """Some keypoint images as the head guider takes them, (1, channels, frames, H, W)."""
        channels = self.head_guider.config.conditioning_channels
        stacked = stack_head_pictures(images[start:stop])[:, :channels]
        return stacked.to(device, self.head_guider.dtype).transpose(0, 1)[None]

    def encode_heads(self, images: HeadPictures) -> torch.Tensor:
        """Features of all keypoint images, a few frames at a time, kept in main memory.

        Those of full size take 2.6 MB a frame in half precision.

        Args:
            images: as in `__call__`.

        Returns:
            (1, channels, frames, height / 8, width / 8) on the CPU.
        """
        windows, device = divide_frames(len(images), HEAD_FRAMES), self._execution_device
        parts = [self.encode_head(images, *window, device).cpu() for window in windows]
        return torch.cat(parts, dim=2)
