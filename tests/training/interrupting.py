"""Kill a run of `svp train` at a random step and resume it, beside one that is left alone."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from svp_diffusers.training.configuration import save_configuration

SVP = str(Path(sys.executable).with_name("svp"))


def read_metrics(configuration: Any) -> list[dict[str, float]]:
    lines = (Path(configuration.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def check_resumption(stage: str, whole: Any, broken: Any, trained: str) -> None:
    """Train by `whole`; by `broken` with a `kill -9` in between; compare metrics and weights.

    Each run is a process of its own: this one may have been left with other threads or kernels by
    other tests, and a sum taken in another order differs in its last bit.

    Args:
        stage: of `svp train`.
        whole, broken: equal configurations but for `output_dir`, logging every step.
        trained: folder of the weights below `output_dir`.
    """
    commands = []
    for configuration in (whole, broken):
        path = Path(f"{configuration.output_dir}.yaml")
        save_configuration(configuration, path)
        commands.append([SVP, "train", stage, "--config", str(path)])
    subprocess.run(commands[0], stdout=subprocess.DEVNULL, check=True)

    process = subprocess.Popen(commands[1], stdout=subprocess.DEVNULL)
    metrics = Path(broken.output_dir) / "metrics.jsonl"
    kill_at = random.randint(broken.checkpoint_every + 1, broken.steps - 4)
    while not metrics.exists() or len(metrics.read_text().splitlines()) < kill_at:
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (Path(broken.output_dir) / trained).exists()

    subprocess.run([*commands[1], "--resume"], stdout=subprocess.DEVNULL, check=True)
    assert read_metrics(broken) == read_metrics(whole), f"killed at step {kill_at}"
    expected, weights = (
        load_file(Path(each.output_dir) / trained / "diffusion_pytorch_model.safetensors")
        for each in (whole, broken)
    )
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
