"""Lip synchronisation: the lower face of a video, painted anew so that it says what is heard.

The published LatentSync runs in it. It is given a video where `SVPTalkingHeadPipeline` is given a
portrait, and has no reference UNet and no head guider: what a frame shows reaches the UNet as
further channels, whole and under a mask. A checkpoint on the Hub carries this file and the siblings
that it imports beside its weights. Finding faces, and putting them back, is the work of the
`svp_diffusers` package.
"""

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from torch.nn import functional as F
from transformers import FeatureExtractionMixin

if not __name__.startswith("svp_diffusers."):
    # A checkpoint's copy: see pipeline_svp_talking_head.py, which does the same.
    __path__ = [str(Path(__file__).parent)]
    __package__, __spec__.submodule_search_locations = __name__, __path__
    for loaded in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()

# diffusers copies what this very file imports, and not what those files import in turn.
from .checkpoint_svp import CheckpointMixin
from .guidance_svp import plan_guidance
from .noise_svp import check_finite
from .numbers_svp import MOST_SCALE, MOST_STEPS, check_number
from .sound_svp import Audio, StoredSound, open_sound
from .speech_frames_svp import RecordedSpeech, SpeechEncoder
from .speech_svp import count_frames  # noqa: F401, which a sibling imports
from .weights_svp import check_weights  # noqa: F401, which a sibling imports
from .windows_svp import divide_frames

DECODE_FRAMES = 8  # decoded at once

# The mask, in shares of the aligned face's side: our choice, see `draw_mask`.
MASK_CENTRE, MASK_HALF_SIZE, MASK_POWER = (0.5, 0.70), (0.42, 0.29), 4

CARD = """---
library_name: diffusers
tags: [lip-sync, audio-driven]
---
# {repo_id}

Limits: pushed without a word on its training data, quality or licence; ask its owner before use.

A video and speech go in, the same video comes out with lips that say the speech.

## Responsible use

Change a face, and use a voice, only with the consent of the people they belong to. Impersonate
nobody, and tell viewers that the video is synthetic.
"""


