"""Weights that FSDP2 divides among processes: averaged in parts, whole where all are needed.

Of weights that are not divided, all of this changes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether a run's weights are divided among its processes."""
    return accelerator.distributed_type == DistributedType.FSDP


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Within it every process holds all weights; all processes have to enter and leave it."""
    divided = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in divided:
        module.unshard()
    try:
        yield
    finally:
        for module in divided:
            module.reshard()


def own_parts(weights: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The part of each weight that this process holds, in the same memory."""
    return [
        nn.Parameter(weight.to_local().detach(), weight.requires_grad)
        if isinstance(weight, DTensor)
        else weight
        for weight in weights
    ]


class MovingAverage(EMAModel):
    """The moving average of weights, in float32; each process averages its own parts.

    A late update moves the average by a thousandth of what it lacks, which bfloat16 would round
    away. Its state is of whole weights, so that it is the same for any number of processes.

    Args:
        weights: trained ones, divided or not.
        decay: warms up to this.
    """

    def __init__(self, weights: Sequence[nn.Parameter], decay: float) -> None:
        self.weights = weights
        parts = [part.detach().float() for part in own_parts(weights)]
        super().__init__(parts, decay=decay, use_ema_warmup=True, foreach=True)

    def state_dict(self) -> dict[str, Any]:
        """As of `EMAModel`; all processes have to call it."""
        state: dict[str, Any] = super().state_dict()
        pairs = zip(state["shadow_params"], self.weights, strict=True)
        return {**state, "shadow_params": [_join(*pair) for pair in pairs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of `EMAModel`."""
        pairs = zip(state_dict["shadow_params"], self.weights, strict=True)
        # A checkpoint is read to the CPU, and may hold averages in the weights' own type.
        parts = [_divide(whole.to(weight.device, torch.float32), weight) for whole, weight in pairs]
        super().load_state_dict({**state_dict, "shadow_params": parts})


def _join(part: Tensor, weight: nn.Parameter) -> Tensor:
    if not isinstance(weight, DTensor):
        return part
    joined = DTensor.from_local(
        part,
        weight.device_mesh,
        weight.placements,
        shape=weight.shape,
        stride=weight.stride(),
    )
    return joined.full_tensor().cpu()


def _divide(whole: Tensor, weight: nn.Parameter) -> Tensor:
    if not isinstance(weight, DTensor):
        return whole
    mesh, placements = weight.device_mesh, weight.placements
    # Every process has read the same file, so that nothing has to be sent.
    divided = distribute_tensor(whole, mesh, placements, src_data_rank=None)
    return divided.to_local().detach()
