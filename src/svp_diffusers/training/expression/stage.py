"""Training of an expression encoder on drawn talkers, whose expression is known."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from svp_diffusers.data.frames import FrameDataset, to_pixels
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.training.expression.batches import (
    COEFFICIENTS,
    LIPS,
    FrameBatches,
    LatentBatches,
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
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    batches, held_out, expression = read_data(configuration)
    accelerator = make_accelerator(configuration)
    run.start(accelerator)
    encoder = build_encoder(configuration, held_out.shape[1])
    objective = ExpressionObjective(encoder, configuration, held_out, expression)
    train(objective, batches, configuration, run, accelerator)
    folder = run.path / "expression_encoder"
    if accelerator.is_main_process:
        with atomic_folder(folder) as temporary:
            encoder.save_pretrained(temporary)
    accelerator.wait_for_everyone()
    return folder


def read_data(
    configuration: ExpressionTrainingConfiguration,
) -> tuple[MakeBatch, Tensor, Tensor]:
    """Training batches, and what is held out: samples (n, c, h, w) and their coefficients."""
    if configuration.input == "latents":
        training = read_latents(configuration, "train", configuration.latents)
        latents, expression = read_latents(
            configuration, "validation", configuration.validation_frames
        )
        held_out = torch.from_numpy(latents).float()
        return LatentBatches(*training, configuration), held_out, select_coefficients(expression)
    frames = FrameDataset(configuration.data, "validation")
    batch = frames.read(frames.spread(configuration.validation_frames))
    return (
        FrameBatches(FrameDataset(configuration.data, "train"), configuration),
        to_pixels(batch.pixels),
        select_coefficients(batch.expression),
    )


def build_encoder(
    configuration: ExpressionTrainingConfiguration, in_channels: int
) -> ExpressionEncoder:
    """A new encoder, initial weights from the seed."""
    blocks = range(1, configuration.num_blocks + 1)
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        return ExpressionEncoder(
            in_channels=in_channels,
            coefficient_names=COEFFICIENTS,
            block_out_channels=tuple(block * configuration.base_channels for block in blocks),
            hidden_dim=configuration.hidden_dim,
            patch_size=configuration.patch_size,
        )


class ExpressionObjective(Objective):
    """The encoder, and its error.

    Args:
        encoder: to train.
        configuration: weights of the coefficients.
        held_out: samples (n, c, h, w) to validate on.
        expression: their coefficients (n, len(COEFFICIENTS)).
    """

    def __init__(
        self,
        encoder: ExpressionEncoder,
        configuration: ExpressionTrainingConfiguration,
        held_out: Tensor,
        expression: Tensor,
    ) -> None:
        super().__init__()
        self.encoder, self.held_out, self.expression = encoder, held_out, expression
        weights = dict.fromkeys(COEFFICIENTS, 1.0)
        weights |= dict.fromkeys(LIPS, configuration.lips_weight)
        weights["jawOpen"] = configuration.jaw_weight
        self.register_buffer("weights", torch.tensor(list(weights.values())), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `error`: the mean absolute error of a coefficient."""
        read, truth = self.encoder(batch["sample"]).float(), batch["expression"]
        loss = F.smooth_l1_loss(read, truth, beta=SMOOTHNESS, reduction="none")
        loss = (self.get_buffer("weights") * loss).mean()
        return {"loss": loss, "error": (read.detach() - truth).abs().mean()}

    def validate(self) -> dict[str, float]:
        """Correlation of each coefficient, by its name, and the mean `correlation` of all that
        vary."""
        read = [
            self.encoder(samples.to(self.encoder.device)).float().cpu()
            for samples in self.held_out.split(64)
        ]
        correlations = correlate(torch.cat(read).numpy(), self.expression.numpy(), axis=0)
        mean = float(np.nanmean(correlations))
        return {
            "correlation": mean,
            **dict(zip(COEFFICIENTS, correlations.tolist(), strict=True)),
        }
