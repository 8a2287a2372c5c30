"""What the style encoder is trained for: samples of one style near each other, all near N(0, I)."""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.loop.loop import Objective
from svp_diffusers.training.style.batches import StyleBatch


def contrastive_loss(
    anchors: Tensor,
    candidates: Tensor,
    anchor_labels: Tensor,
    candidate_labels: Tensor,
    first: int,
    temperature: Tensor | float,
) -> Tensor:
    """InfoNCE with several positives, averaged over the positives outside the logarithm (Khosla et
    al. 2020, "L_out"), on cosine similarities.

    Args:
        anchors: `(n, dim)`; they are rows `first` to `first + n` of the candidates.
        candidates: `(m, dim)`, those of all processes.
        anchor_labels, candidate_labels: `(n,)`, `(m,)`; equal labels are positives.
        first: row of the first anchor among the candidates.
        temperature: of the softmax.

    Returns:
        The mean over the anchors, a scalar. Every anchor needs a positive besides itself.
    """
    logits = F.normalize(anchors, dim=-1) @ F.normalize(candidates, dim=-1).T / temperature
    itself = torch.arange(len(anchors), device=anchors.device)[:, None] + first
    itself = itself == torch.arange(len(candidates), device=anchors.device)
    positive = (anchor_labels[:, None] == candidate_labels) & ~itself
    log_prob = logits.masked_fill(itself, -torch.inf).log_softmax(dim=-1)
    per_anchor = torch.where(positive, log_prob, 0.0).sum(-1) / positive.sum(-1)
    return -per_anchor.mean()


class GatherRows(torch.autograd.Function):
    """Rows `(b, ...)` of all processes, in their order; the gradient of every process flows back.

    `torch.distributed.nn.functional.all_gather` does the same and is deprecated; what replaces it
    is not in the older releases that we support.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Gather."""
        gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, values.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add what all processes ask of these rows."""
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all processes, or `values` itself where there is only one."""
    return GatherRows.apply(values) if dist.is_initialized() else values


class StyleObjective(Objective):
    """The encoder with the loss around it: the one module whose gradients processes average.

    With W processes, each computes the loss of its own anchors against the candidates of all; the
    gradient that an anchor's process sends to the candidates of another arrives there through the
    gather, so the average over processes is exactly the gradient of the whole batch.
    """

    def __init__(
        self,
        encoder: StyleEncoder,
        initial_temperature: float,
        min_temperature: float,
        kl_weight: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.tensor(-math.log(initial_temperature)))
        self.max_log_scale = -math.log(min_temperature)
        self.kl_weight = kl_weight

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The temperature is not drawn to a value, so it has no weight decay."""
        return [
            {"params": self.encoder.parameters()},
            {"params": [self.log_scale], "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring the temperature back to its lower bound."""
        self.log_scale.clamp_(max=self.max_log_scale)

    def forward(self, batch: StyleBatch) -> dict[str, Tensor]:
        """The means over this process's anchors: `loss`, its parts `contrastive` and `kl` (nats),
        and `temperature`, `width` (mean standard deviation), all scalars."""
        styles = self.encoder(
            batch.expression, batch.audio, batch.expression_mask, batch.audio_mask
        ).to(dtype=torch.float32)
        samples = styles.mean + styles.std * batch.noise
        temperature = (-self.log_scale).exp()
        with torch.autocast(samples.device.type, enabled=False):
            first = dist.get_rank() * len(samples) if dist.is_initialized() else 0
            contrastive = contrastive_loss(
                samples,
                gather_rows(samples),
                batch.labels,
                gather_rows(batch.labels),
                first,
                temperature,
            )
        kl = styles.kl(self.encoder.prior()).mean()
        return {
            "loss": contrastive + self.kl_weight * kl,
            "contrastive": contrastive.detach(),
            "kl": kl.detach(),
            "temperature": temperature.detach(),
            "width": styles.std.mean().detach(),
        }
