"""Training, stage 3: clips (paper, section 3.2; every number is our choice)."""

from pathlib import Path

from svp_diffusers.training.denoiser.configuration import VideoTrainingConfiguration
from svp_diffusers.training.denoiser.objective import DenoisingObjective, select_motion_parts
from svp_diffusers.training.denoiser.stage import train_denoiser


def train_video(
    configuration: VideoTrainingConfiguration,
    resume: bool = False,
    dry_run: bool = False,
) -> Path | None:
    """Train the motion modules with the audio and style attention, or everything, on clips.

    Arguments, result and errors are those of `train_denoiser`.
    """
    prepare = train_all if configuration.parts == "all" else train_motion
    return train_denoiser(configuration, resume, True, prepare, dry_run)


def train_all(objective: DenoisingObjective) -> None:
    """Freeze nothing."""


def train_motion(objective: DenoisingObjective) -> None:
    """Train motion modules, audio attention and style attention; freeze the rest."""
    if objective.configuration.lora_rank:
        return
    objective.requires_grad_(False)
    for weight in select_motion_parts(objective.unet):
        weight.requires_grad_(True)
