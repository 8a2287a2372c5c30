"""Optimisers by name; those of packages of their own are imported when they are asked for."""

import importlib
from dataclasses import dataclass
from typing import Any

import torch

from svp_diffusers.errors import MissingDependencyError


@dataclass(frozen=True)
class OptimizerKind:
    """Where an optimiser is, and what it remembers.

    package: that is imported.
    path: of the class in it.
    copies: of each weight that it keeps.
    element_bytes: of a number in them; None is the weight's own.
    """

    package: str
    path: str
    copies: int
    element_bytes: int | None = None

    def count_bytes(self, weights: list[torch.nn.Parameter]) -> int:
        """Bytes that it keeps of these weights."""
        return self.copies * sum(
            weight.numel() * (self.element_bytes or weight.element_size()) for weight in weights
        )

    def load(self) -> Any:
        """The class.

        Raises:
            MissingDependencyError: if its package is not installed.
        """
        try:
            found: Any = importlib.import_module(self.package)
        except ImportError as error:
            raise MissingDependencyError(
                f"this optimizer is {self.package}'s: pip install {self.package} ({error})"
            ) from error
        for name in self.path.split("."):
            found = getattr(found, name)
        return found


OPTIMIZERS = {
    "adamw": OptimizerKind("torch", "optim.AdamW", 2),
    "adamw8bit": OptimizerKind("bitsandbytes", "optim.AdamW8bit", 2, 1),
    "prodigy": OptimizerKind("prodigyopt", "Prodigy", 4),
    "schedule-free": OptimizerKind("schedulefree", "AdamWScheduleFree", 2),
}


def make_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    learning_rate: float,
    beta2: float,
    weight_decay: float,
    warmup_steps: int,
) -> torch.optim.Optimizer:
    """Make an optimiser.

    Args:
        name: of `OPTIMIZERS`.
        groups: of weights.
        learning_rate: its largest.
        beta2: of the second moment; the first is 0.9.
        weight_decay: decoupled from the gradient.
        warmup_steps: of "schedule-free", which has no scheduler; others leave them to theirs.

    Raises:
        MissingDependencyError: if its package is not installed.
    """
    own = {"warmup_steps": warmup_steps} if name == "schedule-free" else {}
    optimizer: torch.optim.Optimizer = OPTIMIZERS[name].load()(
        groups, lr=learning_rate, betas=(0.9, beta2), weight_decay=weight_decay, **own
    )
    return optimizer
