"""Training, stage 2: single frames (paper, section 3.2; every number is our choice)."""

from pathlib import Path

from svp_diffusers.training.denoising import train_denoiser
from svp_diffusers.training.denoising_configuration import ImageTrainingConfiguration
from svp_diffusers.training.denoising_objective import DenoisingObjective


def train_image(
    configuration: ImageTrainingConfiguration, resume: bool = False, push_to_hub: str | None = None
) -> Path:
    """Train UNet, reference UNet, head guider and audio projector on frames by themselves.

    The motion modules are switched off, and stay as they are. Arguments, result and errors are
    those of `train_denoiser`.
    """
    return train_denoiser(configuration, resume, push_to_hub, False, switch_motion_off)


def switch_motion_off(objective: DenoisingObjective) -> None:
    """Leave the motion modules out of the forward pass."""
    objective.unet.enable_motion_modules(False)
