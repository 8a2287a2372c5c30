"""How much of everything `svp train tiny` does, given the minutes that it may take.

Costs were measured on one machine of each kind; on another they are scaled by the time of a step of
the VAE there. All numbers are our choice.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.training.loop.configuration import require
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration

Precision = Literal["no", "bf16"]

CLIP_SECONDS = 2.0
PICTURES_PER_SECOND = 2
"""Of the clips that the VAE and the expression encoder learn from: few frames of many people, all
different expressions."""
MEASURED_STEPS = 4
IMITATED = 4
"""So many times slower is the first step in bfloat16 where the processor only imitates it."""

SHARES = {
    "pictures": 0.12,
    "data": 0.15,
    "vae": 0.21,
    "audio": 0.04,
    "cache": 0.08,
    "expression": 0.03,
    "style": 0.04,
    "head_motion": 0.03,
    "image": 0.30,
}
"""Of the time. The denoiser decides what is seen, the VAE how well."""

LEAST_CLIPS, LEAST_STEPS = 160, 20
"""160 clips are 40 people: 32 to train on, with 4 of the 8 emotions each."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How one kind of machine trains, and what that costs in seconds.

    batch_factor: batches are so many times those of a CPU, where the number of steps is what
        decides; a GPU takes as long for one frame as for hundreds.
    pictures_cost, clip_cost, cached_clip_cost: of a clip of pictures, of one of a talker, and of
        caching that.
    step_costs: of a step of every training.
    """

    batch_factor: int
    pictures_cost: float
    clip_cost: float
    cached_clip_cost: float
    step_costs: Mapping[str, float]


CPU = Machine(
    batch_factor=1,
    pictures_cost=0.15,
    clip_cost=0.9,
    cached_clip_cost=0.2,
    step_costs={
        "vae": 0.25,
        "audio": 0.1,
        "expression": 0.03,
        "style": 0.1,
        "head_motion": 0.06,
        "image": 0.42,
    },
)
"""Two cores with AVX-512 and AMX."""

GPU = Machine(
    batch_factor=8,
    pictures_cost=0.01,
    clip_cost=0.07,
    cached_clip_cost=0.01,
    step_costs={
        "vae": 0.06,
        "audio": 0.05,
        "expression": 0.02,
        "style": 0.05,
        "head_motion": 0.03,
        "image": 0.12,
    },
)
"""One H100 with 16 cores."""


@dataclass(frozen=True, kw_only=True)
class TinyPlan:
    """What is done, whatever it takes: with it and a seed, a run can be repeated.

    seed: of everything.
    batch_factor: see `Machine`.
    vae_precision: `mixed_precision` of the VAE, most of whose time is convolutions: bfloat16 is
        twice as fast on CPUs that have it, and tens of times slower on those that imitate it. The
        denoiser, at 16 x 16 latents, gains nothing from it, and is trained in float32.
    look: of the talkers, see `SynthesisSettings`.
    pictures: clips of a few frames each, for the VAE and the expression encoder.
    clips: procedural talkers of 2 s.
    cached_clips: those that the denoiser sees.
    vae_steps ... image_steps: of each training.
    """

    seed: int
    batch_factor: int
    vae_precision: str
    look: str
    pictures: int
    clips: int
    cached_clips: int
    vae_steps: int
    audio_steps: int
    expression_steps: int
    style_steps: int
    head_motion_steps: int
    image_steps: int


def plan_tiny(
    minutes: float, seed: int, machine: Machine, step_seconds: Mapping[Precision, float]
) -> TinyPlan:
    """Divide the minutes.

    Args:
        minutes: in all.
        seed: of everything.
        machine: of this kind.
        step_seconds: of a training step of the VAE on this machine, see `measure_step`.

    Raises:
        ConfigurationError: less than a minute.
    """
    require(minutes >= 1, f"svp-tiny cannot be trained in {minutes} minutes; 1 is the least")
    slowness = step_seconds["no"] / machine.step_costs["vae"]
    precision = min(step_seconds, key=lambda name: step_seconds[name])

    def count(share: str, cost: float, least: int) -> int:
        return max(least, round(60 * minutes * SHARES[share] / cost))

    costs = {name: slowness * cost for name, cost in machine.step_costs.items()}
    costs["vae"] = step_seconds[precision]
    pictures = count("pictures", slowness * machine.pictures_cost, LEAST_CLIPS)
    clips = count("data", slowness * machine.clip_cost, LEAST_CLIPS)
    cached_clips = count("cache", slowness * machine.cached_clip_cost, LEAST_CLIPS)
    return TinyPlan(
        seed=seed,
        batch_factor=machine.batch_factor,
        vae_precision=precision,
        look="mixed",
        pictures=pictures,
        clips=clips,
        cached_clips=min(clips, cached_clips),
        **{f"{name}_steps": count(name, cost, LEAST_STEPS) for name, cost in costs.items()},
    )


def measure_step(machine: Machine, device: torch.device) -> dict[Precision, float]:
    """Seconds that a training step of the VAE takes here in each precision, on frames of 128
    pixels."""
    vae = SpaceToDepthAutoencoderKL(sample_size=128).to(device)
    frames = VAETrainingConfiguration.batch_size * machine.batch_factor
    pixels = torch.zeros(frames, 3, 128, 128, device=device)

    def take_step(precision: Precision) -> float:
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            latents = vae.encode(pixels).latent_dist.mode()
            loss = vae.decode(latents).sample.float().square().mean()
        loss.backward()
        float(loss.detach())  # waits for the device
        return time.perf_counter() - start

    plain = min(take_step("no") for _ in range(MEASURED_STEPS))
    mixed = take_step("bf16")
    if mixed < IMITATED * plain:  # else one step tells, and takes long
        mixed = min(mixed, *(take_step("bf16") for _ in range(MEASURED_STEPS - 1)))
    return {"no": plain, "bf16": mixed}
