"""How much of everything `svp train tiny` does, given the minutes that it may take.

The costs below are seconds on one core, measured on one machine; on another they are scaled by the
time of a step of the VAE there. All numbers are our choice.
"""

import time
from dataclasses import dataclass

import torch

from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.training.loop_configuration import require

CLIP_SECONDS = 2.0
MEASURED_STEPS = 4

VAE_STEP_COST = 1.0
CLIP_COST = 0.56
CACHED_CLIP_COST = 0.8
STEP_COSTS = {
    "vae": VAE_STEP_COST,
    "audio": 0.3,
    "expression": 0.06,
    "style": 0.5,
    "image": 0.8,
    "video": 5.5,
}
SHARES = {
    "data": 0.08,
    "vae": 0.24,
    "audio": 0.08,
    "cache": 0.10,
    "expression": 0.03,
    "style": 0.04,
    "image": 0.37,
    "video": 0.06,
}
"""Of the time. The denoiser decides what is seen, the VAE how well."""

LEAST_CLIPS, LEAST_STEPS = 160, 20
"""160 clips are 40 people: 32 to train on, with 4 of the 8 emotions each."""


@dataclass(frozen=True, kw_only=True)
class TinyPlan:
    """What is done, whatever it takes: with it and a seed, a run can be repeated.

    seed: of everything.
    clips: procedural talkers of 2 s.
    cached_clips: those that the denoiser sees.
    vae_steps ... video_steps: of each training.
    """

    seed: int
    clips: int
    cached_clips: int
    vae_steps: int
    audio_steps: int
    expression_steps: int
    style_steps: int
    image_steps: int
    video_steps: int


def plan_tiny(minutes: float, seed: int, step_seconds: float) -> TinyPlan:
    """Divide the minutes.

    Args:
        minutes: in all.
        seed: of everything.
        step_seconds: of a training step of the VAE on this machine, see `measure_step`.

    Raises:
        ConfigurationError: less than a minute.
    """
    require(minutes >= 1, f"svp-tiny cannot be trained in {minutes} minutes; 1 is the least")
    seconds = 60 * minutes * VAE_STEP_COST / step_seconds

    def count(share: str, cost: float, least: int) -> int:
        return max(least, round(SHARES[share] * seconds / cost))

    clips = count("data", CLIP_COST, LEAST_CLIPS)
    return TinyPlan(
        seed=seed,
        clips=clips,
        cached_clips=min(clips, count("cache", CACHED_CLIP_COST, LEAST_CLIPS)),
        **{f"{name}_steps": count(name, cost, LEAST_STEPS) for name, cost in STEP_COSTS.items()},
    )


def measure_step(batch_size: int) -> float:
    """Seconds that a training step of the VAE takes here, on frames of 128 pixels."""
    vae = SpaceToDepthAutoencoderKL(sample_size=128)
    pixels = torch.zeros(batch_size, 3, 128, 128)
    seconds = []
    for _ in range(MEASURED_STEPS):
        start = time.perf_counter()
        latents = vae.encode(pixels).latent_dist.mode()
        vae.decode(latents).sample.square().mean().backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
