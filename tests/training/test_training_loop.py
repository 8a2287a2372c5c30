"""The loop that all stages share, on an objective of one weight."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.loop import Objective, make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.loop.sharding import MovingAverage
from training_runs import read_metrics


class OneWeight(Objective):
    """Its loss is the weight times the batch, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.steps_done = 0
        self.modes: list[str] = []

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        self.modes.append("trains" if self.training else "evaluates")
        return {"loss": self.weight * batch, "seen": batch}

    def validate(self) -> dict[str, float]:
        self.modes.append("validates and trains" if self.training else "validates")
        return {"weight": self.weight.item()}

    def after_step(self) -> None:
        self.steps_done += 1


def test_metrics_are_means_over_the_accumulated_batches(tmp_path: Path) -> None:
    configuration = LoopConfiguration(
        output_dir=str(tmp_path / "run"), steps=2, gradient_accumulation=3, log_every=1
    )
    objective = run_loop(configuration, lambda number: float(number))
    assert [line["seen"] for line in read_metrics(configuration)] == [1.0, 4.0]  # 0 to 2, 3 to 5
    assert objective.steps_done == 2


def run_loop(configuration: LoopConfiguration, make_batch: Callable[[int], float]) -> OneWeight:
    objective = OneWeight()
    accelerator = make_accelerator(configuration)
    run = RunFolder(configuration.output_dir, configuration, resume=False)
    run.start(accelerator)
    train(objective, lambda n, *_: torch.tensor(make_batch(n)), configuration, run, accelerator)
    return objective


def descend(output_dir: Path, **options: Any) -> LoopConfiguration:
    """Four steps, of which each moves a weight of steady gradient by the learning rate, 0.1."""
    defaults = {"steps": 4, "learning_rate": 0.1, "weight_decay": 0.0, "warmup_steps": 2}
    return LoopConfiguration(output_dir=str(output_dir), **{**defaults, "ema_decay": 0, **options})


def test_the_learning_rate_rises_and_falls(tmp_path: Path) -> None:
    weight = run_loop(descend(tmp_path / "run"), lambda number: 1.0).weight
    assert weight.item() == pytest.approx(1 - 0.1 * (0 + 0.5 + 1 + 0.5))


def test_one_wild_batch_moves_no_further_than_the_others(tmp_path: Path) -> None:
    configuration = descend(tmp_path / "run", max_grad_norm=1.0)
    weight = run_loop(configuration, lambda number: 1000.0 if number == 2 else 1.0).weight
    assert weight.item() == pytest.approx(1 - 0.2)


def test_what_is_validated_and_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    configuration = descend(tmp_path / "run", ema_decay=0.5, validate_every=4, warmup_steps=0)
    objective = run_loop(configuration, lambda number: 1.0)
    (validated,) = (line["weight"] for line in read_metrics(configuration) if "weight" in line)
    last = 1 - 0.1 * sum(0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4))
    assert objective.weight.item() == validated
    assert last + 0.01 < validated < 1


def test_dropout_and_the_like_are_off_in_validations_alone(tmp_path: Path) -> None:
    objective = run_loop(descend(tmp_path / "run", validate_every=2), lambda number: 1.0)
    assert objective.modes == ["trains", "trains", "validates"] * 2
    assert not objective.training


def run_steps(tmp_path: Path, **options: Any) -> tuple[float, list[str]]:
    """Where ten steps of one size down a slope lead, and the checkpoints that are left."""
    configuration = LoopConfiguration(
        **{
            "output_dir": str(tmp_path / "run"),
            "steps": 10,
            "learning_rate": 0.1,
            "warmup_steps": 0,
            "weight_decay": 0.0,
            "ema_decay": 0.0,
            "checkpoint_every": 2,
            **options,
        }
    )
    objective = OneWeight()
    accelerator = make_accelerator(configuration)
    run = RunFolder(configuration.output_dir, configuration, resume=False)
    run.start(accelerator)
    train(objective, lambda n, rank, size: torch.tensor(1.0), configuration, run, accelerator)
    return objective.weight.item(), [path.name for path in run.checkpoints()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("constant", 0.0), ("linear", 0.45), ("cosine", 0.45), ("constant_with_warmup", 0.0)],
)
def test_the_learning_rate_follows_the_schedule_that_is_asked_for(
    tmp_path: Path, name: str, expected: float
) -> None:
    """Adam's steps on a slope are of the learning rate's size; a decay to zero has their mean."""
    reached, _ = run_steps(tmp_path, lr_scheduler=name)
    assert reached == pytest.approx(expected, abs=1e-3)


def test_as_many_checkpoints_are_kept_as_asked(tmp_path: Path) -> None:
    _, kept = run_steps(tmp_path, keep_checkpoints=3)
    assert kept == [f"checkpoint-{step:08d}" for step in (6, 8, 10)]


@pytest.mark.parametrize(
    "options", [{"lr_scheduler": "staircase"}, {"keep_checkpoints": 0}], ids=str
)
def test_an_impossible_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LoopConfiguration(output_dir="", **options)


def step_average(average: MovingAverage, weight: nn.Parameter, steps: int) -> None:
    for _ in range(steps):
        average.step([weight])


def test_the_average_of_bfloat16_weights_follows_them() -> None:
    """At a decay of 0.999 it moves by less than bfloat16 can tell."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    average = MovingAverage([weight], decay=0.999)
    average.optimization_step = 10**6  # long after its warm-up
    with torch.no_grad():
        weight.fill_(1.25)
    step_average(average, weight, 2000)
    average.store([weight])
    average.copy_to([weight])
    assert weight.dtype == torch.bfloat16
    assert weight.tolist() == pytest.approx([1.25 - 0.25 * 0.999**2000] * 4, abs=2**-8)
    average.restore([weight])
    assert weight.tolist() == [1.25] * 4


def test_an_average_goes_on_from_its_state_exactly() -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    average = MovingAverage([weight], decay=0.999)
    average.optimization_step = 10**6
    with torch.no_grad():
        weight.fill_(1.25)
    step_average(average, weight, 5)
    resumed = MovingAverage([weight], decay=0.999)
    resumed.load_state_dict(average.state_dict())
    for each in (average, resumed):
        step_average(each, weight, 5)
    (expected,), (values,) = (each.state_dict()["shadow_params"] for each in (average, resumed))
    assert torch.equal(values, expected)
    assert values.dtype == torch.float32
    old = {**average.state_dict(), "shadow_params": [weight.detach()]}  # saved in bfloat16
    resumed.load_state_dict(old)
    step_average(resumed, weight, 1)
    assert resumed.state_dict()["shadow_params"][0].dtype == torch.float32
