"""Where a run is kept: begun anew, resumed, or refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from svp_diffusers.errors import CheckpointError, ConfigurationError, OutputError
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Configuration(LoopConfiguration):
    """Nothing but the loop's."""


def begin(folder: Path, resume: bool = False, **changes: object) -> RunFolder:
    configuration = Configuration(output_dir=str(folder), **changes)  # type: ignore[arg-type]
    run = RunFolder(folder, configuration, resume)
    run.start(Accelerator(cpu=True))
    return run


def test_a_run_that_failed_at_its_start_is_begun_anew_with_what_was_corrected(
    tmp_path: Path,
) -> None:
    failed = begin(tmp_path / "run", learning_rate=1e9)
    failed.log(1, {"loss": 1.0})
    failed.release()
    corrected = begin(tmp_path / "run", learning_rate=1e-3)
    assert not corrected.metrics.exists()
    assert "0.001" in (tmp_path / "run" / "configuration.yaml").read_text()
    corrected.release()


def test_a_run_with_a_checkpoint_is_resumed_with_its_own_configuration_alone(
    tmp_path: Path,
) -> None:
    begin(tmp_path / "run").release()
    (tmp_path / "run" / "checkpoint-00000500").mkdir()
    with pytest.raises(ConfigurationError, match="holds a run already"):
        begin(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="resumed with its own"):
        begin(tmp_path / "run", resume=True, steps=3)
    begin(tmp_path / "run", resume=True).release()
    with pytest.raises(CheckpointError, match="no run to resume"):
        begin(tmp_path / "other", resume=True)


def test_two_trainings_do_not_write_into_one_folder(tmp_path: Path) -> None:
    first = begin(tmp_path / "run")
    with pytest.raises(OutputError, match="being written by another"):
        begin(tmp_path / "run")
    first.release()
    begin(tmp_path / "run").release()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("room", [100, 30_000])
def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(tmp_path: Path, room: int) -> None:
    """The weights find no room, or the optimizer's state after them does not."""
    resource = pytest.importorskip("resource", reason="sizes of files cannot be limited here")
    run, accelerator = begin(tmp_path / "run"), Accelerator(cpu=True)
    network = torch.nn.Linear(64, 64)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(64)).sum().backward()
    optimizer.step()
    accelerator.prepare(network, optimizer)
    run.save(accelerator, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OutputError, match=f"{tmp_path}/run cannot be written"):
            run.save(accelerator, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run.release()
    kept = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert kept == ["checkpoint-00000001", "configuration.yaml"]
