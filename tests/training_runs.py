"""Runs of `svp train` as users start them: killed and resumed, or in two processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from svp_diffusers.training.loop.yaml_file import save_configuration

SVP = str(Path(sys.executable).with_name("svp"))


def read_metrics(configuration: Any) -> list[dict[str, float]]:
    lines = (Path(configuration.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_weights(configuration: Any, trained: str) -> dict[str, torch.Tensor]:
    """The weights in the folder `trained` of a run."""
    (path,) = (Path(configuration.output_dir) / trained).glob("*.safetensors")
    return load_file(path)


def write_command(stage: str, configuration: Any) -> list[str]:
    """Write the configuration beside the run's folder, and give the command that trains by it."""
    path = Path(f"{configuration.output_dir}.yaml")
    save_configuration(configuration, path)
    return [SVP, "train", stage, "--config", str(path)]


def train_in_two_processes(stage: str, configuration: Any) -> None:
    launch = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    _launch([*launch, "--dynamo_backend", "no", *write_command(stage, configuration)])


def train_sharded(stage: str, configuration: Any, accelerate: Path, resume: bool = False) -> None:
    """Train in two processes that FSDP divides the weights among, by a configuration of theirs."""
    _, *arguments = write_command(stage, configuration)
    launcher = str(Path(__file__).with_name("svp_sharded.py"))
    options = ["--config_file", str(accelerate), launcher, *arguments]
    _launch([*options, *["--resume"] * resume])


def _launch(arguments: list[str]) -> None:
    # With --cpu, `accelerate launch` starts one process only; the environment says CPU instead.
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    done = subprocess.run(
        [*launch, "--num_processes", "2", "--main_process_port", "0", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 processes" in done.stdout


def check_resumption(stage: str, whole: Any, broken: Any, trained: str) -> None:
    """Train by `whole`; by `broken` with a `kill -9` in between; compare metrics and weights.

    Each run is a process of its own: this one may have been left with other threads or kernels by
    other tests, and a sum taken in another order differs in its last bit.

    Args:
        stage: of `svp train`.
        whole, broken: equal configurations but for `output_dir`, logging every step.
        trained: folder of the weights below `output_dir`.
    """
    commands = [write_command(stage, each) for each in (whole, broken)]
    subprocess.run(commands[0], stdout=subprocess.DEVNULL, check=True)

    process = subprocess.Popen(commands[1], stdout=subprocess.DEVNULL)
    metrics = Path(broken.output_dir) / "metrics.jsonl"
    kill_at = random.randint(broken.checkpoint_every + 1, 3 * broken.steps // 4)
    while not metrics.exists() or len(metrics.read_text().splitlines()) < kill_at:
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (Path(broken.output_dir) / trained).exists()

    subprocess.run([*commands[1], "--resume"], stdout=subprocess.DEVNULL, check=True)
    assert read_metrics(broken) == read_metrics(whole), f"killed at step {kill_at}"
    expected, weights = (read_weights(each, trained) for each in (whole, broken))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
