"""Training of the style prior: it learns, goes on exactly where it was interrupted, and does the
same in two processes as in one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from svp_diffusers.errors import CheckpointError, ConfigurationError, MissingDependencyError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.configuration import save_configuration
from svp_diffusers.training.style import train_style
from svp_diffusers.training.style_configuration import StyleTrainingConfiguration

Configure = Callable[..., StyleTrainingConfiguration]
SVP = str(Path(sys.executable).with_name("svp"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps one state a process; every test here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def read_metrics(configuration: StyleTrainingConfiguration) -> list[dict[str, float]]:
    lines = (Path(configuration.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_weights(configuration: StyleTrainingConfiguration) -> dict[str, torch.Tensor]:
    folder = Path(configuration.output_dir) / "style_encoder"
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def write_yaml(configuration: StyleTrainingConfiguration) -> Path:
    path = Path(f"{configuration.output_dir}.yaml")
    save_configuration(configuration, path)
    return path


def test_training_lowers_the_loss_and_gives_an_encoder_with_named_styles(
    configure: Configure,
) -> None:
    configuration = configure(steps=60)
    folder = train_style(configuration)
    losses = [line["contrastive"] for line in read_metrics(configuration)]
    assert len(losses) == 60
    # Means of ten steps; 0.3 nats is well over the noise between batches.
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.3
    encoder = StyleEncoder.from_pretrained(folder)
    assert list(encoder.style_bank) == ["calm", "loud"]
    assert encoder.config.encoder_id == encoder.get_style("calm").encoder_id
    assert len(encoder.config.encoder_id) == 16
    assert encoder.config.audio_features == "log-mel-80"


def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    """Every run in a process of its own, as on the command line.

    This process may have been left with other threads or kernels by other tests, and a sum taken in
    another order differs in its last bit.
    """
    whole, broken = configure("whole", steps=40), configure("broken", steps=40)
    commands = [
        [SVP, "train", "style", "--config", str(write_yaml(each))] for each in (whole, broken)
    ]
    subprocess.run(commands[0], stdout=subprocess.DEVNULL, check=True)

    process = subprocess.Popen(commands[1], stdout=subprocess.DEVNULL)
    metrics = Path(broken.output_dir) / "metrics.jsonl"
    kill_at = random.randint(6, 30)  # any step is fine, that is what is tested
    while not metrics.exists() or len(metrics.read_text().splitlines()) < kill_at:
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (Path(broken.output_dir) / "style_encoder").exists()

    subprocess.run([*commands[1], "--resume"], stdout=subprocess.DEVNULL, check=True)
    assert read_metrics(broken) == read_metrics(whole), f"killed at step {kill_at}"
    expected, weights = read_weights(whole), read_weights(broken)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_two_processes_reach_the_loss_of_one(configure: Configure) -> None:
    one, two = configure("one", steps=10), configure("two", steps=10)
    train_style(one)
    # With --cpu, `accelerate launch` starts one process only; the environment says CPU instead.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, SVP, "train", "style", "--config", str(write_yaml(two))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 processes" in done.stdout
    # Sums over a batch are taken in another order: errors of 1e-7, which ten steps amplify.
    for alone, together in zip(read_metrics(one), read_metrics(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    # Weights whose gradient is zero but for rounding move at random under Adam; styles do not.
    torch.testing.assert_close(
        read_weights(two)["bank"], read_weights(one)["bank"], atol=1e-4, rtol=1e-3
    )


def test_accumulated_batches_and_half_precision_train(configure: Configure) -> None:
    configuration = configure(steps=3, gradient_accumulation=2, mixed_precision="bf16")
    train_style(configuration)
    assert all(line["loss"] < 10 for line in read_metrics(configuration))


def test_tensorboard_gets_the_metrics(configure: Configure) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    configuration = configure(steps=2, tracker="tensorboard")
    train_style(configuration)
    assert list(Path(configuration.output_dir).rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_named(configure: Configure) -> None:
    if find_spec("wandb"):
        pytest.skip("wandb is installed here")
    with pytest.raises(MissingDependencyError, match=r"svp-diffusers\[wandb\]"):
        train_style(configure(tracker="wandb"))
    with pytest.raises(ConfigurationError, match="tensorboard, wandb"):
        configure(tracker="paper")


def test_a_run_is_not_overwritten_nor_resumed_with_other_options(configure: Configure) -> None:
    with pytest.raises(CheckpointError, match="no run to resume"):
        train_style(configure(), resume=True)
    train_style(configure(steps=2))
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train_style(configure(steps=2))
    with pytest.raises(ConfigurationError, match="is resumed with its own"):
        train_style(configure(steps=4), resume=True)
