"""svp-tiny from nothing: a run of minutes learns, in every stage."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Barrier

import pytest
import torch

from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.loop.yaml_file import load_configuration, save_configuration
from svp_diffusers.training.svp_tiny.plan import CPU, LEAST_CLIPS, LEAST_STEPS, TinyPlan, plan_tiny
from svp_diffusers.training.svp_tiny.stage_runner import Stage, run_stages
from svp_diffusers.training.svp_tiny.stages import make_plan

PLAN = TinyPlan(
    seed=0,
    batch_factor=1,
    vae_precision="no",
    look="mixed",
    pictures=160,
    clips=160,
    cached_clips=160,
    vae_steps=150,
    audio_steps=150,
    expression_steps=250,
    style_steps=60,
    head_motion_steps=20,
    image_steps=120,
)
"""What takes some minutes, whatever the speed of the machine."""


def read_metric(run: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def test_more_minutes_do_more_of_everything() -> None:
    usual = {"no": CPU.step_costs["vae"], "bf16": 10.0}
    short, long = (plan_tiny(minutes, 0, CPU, usual) for minutes in (40, 400))
    for name, few in vars(short).items():
        if name not in ("seed", "batch_factor", "vae_precision", "look"):
            assert getattr(long, name) == pytest.approx(10 * few, rel=0.1)
    slow = plan_tiny(40, 0, CPU, {name: 10 * seconds for name, seconds in usual.items()})
    assert slow.vae_steps == pytest.approx(short.vae_steps / 10, rel=0.1)
    assert slow.clips == LEAST_CLIPS
    slowest = {name: 100 * seconds for name, seconds in usual.items()}
    assert plan_tiny(1, 0, CPU, slowest).head_motion_steps == LEAST_STEPS
    with pytest.raises(ConfigurationError, match="cannot be trained"):
        plan_tiny(0.5, 0, CPU, usual)


def test_a_vae_is_trained_in_the_faster_precision() -> None:
    seconds = CPU.step_costs["vae"]
    plain = plan_tiny(40, 0, CPU, {"no": seconds, "bf16": 20 * seconds})
    fast = plan_tiny(40, 0, CPU, {"no": seconds, "bf16": seconds / 2})
    assert (plain.vae_precision, fast.vae_precision) == ("no", "bf16")
    assert fast.vae_steps == pytest.approx(2 * plain.vae_steps, rel=0.01)
    assert fast.image_steps == plain.image_steps


def test_a_plan_is_made_once(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "tiny", minutes=30, seed=3)
    assert load_configuration(tmp_path / "tiny/plan.yaml", TinyPlan) == plan
    assert make_plan(tmp_path / "tiny", minutes=300, seed=4) == plan


def test_stages_run_side_by_side_once_what_they_need_is_done(tmp_path: Path) -> None:
    beside = Barrier(2, timeout=20)
    order = []

    def make(name: str, *needs: str, meets: bool = False) -> Stage:
        def run() -> None:
            if meets:
                beside.wait()
            order.append(name)
            (tmp_path / name).touch()

        return Stage(name, tmp_path / name, run, needs)

    (tmp_path / "old").touch()
    stages = [
        make("old", meets=True),  # done before: it would wait in vain
        make("last", "left", "right"),
        make("left", "old", meets=True),
        make("right", "old", meets=True),
    ]
    run_stages(stages, True, lambda name: None)
    assert sorted(order[:2]) == ["left", "right"]
    assert order[2:] == ["last"]


def test_a_stage_without_result_ends_the_run(tmp_path: Path) -> None:
    stages = [
        Stage("idle", tmp_path / "idle", lambda: None),
        Stage("next", tmp_path / "next", (tmp_path / "next").touch, ("idle",)),
    ]
    with pytest.raises(CheckpointError, match="the stage idle left no"):
        run_stages(stages, False, lambda name: None)
    assert not (tmp_path / "next").exists()


@pytest.mark.slow(minutes=15)
def test_minutes_from_nothing_already_teach_something(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_configuration(PLAN, folder / "plan.yaml")
    command = [sys.executable, "-m", "svp_diffusers", "train", "tiny", "-o", str(folder)]
    subprocess.run(command, check=True)
    # What a picture of the mean colour reaches, about 11 dB, and twice the error less.
    assert read_metric(folder / "vae", "psnr")[-1] > 15
    assert read_metric(folder / "audio", "validation_jaw")[-1] > 0.5
    assert read_metric(folder / "expression", "error")[-1] < 0.1
    contrastive = read_metric(folder / "style", "contrastive")
    assert average(contrastive[-5:]) < average(contrastive[:5]) - 0.3
    denoising = read_metric(folder / "image", "denoising")
    assert torch.tensor(denoising).isfinite().all()
    assert average(denoising[-10:]) < 0.5 * average(denoising[:5])
    lips = read_metric(folder / "image", "lips")  # read from the audio tokens
    assert average(lips[-10:]) < 0.9 * average(lips[:5])

    pipeline = SVPTalkingHeadPipeline.from_pretrained(folder / "svp-tiny")
    assert {"happy", "angry"} <= set(pipeline.style_encoder.style_bank)
    weights = (folder / "svp-tiny").rglob("*.safetensors")
    ours = [path for path in weights if path.parent.name != "face_landmarker"]
    assert sum(path.stat().st_size for path in ours) < 40e6
    unet = folder / "svp-tiny/unet/diffusion_pytorch_model.safetensors"
    before = unet.stat().st_mtime_ns
    subprocess.run(command, check=True)  # all is there: nothing is done again
    assert (
        folder / "svp-tiny/unet/diffusion_pytorch_model.safetensors"
    ).stat().st_mtime_ns == before
