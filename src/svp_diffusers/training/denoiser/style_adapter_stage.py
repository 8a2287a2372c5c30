"""Training a style adapter: the style of a checkpoint that is otherwise left as it is."""

from pathlib import Path

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import find_checkpoint
from svp_diffusers.training.denoiser.configuration import StyleAdapterTrainingConfiguration
from svp_diffusers.training.denoiser.objective import DenoisingObjective, select_style_parts
from svp_diffusers.training.denoiser.stage import train_denoiser


def train_style_adapter(
    configuration: StyleAdapterTrainingConfiguration,
    resume: bool = False,
    dry_run: bool = False,
) -> Path | None:
    """Train the style attention and projection of a UNet, for the styles of a trained encoder.

    Arguments, result and errors are those of `train_denoiser`.
    """
    unet = read_config(find_checkpoint(configuration.pipeline), "unet")
    consecutive = unet.get("motion_modules_enabled", True)
    return train_denoiser(configuration, resume, consecutive, train_style, dry_run)


def train_style(objective: DenoisingObjective) -> None:
    """Train what a style adapter holds; freeze the rest."""
    objective.requires_grad_(False)
    for weight in select_style_parts(objective.unet):
        weight.requires_grad_(True)
    objective.keep_audio()