@dataclass
class LipSyncPipelineOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        frames: the aligned faces with new lips: a list of PIL images, an array (frames, size, size,
            3) or a tensor (frames, 3, size, size) in [0, 1], by `output_type`.
    """

    frames: Any


def draw_mask(size: int) -> torch.Tensor:
    """Draw what is kept of an aligned face and what is painted anew: a lower face of our shape.

    A superellipse from below the eyes to the lower border, as wide as the face. (LatentSync has a
    fixed picture of its own, which is not in its checkpoint and not here.)

    Args:
        size: of the face in pixels.

    Returns:
        (size, size) float32, 1 where the picture is kept, 0 where it is painted anew.
    """
    places = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    across = ((places - MASK_CENTRE[0]) / MASK_HALF_SIZE[0]).abs() ** MASK_POWER
    down = ((places - MASK_CENTRE[1]) / MASK_HALF_SIZE[1]).abs() ** MASK_POWER
    return (down[:, None] + across[None, :] > 1).float()


class LipSyncPipeline(CheckpointMixin, DiffusionPipeline):
    """Makes the lips of a filmed person say other speech.

    Args:
        vae: pixels in [-1, 1] to latents and back.
        unet: `TemporalUNet` with `reference_channels`: mask, masked picture and whole picture.
        audio_encoder: `WhisperStates`, speech to windows of states.
        feature_extractor: makes its spectrogram.
        audio_projector: windows to audio tokens.
        scheduler: any diffusers scheduler.
        num_inference_steps: the default of a call, as is the next: they depend on how a checkpoint
            was trained, so it carries them.
        guidance_scale: the default of a call.
        fps: frames a second of the video; the only rate that the checkpoint knows.
        context_length: frames of a clip; clips do not overlap.
    """

    model_cpu_offload_seq = "audio_encoder->audio_projector->unet->vae"
    code_file: ClassVar[str] = "pipeline_lip_sync"
    default_card: ClassVar[str] = CARD

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: ModelMixin,
        audio_encoder: ModelMixin,
        feature_extractor: FeatureExtractionMixin,
        audio_projector: ModelMixin,
        scheduler: SchedulerMixin,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.5,
        fps: float = 25.0,
        context_length: int = 16,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            audio_encoder=audio_encoder,
            feature_extractor=feature_extractor,
            audio_projector=audio_projector,
            scheduler=scheduler,
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            fps=fps,
            context_length=context_length,
        )
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae else 8
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor)

    @property
    def size(self) -> int:
        """Side of an aligned face in pixels, that the checkpoint was trained with."""
        return int(self.unet.config.sample_size) * self.vae_scale_factor

    @torch.no_grad()
    def __call__(
        self,
        faces: torch.Tensor | np.ndarray | Sequence[Any],
        audio: Audio,
        mask: torch.Tensor | None = None,
        *,
        sampling_rate: int = 16000,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> LipSyncPipelineOutput | tuple[Any]:
        """Paint the lower faces of a clip anew; `stream` does so for a video of any length.

        Args:
            faces: aligned faces at `fps`: PIL images, an array (frames, size, size, 3), or a tensor
                (frames, 3, size, size) in [0, 1]; as many as the speech needs, or more.
            output_type: "pil", "np" or "pt".
            return_dict: whether to return `LipSyncPipelineOutput`, or a tuple.

        The others are those of `stream`.

        Returns:
            The faces with new lips, as many as the speech needs.

        Raises:
            ValueError: see `stream`; and for another `output_type`.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'`output_type` must be "pil", "np" or "pt", got {output_type!r}.')
        if not isinstance(faces, torch.Tensor):
            faces = self.video_processor.numpy_to_pt(_to_array(faces))
        clips = self.stream(
            faces,
            audio,
            mask,
            sampling_rate=sampling_rate,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generator=generator,
            latents=latents,
        )
        video = torch.cat([clip.float().cpu() for clip in clips])
        frames: Any = video
        if output_type != "pt":
            frames = self.video_processor.pt_to_numpy(video)
        if output_type == "pil":
            frames = self.video_processor.numpy_to_pil(frames)
        return LipSyncPipelineOutput(frames) if return_dict else (frames,)

    def stream(
        self,
        faces: Iterable[torch.Tensor],
        audio: Audio | StoredSound,
        mask: torch.Tensor | None = None,
        *,
        sampling_rate: int = 16000,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
    ) -> Iterator[torch.Tensor]:
        """Paint the lower faces of a video anew, clip after clip; no more than one is in memory.

        Args:
            faces: aligned faces (3, size, size) in [0, 1], at `fps`, read as they are needed; as
                many as the speech needs, or more, which are left out.
            audio: speech, as `open_sound` takes it.
            mask: (size, size) in [0, 1], 1 where faces are kept, 0 where they are painted anew; by
                default that of `draw_mask`.
            sampling_rate: of a waveform.
            num_inference_steps: denoising steps of each clip.
            guidance_scale: on the audio; 1 is none.
            generator: of the noise and of the VAE's samples, on the CPU or the pipeline's device.
            latents: the noise, (1, channels, 1, size / 8, size / 8), the same for all frames.

        Yields:
            Faces (at most `context_length`, 3, size, size) in [0, 1].

        Raises:
            ValueError: if an argument is of another kind, shape or range, or there are fewer faces
                than the speech needs.
            FloatingPointError: see `check_finite`.
        """
        config = self.config
        steps = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = config.guidance_scale if guidance_scale is None else guidance_scale
        check_number("num_inference_steps", steps, 1, MOST_STEPS, whole=True)
        check_number("guidance_scale", scale, 0, MOST_SCALE)
        speech = self.open_speech(audio, sampling_rate)
        mask = draw_mask(self.size) if mask is None else self.check_mask(mask)
        noise = self.prepare_noise(generator, latents)
        return self._stream(iter(faces), speech, mask, noise, int(steps), float(scale), generator)

    @torch.no_grad()
    def _stream(
        self,
        faces: Iterator[torch.Tensor],
        speech: RecordedSpeech,
        mask: torch.Tensor,
        noise: torch.Tensor,
        steps: int,
        guidance_scale: float,
        generator: torch.Generator | None,
    ) -> Iterator[torch.Tensor]:
        for start, stop in divide_frames(speech.num_frames, self.config.context_length):
            shown = [self.check_face(face) for face in islice(faces, stop - start)]
            if len(shown) < stop - start:
                raise ValueError(
                    f"The speech needs {speech.num_frames} faces, got {start + len(shown)}: give "
                    "more, for instance the same played forth and back, or shorter speech."
                )
            clip = torch.stack(shown)
            conditions = self.encode_faces(clip, mask, generator)
            tokens = speech.tokens.read(start, stop)
            latents = self.denoise(conditions, tokens, noise, steps, guidance_scale, generator)
            yield self.decode(latents, clip, mask)
            speech.drop(stop)

    def open_speech(self, audio: Audio | StoredSound, sampling_rate: int) -> RecordedSpeech:
        """Open speech to be read frame by frame.

        Raises:
            ValueError: as `prepare_waveform`.
        """
        encoder = SpeechEncoder(
            encoder=self.audio_encoder,
            extractor=self.feature_extractor,
            projector=self.audio_projector,
            fps=Fraction(self.config.fps),
            device=self._execution_device,
        )
        return RecordedSpeech(open_sound(audio, sampling_rate), encoder)

    def check_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Check a mask, and give it as float32.

        Raises:
            ValueError: if it is no tensor (size, size) in [0, 1], or paints nothing anew.
        """
        wanted = (self.size, self.size)
        if not isinstance(mask, torch.Tensor) or tuple(mask.shape) != wanted:
            given = tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
            raise ValueError(f"`mask` must be a tensor {wanted}, got {given}.")
        if not (mask.isfinite().all() and mask.min() >= 0 and mask.max() <= 1):
            raise ValueError("`mask` must be in [0, 1]: 1 keeps the picture, 0 paints it anew.")
        if mask.min() == 1:
            raise ValueError("`mask` keeps the whole picture: nothing would be painted anew.")
        return mask.float()

    def check_face(self, face: torch.Tensor) -> torch.Tensor:
        """Check one aligned face, and give it in [-1, 1] on the pipeline's device.

        Raises:
            ValueError: if it is no tensor (3, size, size) of floats in [0, 1].
        """
        wanted = (3, self.size, self.size)
        if tuple(face.shape) != wanted or not face.is_floating_point():
            raise ValueError(
                f"A face must be a tensor {wanted} of floats, got {tuple(face.shape)} {face.dtype}."
            )
        if not (face.min() >= 0 and face.max() <= 1):  # NaN is not
            raise ValueError("A face must be in [0, 1].")
        return face.to(self._execution_device, torch.float32) * 2 - 1

    def prepare_noise(
        self, generator: torch.Generator | None, latents: torch.Tensor | None
    ) -> torch.Tensor:
        """The noise of a frame, which all frames of a video share.

        Returns:
            (1, channels, 1, size / 8, size / 8) float32.

        Raises:
            ValueError: if the noise that is given is of another shape or not finite.
        """
        side = self.size // self.vae_scale_factor
        shape = (1, self.unet.config.out_channels, 1, side, side)
        device = self._execution_device
        if latents is None:
            latents = randn_tensor(shape, generator, device=device, dtype=torch.float32)
        if tuple(latents.shape) != shape or not latents.isfinite().all():
            raise ValueError(
                f"`latents` must be finite and have the shape {shape}, got {tuple(latents.shape)}."
            )
        return latents.to(device, torch.float32)

    def encode_faces(
        self, faces: torch.Tensor, mask: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """What the UNet is shown of a clip. Latents are samples of the VAE's encoder, the masked
        pictures' drawn first.

        Args:
            faces: (frames, 3, size, size) in [-1, 1].
            mask: (size, size).
            generator: of the samples.

        Returns:
            (1, 1 + 2 * channels, frames, size / 8, size / 8): mask, masked pictures, pictures.
        """
        kept = mask.to(faces)
        masked = self._encode(faces * kept, generator)
        whole = self._encode(faces, generator)
        small = F.interpolate(kept[None, None], size=masked.shape[-2:], mode="nearest")
        return torch.cat([small[:, :, None].expand(-1, -1, len(faces), -1, -1), masked, whole], 1)

    def _encode(self, pixels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Latents (1, channels, frames, h, w) of pixels (frames, 3, size, size) in [-1, 1]."""
        sampled = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.sample(generator)
        scaled = (sampled.float() - self._vae_shift) * self.vae.config.scaling_factor
        return scaled.transpose(0, 1)[None]

    @property
    def _vae_shift(self) -> float:
        return float(self.vae.config.get("shift_factor") or 0.0)

    def denoise(
        self,
        conditions: torch.Tensor,
        audio_tokens: torch.Tensor,
        noise: torch.Tensor,
        num_inference_steps: int,
        guidance_scale: float,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Make the latents of a clip from noise, to their end.

        Args:
            conditions: (1, 1 + 2 * channels, frames, h, w), of `encode_faces`.
            audio_tokens: (frames, tokens, dim).
            noise: (1, channels, 1, h, w), of `prepare_noise`.
            num_inference_steps: of the scheduler.
            guidance_scale: on the audio.
            generator: of the noise that some schedulers add.

        Returns:
            (1, channels, frames, h, w) float32.

        Raises:
            FloatingPointError: see `check_finite`.
        """
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        own = {"generator": generator} if takes_generator else {}
        latents = noise * self.scheduler.init_noise_sigma
        latents = latents.expand(-1, -1, conditions.shape[2], -1, -1)
        with self.progress_bar(total=num_inference_steps) as progress_bar:
            for timestep in self.scheduler.timesteps:
                scaled = self.scheduler.scale_model_input(latents, timestep)
                guided = self.predict(scaled, timestep, conditions, audio_tokens, guidance_scale)
                latents = self.scheduler.step(guided, timestep, latents, **own, return_dict=False)[
                    0
                ]
                progress_bar.update()
        check_finite(latents, "the latents of a clip", self.unet.dtype)
        return latents

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        conditions: torch.Tensor,
        audio_tokens: torch.Tensor,
        guidance_scale: float,
    ) -> torch.Tensor:
        """Predict one clip, with guidance on the audio; the pictures are shown in both passes.

        The arguments are those of `denoise`, at one timestep.

        Returns:
            The guided prediction, in the shape and dtype of `latents`.
        """
        dtype = self.unet.dtype
        prediction = torch.zeros_like(latents)
        tokens = audio_tokens.to(dtype)
        for each in plan_guidance(guidance_scale, None, None):
            predicted = self.unet(
                latents.to(dtype),
                timestep,
                tokens if each.audio else torch.zeros_like(tokens),
                reference_latents=conditions.to(dtype),
                return_dict=False,
            )[0]
            prediction = prediction + each.weight * predicted.to(latents.dtype)
        return prediction

    def decode(
        self, latents: torch.Tensor, faces: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Decode a clip where it is masked; elsewhere pixels stay as they are.

        Args:
            latents: (1, channels, frames, h, w).
            faces: (frames, 3, size, size) in [-1, 1].
            mask: (size, size).

        Returns:
            (frames, 3, size, size) float32 in [0, 1].

        Raises:
            FloatingPointError: see `check_finite`.
        """
        unscaled = latents[0].transpose(0, 1) / self.vae.config.scaling_factor + self._vae_shift
        parts = [
            self.vae.decode(part.to(self.vae.dtype)).sample.float()
            for part in unscaled.split(DECODE_FRAMES)
        ]
        painted = torch.cat(parts)
        check_finite(painted, "the decoded frames", self.vae.dtype)
        kept = mask.to(faces)
        shown = faces * kept + painted.clamp(-1, 1) * (1 - kept)
        return self.video_processor.denormalize(shown)


def _to_array(faces: np.ndarray | Sequence[Any]) -> np.ndarray:
    """Pictures as an array (frames, height, width, 3) float32 in [0, 1].

    Raises:
        ValueError: if they are no pictures of one size.
    """
    try:
        array = np.stack([np.asarray(face) for face in faces])
    except ValueError as error:
        raise ValueError(f"`faces` must be pictures of one size: {error}") from error
    if array.ndim != 4 or array.shape[3] != 3:
        raise ValueError(f"`faces` must be (frames, size, size, 3), got {array.shape}.")
    return array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
