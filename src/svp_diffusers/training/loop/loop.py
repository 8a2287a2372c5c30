"""The loop that all stages of training share: Accelerate, moving average, checkpoints, metrics.

A stage is an `Objective`, which holds the weights and computes the loss of a batch, and a function
from the number of a batch to the batch. Batches depend on that number alone, so that a run resumes
exactly, and that several processes see together what one would see.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from diffusers.optimization import get_scheduler
from torch import nn
from torch.utils.data import DataLoader, Dataset

from svp_diffusers.errors import MissingDependencyError
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.optimizers import make_optimizer
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.loop.sharding import MovingAverage, is_sharded, own_parts, whole_weights

if TYPE_CHECKING:  # writes videos, where training may have no PyAV
    from svp_diffusers.training.loop.validation_video import ValidationVideo


class Objective(nn.Module):
    """The weights of a stage and its loss; weights without gradient are held, not trained."""

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        """Metrics of a batch, scalars by name; `loss` is minimised."""
        raise NotImplementedError

    def trained(self) -> list[nn.Parameter]:
        """The weights to train, in a fixed order."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser is given: the trained weights, all alike unless a stage differs."""
        return [{"params": self.trained()}]

    def after_step(self) -> None:
        """Called after each step of the optimiser, to keep weights within bounds."""

    def validate(self) -> dict[str, float]:
        """Metrics on data held out, with the averaged weights.

        Called by the main process, or by all if the weights are divided among them.
        """
        return {}

    def sample(self) -> ValidationVideo | None:
        """What the averaged weights make of a clip held out, if the stage makes clips."""
        return None


MakeBatch = Callable[[int, int, int], Any]
"""From the number of a batch, of this process, and of all processes, to this process's part."""


class _Batches(Dataset[Any]):
    """The batches of one process, by number; what a worker process runs."""

    def __init__(self, make_batch: MakeBatch, rank: int, world_size: int) -> None:
        self.make_batch, self.rank, self.world_size = make_batch, rank, world_size

    def __getitem__(self, index: int) -> Any:
        return self.make_batch(index, self.rank, self.world_size)


def make_accelerator(configuration: LoopConfiguration) -> Accelerator:
    """The accelerator of a run; raises `MissingDependencyError` if its tracker is not installed."""
    tracker = configuration.tracker
    if tracker is not None and find_spec(tracker) is None:  # Accelerate would only warn
        raise MissingDependencyError(
            f"logging to {tracker}: pip install 'svp-diffusers[{tracker}]'"
        )
    accelerator = Accelerator(
        mixed_precision=configuration.mixed_precision,
        gradient_accumulation_steps=configuration.gradient_accumulation,
        log_with=tracker,
        project_dir=configuration.output_dir,
        # Without this, processes started on a machine without accelerator each train alone.
        cpu=not torch.accelerator.is_available(),
    )
    if is_sharded(accelerator):
        # FSDP would round all of a batch, positions and timesteps too; autocast decides instead.
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
    return accelerator


def train(
    objective: Objective,
    make_batch: MakeBatch,
    configuration: LoopConfiguration,
    run: RunFolder,
    accelerator: Accelerator,
) -> dict[str, torch.Tensor]:
    """Train an objective to its last step, in one process or in many.

    On CPUs `accelerate launch --cpu` starts one process whatever its options; for two, say
    `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2`.

    Args:
        objective: on any device. Left with the moving average of its weights; on the CPU in
            evaluation mode, unless FSDP divides it among the processes.
        make_batch: gives the batches.
        configuration: of the loop.
        run: resumed if it holds checkpoints, and where they are saved.
        accelerator: of `make_accelerator`.

    Returns:
        All weights by name, whole and on the CPU; where they are divided, to the main process only.
    """
    try:
        return _train(objective, make_batch, configuration, run, accelerator)
    finally:
        run.release()


