"""Expression coefficients and features of frames, read by a net that training never saw."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from svp_diffusers.checkpoints.loading import load_network
from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES

BATCH_SIZE = 64  # frames read at once


@dataclass(frozen=True)
class Reading:
    """What is read of `f` frames: coefficients `(f, n)` and penultimate features `(f, d)`."""

    coefficients: NDArray[np.float64]
    features: NDArray[np.float64]


class ExpressionReader:
    """Reads frames with an expression encoder.

    Args:
        encoder: pixels `(f, 3, H, W)` in [-1, 1] to `(f, n)`, with the names of the `n` ARKit
            coefficients in its config and a linear layer at its end.

    Raises:
        CheckpointError: a coefficient is not of ARKit, or there is no linear layer.
    """

    def __init__(self, encoder: Any) -> None:
        self.names: tuple[str, ...] = tuple(encoder.config.coefficient_names)
        unknown = sorted(set(self.names) - set(ARKIT_BLENDSHAPES))
        if unknown:
            raise CheckpointError(f"the expression encoder reads {unknown}, not known to ARKit")
        linear = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise CheckpointError("the expression encoder has no linear layer to read features of")
        self._encoder, self._last = encoder.eval(), linear[-1]
        self._columns = [ARKIT_BLENDSHAPES.index(name) for name in self.names]

    def select(self, expression: NDArray[np.float32]) -> NDArray[np.float64]:
        """The columns of `(f, 52)` true coefficients that the encoder reads, `(f, n)`."""
        return expression[:, self._columns].astype(np.float64)

    def find(self, *names: str) -> list[int]:
        """Columns of some coefficients.

        Raises:
            CheckpointError: the encoder does not read one of them.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise CheckpointError(f"the expression encoder does not read {', '.join(missing)}")
        return [self.names.index(name) for name in names]

    @torch.no_grad()
    def read(self, frames: NDArray[np.uint8]) -> Reading:
        """Read `(f, H, W, 3)` frames."""
        parameter = next(self._encoder.parameters())
        kept: list[torch.Tensor] = []
        coefficients = []

        def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            kept.append(inputs[0])

        handle = self._last.register_forward_pre_hook(keep)
        try:
            for batch in torch.from_numpy(frames).permute(0, 3, 1, 2).split(BATCH_SIZE):
                pixels = batch.to(parameter.device, parameter.dtype) / 127.5 - 1
                coefficients.append(self._encoder(pixels))
        finally:
            handle.remove()
        return Reading(
            torch.cat(coefficients).double().cpu().numpy(),
            torch.cat(kept).flatten(1).double().cpu().numpy(),
        )


def load_expression_reader(folder: Path | None, device: torch.device) -> ExpressionReader:
    """Load a trained expression encoder.

    Raises:
        ConfigurationError: none is named.
        CheckpointError: it is missing, damaged, or reads latents.
    """
    from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder

    if folder is None:
        raise ConfigurationError(
            "videos are read by an expression encoder, which no checkpoint holds: `svp train "
            "expression --config FILE` makes one, with `input: frames` and the pictures of `svp "
            "data synth --mix-expressions`; name it with --expression-encoder"
        )
    encoder = load_network(ExpressionEncoder, folder, "expression encoder")
    if encoder.config.in_channels != 3:
        raise CheckpointError(f"{folder} reads latents; give an expression encoder of pixels")
    return ExpressionReader(encoder.to(device))
