"""Training of an expression encoder on drawn talkers, whose expression is known."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from svp_diffusers.data.frames import FrameDataset, to_pixels
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.training.expression.batches import (
    COEFFICIENTS,
    LIPS,
    FrameBatches,
    LatentBatches,
    check_space,
    read_latents,
    select_coefficients,
)
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.loop.loop import MakeBatch, Objective, make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder

SMOOTHNESS = 0.1
"""Error of a coefficient at which smooth L1 turns from square to linear."""


def train_expression(configuration: ExpressionTrainingConfiguration, resume: bool = False) -> Path:
    """Train an expression encoder, in one process or in many under `accelerate launch`.

    Args:
        configuration: all options.
        resume: continue from the newest checkpoint of `output_dir`, as if never interrupted.

    Returns:
        The folder of the encoder: moving average of the weights.

    Raises:
        SVPError: see `RunFolder`, `FrameDataset` and `read_latents`; raised before any training.
        ConfigurationError: pictures that `patch_size` does not divide.
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    batches, held_out = read_data(configuration)
    height, width = held_out["sample"].shape[2:]
    if height % configuration.patch_size or width % configuration.patch_size:
        raise ConfigurationError(
            f"patch_size {configuration.patch_size} does not divide {configuration.input} of "
            f"{width}x{height}"
        )
    accelerator = make_accelerator(configuration)
    run.start(accelerator)
    encoder = build_encoder(configuration, held_out["sample"].shape[1])
    objective = ExpressionObjective(encoder, configuration, held_out)
    train(objective, batches, configuration, run, accelerator)
    folder = run.path / "expression_encoder"
    if accelerator.is_main_process:
        with atomic_folder(folder) as temporary:
            encoder.save_pretrained(temporary)
    accelerator.wait_for_everyone()
    return folder


def read_data(
    configuration: ExpressionTrainingConfiguration,
) -> tuple[MakeBatch, dict[str, Tensor]]:
    """Training batches, and what is held out, as one batch without noise."""
    if configuration.input == "latents":
        training = read_latents(configuration, "train", configuration.latents)
        held = read_latents(configuration, "validation", configuration.validation_frames)
        return LatentBatches(training, configuration), held.to_batch(np.arange(len(held.latents)))
    frames, held_out = (FrameDataset(configuration.data, each) for each in ("train", "validation"))
    for each in (frames, held_out):
        check_space(each.clips)
    batch = held_out.read(held_out.spread(configuration.validation_frames))
    return FrameBatches(frames, configuration), {
        "sample": to_pixels(batch.pixels),
        "expression": select_coefficients(batch.expression),
    }


def build_encoder(
    configuration: ExpressionTrainingConfiguration, in_channels: int
) -> ExpressionEncoder:
    """A new encoder, initial weights from the seed; of latents beside those of a reference."""
    blocks = range(1, configuration.num_blocks + 1)
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        return ExpressionEncoder(
            in_channels=in_channels,
            coefficient_names=COEFFICIENTS,
            block_out_channels=tuple(block * configuration.base_channels for block in blocks),
            hidden_dim=configuration.hidden_dim,
            patch_size=configuration.patch_size,
            with_reference=configuration.input == "latents",
        )


class ExpressionObjective(Objective):
    """The encoder, and its error.

    Args:
        encoder: to train.
        configuration: weights of the coefficients.
        held_out: a batch to validate on: `sample` and, for an encoder `with_reference`,
            `reference` (n, c, h, w), and `expression` (n, len(COEFFICIENTS)).
    """

    def __init__(
        self,
        encoder: ExpressionEncoder,
        configuration: ExpressionTrainingConfiguration,
        held_out: dict[str, Tensor],
    ) -> None:
        super().__init__()
        self.encoder, self.held_out = encoder, held_out
        weights = dict.fromkeys(COEFFICIENTS, 1.0)
        weights |= dict.fromkeys(LIPS, configuration.lips_weight)
        weights["jawOpen"] = configuration.jaw_weight
        self.register_buffer("weights", torch.tensor(list(weights.values())), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `error`: the mean absolute error of a coefficient."""
        read = self.encoder(batch["sample"], batch.get("reference")).float()
        truth = batch["expression"]
        loss = F.smooth_l1_loss(read, truth, beta=SMOOTHNESS, reduction="none")
        loss = (self.get_buffer("weights") * loss).mean()
        return {"loss": loss, "error": (read.detach() - truth).abs().mean()}

    def validate(self) -> dict[str, float]:
        """Correlation of each coefficient, by its name, and the mean `correlation` of all that
        vary."""
        read = []
        for rows in torch.arange(len(self.held_out["sample"])).split(64):
            pictures = [
                self.held_out[name][rows].to(self.encoder.device)
                for name in ("sample", "reference")
                if name in self.held_out
            ]
            read.append(self.encoder(*pictures).float().cpu())
        truth = self.held_out["expression"].cpu().numpy()
        correlations = correlate(torch.cat(read).numpy(), truth, axis=0)
        mean = float(np.nanmean(correlations))
        return {
            "correlation": mean,
            **dict(zip(COEFFICIENTS, correlations.tolist(), strict=True)),
        }
