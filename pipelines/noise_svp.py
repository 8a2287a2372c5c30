"""The noise that a video is denoised from, and the check that what comes of it is numbers.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch
from diffusers import ModelMixin, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor

NOISE_FRAMES = 768  # whose noise is drawn at once


def share_noise(own: torch.Tensor, common: torch.Tensor, share: float) -> torch.Tensor:
    """Noise of unit variance, `share` of which comes from `common`; both have unit variance."""
    return (1 - share) ** 0.5 * own + share**0.5 * common


def draw_noise(
    size: Sequence[int],
    num_frames: int | None,
    share: float,
    generator: torch.Generator | None,
    device: torch.device,
) -> Iterator[torch.Tensor]:
    """Draw the noise of a video: unit variance for every frame, of which all may share some.

    Args:
        size: of a frame, (channels, height, width).
        num_frames: of the video, or None for one without end.
        share: of the variance, that all frames have in common, from 0 to 1.
        generator: of the draw.
        device: of the result.

    Yields:
        (channels, at most 768 frames, height, width), in float32, so that a seed draws the same
        for a network in half precision.
    """
    common: torch.Tensor | None = None
    for start in count(0, NOISE_FRAMES):
        frames = NOISE_FRAMES if num_frames is None else min(NOISE_FRAMES, num_frames - start)
        if frames <= 0:
            return
        shape = (size[0], frames, *size[1:])
        if common is not None and share == 1:
            yield common.expand(shape)
            continue
        own = randn_tensor(shape, generator, device=device, dtype=torch.float32)
        if not share:
            yield own
            continue
        if common is None:
            shape = (size[0], 1, *size[1:])
            common = randn_tensor(shape, generator, device=device, dtype=torch.float32)
        yield share_noise(own, common, share)


def check_finite(tensor: torch.Tensor, name: str, dtype: torch.dtype) -> None:
    """Check that a result holds numbers, so that no black video comes of it.

    Args:
        tensor: the result.
        name: what it is, for the message.
        dtype: of the network that gave it.

    Raises:
        FloatingPointError: if it holds NaN or infinity.
    """
    if not tensor.isfinite().all():
        advice = "use bfloat16 or float32" if dtype == torch.float16 else "its weights are damaged"
        raise FloatingPointError(f"NaN or infinity in {name}, of a network in {dtype}: {advice}.")


class NoiseMixin:
    """Draws the noise of videos, for a pipeline that has what is named here."""

    config: Any
    unet: ModelMixin
    scheduler: SchedulerMixin
    vae_scale_factor: int
    _execution_device: torch.device

    def draw_noise(
        self,
        num_frames: int | None,
        height: int,
        width: int,
        generator: torch.Generator | None,
        shared_noise: float,
    ) -> Iterator[torch.Tensor]:
        """Draw the noise of a video of this size in pixels; see `noise_svp.draw_noise`.

        Yields:
            (channels, at most 768 frames, height / 8, width / 8), within the checkpoint's limit.
        """
        scale, limit = self.vae_scale_factor, self.config.get("noise_limit")
        size = (self.unet.config.in_channels, height // scale, width // scale)
        device = self._execution_device
        for noise in draw_noise(size, num_frames, shared_noise, generator, device):
            yield noise if limit is None else noise.clamp(-limit, limit)

    def prepare_latents(
        self,
        num_frames: Sequence[int],
        height: int,
        width: int,
        generators: Sequence[torch.Generator | None],
        latents: torch.Tensor | None,
        shared_noise: float,
    ) -> torch.Tensor:
        """Draw each video's noise from its own generator, or take the noise that is given.

        Noise of unit variance is drawn for every frame and, if some is shared, for the clip.

        Args:
            num_frames: of each video.
            height: of the videos in pixels.
            width: of the videos in pixels.
            generators: one a video.
            latents: the noise that is given, of `check_latents`.
            shared_noise: as `draw_noise`.

        Returns:
            (videos, channels, frames of the longest, height / 8, width / 8), scaled for the
            scheduler, in float32 whatever the UNet's dtype: what the steps of half precision round
            off would add up. Shorter videos are padded; the padding is never read.
        """
        device = self._execution_device
        if latents is None:
            latents = torch.zeros(self._size_latents(num_frames, height, width), device=device)
            for row, (frames, generator) in enumerate(zip(num_frames, generators, strict=True)):
                noise = self.draw_noise(frames, height, width, generator, shared_noise)
                latents[row, :, :frames] = torch.cat(list(noise), dim=1)
        return latents.to(device, torch.float32) * self.scheduler.init_noise_sigma

    def check_latents(
        self, latents: torch.Tensor | None, num_frames: Sequence[int], height: int, width: int
    ) -> None:
        """Check the noise that a call is given, if any.

        Raises:
            ValueError: if it is no tensor of floats, of another shape, or not finite.
        """
        shape = self._size_latents(num_frames, height, width)
        if latents is None:
            return
        if not isinstance(latents, torch.Tensor) or not latents.is_floating_point():
            raise ValueError(f"`latents` must be a tensor of floats {shape}, got {latents!r:.100}.")
        if tuple(latents.shape) != shape or not latents.isfinite().all():
            raise ValueError(
                f"`latents` must be finite and have the shape {shape}, got {tuple(latents.shape)}."
            )

    def _size_latents(
        self, num_frames: Sequence[int], height: int, width: int
    ) -> tuple[int, int, int, int, int]:
        scale, channels = self.vae_scale_factor, self.unet.config.in_channels
        return len(num_frames), channels, max(num_frames), height // scale, width // scale
