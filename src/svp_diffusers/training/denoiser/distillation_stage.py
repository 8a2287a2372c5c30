"""Training: guidance distilled into one prediction."""

from pathlib import Path

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import find_checkpoint
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.training.denoiser.configuration import DistillationConfiguration
from svp_diffusers.training.denoiser.stage import train_denoiser


def train_distillation(
    configuration: DistillationConfiguration,
    resume: bool = False,
    dry_run: bool = False,
) -> Path | None:
    """Train a UNet to predict at once what guidance makes of several predictions of its teacher.

    Arguments, result and errors are those of `train_denoiser`.

    Raises:
        ConfigurationError: guidance was distilled into the pipeline's UNet already.
    """
    unet = read_config(find_checkpoint(configuration.pipeline), "unet")
    if unet.get("guidance_ranges") is not None:
        raise ConfigurationError(
            f"guidance was distilled into {configuration.pipeline} already: name its teacher"
        )
    consecutive = unet.get("motion_modules_enabled", True)
    return train_denoiser(configuration, resume, consecutive, dry_run=dry_run)
