"""Optimisers by name, on an objective of one weight."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from svp_diffusers.errors import ConfigurationError, MissingDependencyError
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.loop import Objective, make_accelerator, train
from svp_diffusers.training.loop.optimizers import OPTIMIZERS
from svp_diffusers.training.loop.run_folder import RunFolder

OPTIONS: dict[str, dict[str, Any]] = {
    "adamw8bit": {},
    "prodigy": {"learning_rate": 1.0},
    "schedule-free": {"lr_scheduler": "constant", "ema_decay": 0.0},
}


class OneWeight(Objective):
    """Its loss is the square of the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.weight * batch).square().sum()}


def run(folder: Path, resume: bool = False, **options: Any) -> OneWeight:
    configuration = LoopConfiguration(
        output_dir=str(folder), **{"steps": 4, "warmup_steps": 0, **options}
    )
    objective = OneWeight()
    accelerator = make_accelerator(configuration)
    run_folder = RunFolder(folder, configuration, resume)
    run_folder.start(accelerator)
    train(objective, lambda number, *_: torch.ones(1), configuration, run_folder, accelerator)
    return objective


class Recorded(torch.optim.AdamW):
    """AdamW that remembers how it was made, and when it was told of training and its end."""

    made: dict[str, Any]
    told: list[str]

    def __init__(self, groups: Any, warmup_steps: int | None = None, **options: Any) -> None:
        super().__init__(groups, **options)
        type(self).made = {**options, "warmup_steps": warmup_steps}
        type(self).told = []

    def train(self) -> None:
        self.told.append("train")

    def eval(self) -> None:
        self.told.append("eval")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of all optimisers, whose class is `Recorded`."""
    for kind in OPTIMIZERS.values():
        if kind.package != "torch":
            module = ModuleType(kind.package)
            outer, _, inner = kind.path.rpartition(".")
            holder = SimpleNamespace(**{inner: Recorded}) if outer else Recorded
            setattr(module, outer or inner, holder)
            monkeypatch.setitem(sys.modules, kind.package, module)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", OPTIONS)
def test_the_optimizer_that_is_asked_for_gets_the_options(tmp_path: Path, name: str) -> None:
    options = {"learning_rate": 0.5, "adam_beta2": 0.9, "weight_decay": 0.2, "warmup_steps": 2}
    run(tmp_path / "run", optimizer=name, **{**OPTIONS[name], **options})
    free = name == "schedule-free"
    assert Recorded.made == {
        "lr": 0.5,
        "betas": (0.9, 0.9),
        "weight_decay": 0.2,
        "warmup_steps": 2 if free else None,  # others have the scheduler's
    }
    assert Recorded.told == (["train", "eval"] if free else [])


@pytest.mark.usefixtures("installed")
def test_what_is_validated_are_the_averaged_weights(tmp_path: Path) -> None:
    options = {**OPTIONS["schedule-free"], "validate_every": 2}
    run(tmp_path / "run", optimizer="schedule-free", **options)
    assert Recorded.told == ["train", "eval", "train", "eval", "train", "eval"]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = OPTIMIZERS[name].package
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        run(tmp_path / "run", optimizer=name, **OPTIONS[name])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "sgd"}, "one of adamw, adamw8bit"),
        ({"optimizer": "prodigy"}, "learning_rate is a factor of it, set it to 1"),
        ({"optimizer": "schedule-free", "ema_decay": 0.0}, "lr_scheduler to constant"),
        ({"optimizer": "schedule-free", "lr_scheduler": "constant"}, "ema_decay to 0"),
    ],
)
def test_what_does_not_fit_an_optimizer_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        LoopConfiguration(output_dir="run", **options)


def test_what_they_remember_is_counted() -> None:
    weights = [nn.Parameter(torch.zeros(10, 10)), nn.Parameter(torch.zeros(5).bfloat16())]
    counted = {name: kind.count_bytes(weights) for name, kind in OPTIMIZERS.items()}
    assert counted["adamw"] == 2 * (400 + 10)
    assert counted["adamw8bit"] == 2 * 105
    assert counted["prodigy"] == 2 * counted["adamw"]


@pytest.mark.parametrize("name", ["prodigy", "schedule-free"])
def test_the_real_ones_learn_and_resume_exactly(tmp_path: Path, name: str) -> None:
    pytest.importorskip(OPTIMIZERS[name].package)
    options = {"optimizer": name, "learning_rate": 0.2, "checkpoint_every": 2, **OPTIONS[name]}
    options["lr_scheduler"] = "constant"
    whole = run(tmp_path / "whole", **options).weight.item()
    assert whole < 1
    run(tmp_path / "cut", **options)
    newest = sorted((tmp_path / "cut").glob("checkpoint-*"))[-1]
    newest.rename(tmp_path / "later")  # as if it had been killed after step 2
    assert run(tmp_path / "cut", resume=True, **options).weight.item() == whole
