"""Training, stage 2: single frames (paper, section 3.2; every number is our choice)."""

from pathlib import Path

from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
from svp_diffusers.training.denoiser.stage import train_denoiser


def train_image(
    configuration: ImageTrainingConfiguration,
    resume: bool = False,
    dry_run: bool = False,
) -> Path | None:
    """Train UNet, reference UNet, head guider and audio projector on frames by themselves.

    The motion modules are left out, and stay as they are. Arguments, result and errors are
    those of `train_denoiser`.
    """
    return train_denoiser(configuration, resume, consecutive=False, dry_run=dry_run)
