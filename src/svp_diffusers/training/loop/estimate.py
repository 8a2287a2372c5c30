"""A step of training before it is taken: the weights it leaves alone, memory, arithmetic, time."""

import resource
import sys
import time
import weakref
from dataclasses import dataclass
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from svp_diffusers.training.loop.loop import Objective
from svp_diffusers.training.loop.optimizers import OPTIMIZERS

GIB = 2**30


@dataclass(frozen=True)
class TracedStep:
    """A forward and a backward pass that were followed without being computed.

    unused: trained weights that no loss depends on.
    activations: the most bytes alive at once, gradients of the used weights included.
    flops: floating point operations.
    """

    unused: list[nn.Parameter]
    activations: int
    flops: int


@dataclass(frozen=True)
class StepEstimate:
    """Bytes of a process at its peak, from the second step on, and what a step computes.

    weights: of all networks, trained or not.
    gradients: of the trained weights.
    optimizer: what it remembers of the trained weights, such as AdamW's two moments.
    average: the moving average of the trained weights.
    activations: what is alive beside the gradients when most is.
    others: what the process holds already: libraries, and networks that the stage does not use.
    flops: floating point operations of a batch, forward and backward.
    seconds: of a batch, at the speed of one convolution.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    others: int
    flops: int
    seconds: float

    @property
    def memory(self) -> int:
        """All bytes together."""
        kept = self.weights + self.optimizer + self.average + self.others
        return kept + self.gradients + self.activations

    def __str__(self) -> str:
        names = ("weights", "gradients", "optimizer", "average", "activations", "others")
        parts = ", ".join(f"{name} {getattr(self, name) / GIB:.2f}" for name in names)
        return (
            f"estimate: {self.memory / GIB:.2f} GiB at the peak ({parts}); "
            f"{self.flops / 1e12:.3g} TFLOP, about {self.seconds:.2g} s, a batch"
        )


def trace_step(objective: Objective, batch: dict[str, Tensor]) -> TracedStep:
    """Go through a forward and a backward pass on tensors that have shapes and no values.

    Args:
        objective: on the CPU.
        batch: an example, on the CPU.
    """
    trained = objective.trained()
    with LiveMemory() as live:
        batch = {name: live.known(tensor) for name, tensor in batch.items()}
        for tensor in [*objective.parameters(), *objective.buffers()]:
            live.known(tensor)
        gradients = torch.autograd.grad(objective(batch)["loss"], trained, allow_unused=True)
        peak = live.peak
    unused = [
        weight for weight, gradient in zip(trained, gradients, strict=True) if gradient is None
    ]
    return TracedStep(unused, peak, live.flops)


def estimate_step(
    objective: Objective,
    traced: TracedStep,
    has_average: bool,
    device: torch.device,
    optimizer: str = "adamw",
) -> StepEstimate:
    """What a step will take.

    Args:
        objective: on any device, its unused weights frozen.
        traced: a step of it.
        has_average: whether a moving average is kept.
        device: to train on.
        optimizer: a name of `OPTIMIZERS`.
    """
    used = objective.trained()
    weights = count_bytes([*objective.parameters(), *objective.buffers()])
    others = 0
    if device.type == "cpu":
        others = max(0, psutil.Process().memory_info().rss - weights)
    return StepEstimate(
        weights=weights,
        gradients=count_bytes(used),
        optimizer=OPTIMIZERS[optimizer].count_bytes(used),
        average=4 * sum(weight.numel() for weight in used) if has_average else 0,  # in float32
        activations=max(0, traced.activations - count_bytes(used)),
        others=others,
        flops=traced.flops,
        seconds=traced.flops / measure_speed(device, used[0].dtype),
    )


class LiveMemory(TorchDispatchMode):
    """Counts the bytes that are alive, and operations, of passes that are not computed.

    Within it tensors have shapes but no values. Gradient checkpointing is seen as it will be.

    peak: the most bytes that were alive at once, but for those of `known` tensors.
    flops: floating point operations of matrix products, convolutions and attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.flops = self._now = 0
        self._seen: set[int] = set()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __enter__(self) -> "LiveMemory":
        self._fake.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._fake.__exit__(*error)

    def known(self, tensor: Tensor) -> Tensor:
        """A tensor without values that is not counted."""
        fake = self._fake.from_tensor(tensor)
        self._seen.add(fake.untyped_storage()._cdata)
        return fake

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and count."""
        output = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=output)
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return output

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self._now += size
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._now -= size


def count_bytes(tensors: list[Tensor] | list[nn.Parameter]) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measure_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations a second of a convolution, there and back."""
    sample = torch.zeros(2, 320, 16, 16, device=device, dtype=dtype, requires_grad=True)
    weight = torch.zeros(320, 320, 3, 3, device=device, dtype=dtype, requires_grad=True)
    layout = torch.channels_last
    seconds = []
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        output = F.conv2d(sample.to(memory_format=layout), weight.to(memory_format=layout))
        output.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 3 * 2 * output.numel() * 320 * 9 / min(seconds)


def measure_peak(device: torch.device) -> int:
    """The most bytes that this process, or its share of a GPU, ever held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # ru_maxrss counts bytes on macOS and KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
