"""What the parity tests share: golden tensors, and a denoising loop without our pipeline."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from torch import nn
from transformers import WhisperFeatureExtractor

from svp_diffusers.conversion.state_dicts import StateDict, read_weights
from svp_diffusers.models.temporal_unet_svp import MotionModule, TemporalUNet

TOLERANCE = 1e-4  # fp32 with other kernels and summation orders; the outputs have a std near 1
RUN_TOLERANCE = 1e-3  # after three steps
TIMESTEPS = (999, 401, 1)


class Golden:
    """The golden tensors of a family, and the weights and configurations beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.io = load_file(folder / "io.safetensors")
        self.unet_config = json.loads((folder / "unet_config.json").read_text())
        self.modules = json.loads((folder / "modules.json").read_text())

    def weights(self, name: str) -> StateDict:
        return read_weights(self.folder / name)

    def reference_features(self) -> dict[str, torch.Tensor]:
        """The features that were kept: at the second level, in the middle, at the end."""
        prefix = "reference_features."
        kept = [name for name in self.io if name.startswith(prefix)]
        assert len(kept) == 3
        return {name.removeprefix(prefix): self.io[name] for name in kept}


def difference(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest absolute difference, of tensors of one shape."""
    assert ours.shape == expected.shape
    return float((ours - expected).abs().max())


def log_mel(waveform: torch.Tensor, **options: Any) -> torch.Tensor:
    """Whisper's spectrogram (1, bands, frames) of 16-bit samples, not padded unless told."""
    options = {"padding": "do_not_pad", "truncation": False, **options}
    samples = (waveform.float() / 32768).numpy()
    extractor = WhisperFeatureExtractor()
    features: torch.Tensor = extractor(
        samples, sampling_rate=16000, return_tensors="pt", **options
    ).input_features
    return features


def cyclic_windows(frames: int, length: int, stride: int, shift: int) -> list[list[int]]:
    """Frame numbers of windows that start every `stride` frames and run over the end."""
    starts = [0] if frames <= length else range(0, frames, stride)
    size = min(frames, length)
    return [[(start + each + shift) % frames for each in range(size)] for start in starts]


def denoise(
    predict: Callable[[torch.Tensor, torch.Tensor, list[int]], tuple[torch.Tensor, torch.Tensor]],
    noise: torch.Tensor,
    scheduler: DDIMScheduler,
    guidance_scale: float,
    windows_of_step: Callable[[int], Sequence[list[int]]],
    steps: int = 3,
) -> torch.Tensor:
    """Three steps of DDIM; predictions of windows are averaged where they overlap.

    `predict` maps latents, a timestep and the numbers of their frames to the unconditional and the
    conditional prediction.
    """
    scheduler.set_timesteps(steps)
    latents = noise
    for step, timestep in enumerate(scheduler.timesteps):
        total = torch.zeros_like(latents)
        count = latents.new_zeros(latents.shape[2], 1, 1)
        for window in windows_of_step(step):
            unconditional, conditional = predict(latents[:, :, window], timestep, window)
            guided = unconditional + guidance_scale * (conditional - unconditional)
            total[:, :, window] += guided
            count[window] += 1
        latents = scheduler.step(total / count, timestep, latents).prev_sample
    return latents


def use_stock_motion_norms(unet: TemporalUNet) -> None:
    """Let the motion modules' norms take statistics over the clip, as diffusers' do."""
    for module in unet.modules():
        if isinstance(module, MotionModule):
            stock = nn.GroupNorm(module.norm.num_groups, module.norm.num_channels, eps=1e-6)
            stock.load_state_dict(module.norm.state_dict())
            module.norm = stock
