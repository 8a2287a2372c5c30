"""What the head motion model is trained for: the velocity of noisy windows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.training.head_motion.batches import MotionBatch
from svp_diffusers.training.loop.loop import Objective


class HeadMotionObjective(Objective):
    """The model, and its error.

    Args:
        model: to train.
        held_out: batches to validate on.
    """

    def __init__(self, model: HeadMotionModel, held_out: Sequence[MotionBatch]) -> None:
        super().__init__()
        self.model, self.held_out = model, held_out
        self.scheduler = model.make_scheduler()

    def forward(self, batch: MotionBatch) -> dict[str, Tensor]:
        """`loss`: the mean squared error of the velocity, a constant 0 having about 1."""
        noisy = self.scheduler.add_noise(batch.knots, batch.noise, batch.timestep)
        wanted = self.scheduler.get_velocity(batch.knots, batch.noise, batch.timestep)
        predicted = self.model(
            noisy,
            batch.timestep,
            batch.audio,
            batch.style,
            batch.start_pose,
            batch.known_mask[..., None] * batch.knots,
            batch.known_mask,
        )
        errors = (predicted.float() - wanted).square().mean(-1)
        return {"loss": (batch.valid * errors).sum() / batch.valid.sum()}

    def validate(self) -> dict[str, float]:
        """`validation_loss` on the held-out windows, whose noise is always the same."""
        device = self.model.device
        losses = [
            self(MotionBatch(*(part.to(device) for part in batch)))["loss"]
            for batch in self.held_out
        ]
        return {"validation_loss": float(torch.stack(losses).mean())}
