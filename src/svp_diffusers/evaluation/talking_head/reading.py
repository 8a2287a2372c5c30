"""Expression coefficients and features of frames, read by a net that training never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from svp_diffusers.checkpoints.loading import load_network
from svp_diffusers.errors import CheckpointError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.media.landmarks import load_face_landmarker, track_landmarks
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker

BATCH_SIZE = 64  # frames read at once


@dataclass(frozen=True)
class Reading:
    """What is read of `f` frames.

    coefficients: (f, n)
    features: (f, d), whose distribution tells how alike videos are
    found: share of the frames in which a face was found; None if none was looked for
    """

    coefficients: NDArray[np.float64]
    features: NDArray[np.float64]
    found: float | None = None


class ExpressionReader:
    """What all readers have in common.

    Args:
        names: the `n` ARKit coefficients that are read.

    Raises:
        CheckpointError: one is not of ARKit.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        unknown = sorted(set(self.names) - set(ARKIT_BLENDSHAPES))
        if unknown:
            raise CheckpointError(f"the expression encoder reads {unknown}, not known to ARKit")
        self._columns = [ARKIT_BLENDSHAPES.index(name) for name in self.names]

    def select(self, expression: NDArray[np.float32]) -> NDArray[np.float64]:
        """The columns of `(f, 52)` true coefficients that are read, `(f, n)`."""
        return expression[:, self._columns].astype(np.float64)

    def find(self, *names: str) -> list[int]:
        """Columns of some coefficients.

        Raises:
            CheckpointError: one of them is not read.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise CheckpointError(f"the expression encoder does not read {', '.join(missing)}")
        return [self.names.index(name) for name in names]

    def read(self, frames: NDArray[np.uint8]) -> Reading:
        """Read `(f, H, W, 3)` frames."""
        raise NotImplementedError


class EncoderReader(ExpressionReader):
    """Reads frames with an expression encoder.

    Args:
        encoder: pixels `(f, 3, H, W)` in [-1, 1] to `(f, n)`, with the names of the `n` ARKit
            coefficients in its config and a linear layer at its end.

    Raises:
        CheckpointError: a coefficient is not of ARKit, or there is no linear layer.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__(encoder.config.coefficient_names)
        linear = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise CheckpointError("the expression encoder has no linear layer to read features of")
        self._encoder, self._last = encoder.eval(), linear[-1]

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


class LandmarkReader(ExpressionReader):
    """Reads frames with a face landmarker, whose coefficients are the features too.

    A frame without a face is read as the nearest one with a face, or, if there is none, as a face
    at rest.
    """

    def __init__(self, landmarker: FaceLandmarker) -> None:
        names = landmarker.config.coefficient_names
        self._read = [index for index, name in enumerate(names) if name in ARKIT_BLENDSHAPES]
        super().__init__([names[index] for index in self._read])
        self._landmarker = landmarker

    def read(self, frames: NDArray[np.uint8]) -> Reading:
        """Read `(f, H, W, 3)` frames, which follow one another."""
        faces = list(track_landmarks(frames, self._landmarker))
        known = [number for number, face in enumerate(faces) if face is not None]
        coefficients = np.zeros((len(faces), len(self.names)))
        for number in range(len(faces)):
            if known:
                nearest = faces[min(known, key=lambda each: abs(each - number))]
                assert nearest is not None
                read = nearest.blendshapes[0, self._read]
                coefficients[number] = read.double().cpu().numpy()
        return Reading(coefficients, coefficients, len(known) / len(faces))


def load_expression_reader(folder: Path | None, device: torch.device) -> ExpressionReader:
    """Load a trained expression encoder, or, if none is named, the package's face landmarker.

    Raises:
        CheckpointError: it is missing, damaged, or reads latents, or pictures beside a reference.
    """
    from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder

    if folder is None:
        return LandmarkReader(load_face_landmarker().to(device))
    encoder = load_network(ExpressionEncoder, folder, "expression encoder")
    if encoder.config.in_channels != 3 or encoder.config.with_reference:
        raise CheckpointError(
            f"{folder} reads latents, or pictures beside a reference; give an expression encoder "
            "of pixels"
        )
    return EncoderReader(encoder.to(device))
