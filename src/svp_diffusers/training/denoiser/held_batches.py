"""Batches of clips that the device's memory holds, drawn there: what a GPU need not wait for.

Reading from shards keeps a CPU busy for longer than a step of a small model takes a GPU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import default_rng
from torch import Tensor

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.noise_svp import share_noise
from svp_diffusers.training.denoiser.batches import (
    CONDITIONS,
    DenoisingBatches,
    share_clips,
)
from svp_diffusers.training.denoiser.configuration import DenoisingConfiguration


@dataclass(frozen=True)
class HeldClips:
    """Some frames of `n` clips, `f` of each, and one reference each.

    latents: (n, f, c, h, w)
    audio_windows: (n, f, ...), see `DenoisingBatches`
    head_keypoints: (n, f, points, 2), in pixels of the frames
    expression: (n, f, expression_dim), or None where the data has none
    style: (n, 2, style_dim), mean and standard deviation
    reference_latents: (n, c, h, w)
    reference_keypoints: (n, points, 2)
    """

    latents: Tensor
    audio_windows: Tensor
    head_keypoints: Tensor
    expression: Tensor | None
    style: Tensor
    reference_latents: Tensor
    reference_keypoints: Tensor


def hold_clips(batches: DenoisingBatches, frames: int) -> HeldClips:
    """Read `frames` frames of every clip, spread evenly over it, and a reference.

    Raises:
        ConfigurationError: a clip has fewer frames.
        DatasetError: it cannot be read; see `DenoisingBatches`.
    """
    rows: list[dict[str, Tensor]] = []
    for index, entry in enumerate(batches.dataset.entries):
        length = entry.header["frames"]
        if length < frames:
            raise ConfigurationError(
                f"clip {entry.key!r} has {length} frames, fewer than the {frames} to hold"
            )
        chosen = (np.arange(frames) * length) // frames
        reference, keypoints = batches.draw_reference(
            index, default_rng([batches.configuration.seed, index])
        )
        row = batches.read_frames(index, chosen)
        row |= {
            "style": torch.stack(batches.read_style(index)),
            "reference_latents": reference,
            "reference_keypoints": keypoints,
        }
        rows.append(
            {name: value.half() if "latents" in name else value for name, value in row.items()}
        )

    def stack(name: str) -> Tensor:
        return torch.stack([row[name] for row in rows])

    return HeldClips(
        latents=stack("latents"),
        audio_windows=stack("audio_windows"),
        head_keypoints=stack("head_keypoints"),
        expression=stack("expression") if "expression" in rows[0] else None,
        style=stack("style"),
        reference_latents=stack("reference_latents"),
        reference_keypoints=stack("reference_keypoints"),
    )


class HeldBatches:
    """Draws what `DenoisingBatches` draws, of clips in a device's memory and by its generator.

    Args:
        clips: on the device.
        configuration: of the stage.

    Raises:
        ConfigurationError: fewer clips than a batch takes.
    """

    def __init__(self, clips: HeldClips, configuration: DenoisingConfiguration) -> None:
        self.clips, self.configuration = clips, configuration
        if len(clips.latents) < configuration.clips_per_batch:
            raise ConfigurationError(
                f"{len(clips.latents)} clips are held, fewer than clips_per_batch "
                f"{configuration.clips_per_batch}"
            )

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's clips of global batch `number`, as `DenoisingBatches` returns them.

        Raises:
            ConfigurationError: the clips of a batch do not divide among the processes.
        """
        clips, configuration = self.clips, self.configuration
        device = clips.latents.device
        drawn = torch.Generator(device)
        drawn.manual_seed(_mix(configuration.seed, number, rank))
        n = share_clips(configuration.clips_per_batch, world_size)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=drawn, device=device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=drawn, device=device)

        rows = torch.randperm(len(clips.latents), generator=drawn, device=device)[:n]
        held = clips.latents.shape[1]
        frames = uniform(n, held).argsort(dim=1)[:, : configuration.frames_per_clip].sort(dim=1)[0]
        at = (rows[:, None], frames)
        latents = clips.latents[at].float().transpose(1, 2)
        noise = share_noise(
            normal(*latents.shape),
            normal(*latents.shape[:2], 1, *latents.shape[3:]),
            configuration.shared_noise,
        )
        mean, std = clips.style[rows].unbind(dim=1)
        joint = uniform(n) < configuration.joint_dropout
        batch = {
            "latents": latents,
            "noise": noise,
            "reference_latents": clips.reference_latents[rows].float(),
            "audio_windows": clips.audio_windows[at].float(),
            "head_keypoints": clips.head_keypoints[at],
            "reference_keypoints": clips.reference_keypoints[rows],
            "style": mean + std * normal(*mean.shape),
            "timesteps": uniform(n) ** configuration.timestep_power,
            **{
                f"keep_{name}": (
                    (uniform(n) >= getattr(configuration, f"{name}_dropout")) & ~joint
                ).float()
                for name in CONDITIONS
            },
        }
        if clips.expression is not None:
            batch["expression"] = clips.expression[at].float()
        return batch


def _mix(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