def _train(
    objective: Objective,
    make_batch: MakeBatch,
    configuration: LoopConfiguration,
    run: RunFolder,
    accelerator: Accelerator,
) -> dict[str, torch.Tensor]:
    if is_sharded(accelerator):  # FSDP divides contiguous weights only
        objective.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = make_optimizer(
        configuration.optimizer,
        objective.parameter_groups(),
        configuration.learning_rate,
        configuration.adam_beta2,
        configuration.weight_decay,
        configuration.warmup_steps,
    )
    scheduler = get_scheduler(
        configuration.lr_scheduler,
        optimizer,
        num_warmup_steps=configuration.warmup_steps,
        num_training_steps=configuration.steps,
    )
    model, optimizer = accelerator.prepare(objective, optimizer)
    trained = objective.trained()
    # The scheduler is stepped once a step whatever the number of processes, so it is not prepared.
    accelerator.register_for_checkpointing(scheduler)
    ema = None
    if configuration.ema_decay:
        ema = MovingAverage(trained, configuration.ema_decay)
        ema.to(accelerator.device)
        accelerator.register_for_checkpointing(ema)
    if configuration.tracker is not None:
        accelerator.init_trackers(run.path.name)
    step = run.load(accelerator)
    accelerator.print(f"{accelerator.num_processes} processes, step {step}", flush=True)

    parts = configuration.gradient_accumulation
    batches = iter(
        DataLoader(
            _Batches(make_batch, accelerator.process_index, accelerator.num_processes),
            batch_size=None,
            sampler=range(step * parts, configuration.steps * parts),
            num_workers=configuration.num_workers,
            multiprocessing_context="spawn" if configuration.num_workers else None,
        )
    )
    model.train()
    averages = configuration.optimizer == "schedule-free"
    if averages:
        optimizer.train()
    while step < configuration.steps:
        means: dict[str, torch.Tensor] = {}
        for _ in range(parts):
            with accelerator.accumulate(model):
                batch = send_to_device(next(batches), accelerator.device)
                with accelerator.autocast():
                    metrics = model(batch)
                accelerator.backward(metrics["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(trained, configuration.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            for name, value in metrics.items():
                means[name] = means.get(name, 0.0) + value.detach() / parts
        objective.after_step()
        scheduler.step()
        if ema is not None:
            ema.step(own_parts(trained))
        step += 1
        if step % configuration.log_every == 0:
            means = accelerator.reduce(means, "mean")
            _log(run, accelerator, step, {name: float(value) for name, value in means.items()})
        if configuration.validate_every and step % configuration.validate_every == 0:
            # One process is enough, unless each has a part of the weights.
            if accelerator.is_main_process or is_sharded(accelerator):
                if averages:
                    optimizer.eval()
                _validate(objective, ema, run, accelerator, step)
                if averages:
                    optimizer.train()
            accelerator.wait_for_everyone()
        if step % configuration.checkpoint_every == 0 or step == configuration.steps:
            run.save(accelerator, step)

    if ema is not None:
        ema.copy_to(own_parts(trained))
    if averages:
        optimizer.eval()
    if not is_sharded(accelerator):
        objective.to("cpu").eval()
    weights: dict[str, torch.Tensor] = accelerator.get_state_dict(objective)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return weights


def _validate(
    objective: Objective,
    ema: MovingAverage | None,
    run: RunFolder,
    accelerator: Accelerator,
    step: int,
) -> None:
    parts = own_parts(objective.trained())
    if ema is not None:
        ema.store(parts)
        ema.copy_to(parts)
    objective.eval()
    with torch.no_grad(), accelerator.autocast(), whole_weights(objective):
        metrics = objective.validate()
        video = objective.sample()
    objective.train()
    if ema is not None:
        ema.restore(parts)
    if video is not None and accelerator.is_main_process:
        video.write(run.path / "validation" / f"step-{step:06d}.mp4")
        video.log(accelerator, step)
    _log(run, accelerator, step, metrics)


def _log(run: RunFolder, accelerator: Accelerator, step: int, metrics: dict[str, float]) -> None:
    accelerator.log(metrics, step)
    if accelerator.is_main_process:
        run.log(step, metrics)
        values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"step {step}: {values}", flush=True)
