"""Guidance is distilled into one prediction, which is told the scales."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.conditions_svp import Conditions
from svp_diffusers.pipelines.guidance_svp import GUIDANCE_DIM, plan_guidance
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.configuration import (
    DistillationConfiguration,
    ImageTrainingConfiguration,
)
from svp_diffusers.training.denoiser.distillation import DistillationObjective, make_student
from svp_diffusers.training.denoiser.distillation_stage import train_distillation
from svp_diffusers.training.denoiser.image_stage import train_image
from svp_diffusers.training.denoiser.stage import read_batches

OPTIONS: dict[str, Any] = {
    "clips_per_batch": 4,
    "frames_per_clip": 2,
    "validation_clips": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "ema_decay": 0.0,
    "log_every": 1,
}
CALL: dict[str, Any] = {
    "num_inference_steps": 2,
    "guidance_scale": 1.0,
    "audio_guidance_scale": 2.0,
    "style_guidance_scale": 3.0,
}
"""How the teacher is called where nothing else is said."""


@pytest.fixture(scope="module")
def teacher(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two steps, on which guidance has an effect."""
    pipeline = SVPTalkingHeadPipeline.from_pretrained(start)
    initialise(pipeline.unet, torch.Generator().manual_seed(0))
    pipeline.unet.enable_motion_modules(False)
    pipeline.register_to_config(**CALL)
    folder = tmp_path_factory.mktemp("teacher")
    pipeline.save_pretrained(folder)
    return folder


def configure(
    teacher: Path, cached: Path, output: Path, **options: Any
) -> DistillationConfiguration:
    paths = {"data": str(cached), "pipeline": str(teacher), "output_dir": str(output)}
    return DistillationConfiguration(**{**paths, **OPTIONS, **options})


@pytest.fixture(scope="module")
def trained(
    teacher: Path, cached: Path, tmp_path_factory: pytest.TempPathFactory
) -> DistillationConfiguration:
    """What a run was configured with, that has ended."""
    run = tmp_path_factory.mktemp("distil") / "run"
    configuration = configure(teacher, cached, run, steps=2, clips_per_batch=2)
    assert train_distillation(configuration) == run / "pipeline"
    return configuration


@pytest.fixture(scope="module")
def student(trained: DistillationConfiguration) -> SVPTalkingHeadPipeline:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(Path(trained.output_dir) / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def speak(pipeline: SVPTalkingHeadPipeline, **options: Any) -> torch.Tensor:
    """Latents of three frames."""
    random = np.random.default_rng(0)
    (latents,), _ = pipeline(
        random.uniform(size=(32, 32, 3)).astype(np.float32),
        0.1 * random.standard_normal(1920).astype(np.float32),
        torch.linspace(-1, 1, pipeline.style_encoder.config.style_dim),
        portrait_keypoints=8 + 16 * random.uniform(size=(8, 2)).astype(np.float32),
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        return_dict=False,
        **options,
    )
    return latents


def test_a_step_takes_one_prediction(student: SVPTalkingHeadPipeline) -> None:
    told: list[torch.Tensor] = []
    hook = student.unet.register_forward_hook(
        lambda module, arguments, named, output: told.append(named["timestep_cond"]),
        with_kwargs=True,
    )
    speak(student)
    hook.remove()
    assert [each.shape for each in told] == [(1, GUIDANCE_DIM)] * 2


@pytest.mark.parametrize("name", ["audio_guidance_scale", "style_guidance_scale"])
def test_scales_still_change_the_video(student: SVPTalkingHeadPipeline, name: str) -> None:
    assert torch.equal(speak(student, **{name: 4.0}), speak(student, **{name: 4.0}))
    assert not torch.equal(speak(student, **{name: 4.0}), speak(student, **{name: 1.0}))


@pytest.mark.parametrize(
    "scales",
    [{"style_guidance_scale": 4.1}, {"audio_guidance_scale": 0.5}, {"guidance_scale": 1.5}],
)
def test_scales_that_it_never_saw_are_refused(
    student: SVPTalkingHeadPipeline, scales: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=rf"distilled .* {next(iter(scales))} of"):
        speak(student, **scales)


def test_a_student_starts_as_its_teacher(teacher: Path) -> None:
    unet = SVPTalkingHeadPipeline.from_pretrained(teacher).unet
    student = make_student(unet, {"guidance_scale": (1.0, 1.0)})
    random = torch.Generator().manual_seed(0)
    given = (torch.randn(1, 4, 2, 4, 4, generator=random), 500, torch.ones(2, 5, 32))
    told = torch.randn(1, GUIDANCE_DIM, generator=random)
    with torch.no_grad():
        taught, first = unet(*given).sample, student(*given, timestep_cond=told).sample
    assert torch.equal(taught, first)
    with pytest.raises(ValueError, match="timestep_cond"):
        student(*given)


def make_objective(
    teacher: Path, cached: Path, limit: float | None = None, **options: Any
) -> tuple[DistillationObjective, dict[str, torch.Tensor], SVPTalkingHeadPipeline]:
    """An objective, a batch for it, and its teacher."""
    configuration = configure(teacher, cached, Path("nowhere"), **options)
    pipeline = SVPTalkingHeadPipeline.from_pretrained(teacher)
    batches, _ = read_batches(pipeline, configuration, consecutive=False)
    if limit is not None:
        pipeline.register_to_config(guidance_limit=limit)
    taught = SVPTalkingHeadPipeline(**pipeline.components, **CALL, guidance_limit=limit)
    taught.unet = make_student(pipeline.unet, configuration.guidance_ranges)
    batch = batches(0, 0, 1)
    return DistillationObjective(taught, configuration, [batch]), batch, pipeline


def test_it_learns_what_guidance_does(teacher: Path, cached: Path) -> None:
    objective, batch, _ = make_objective(teacher, cached, clips_per_batch=2)
    optimizer = torch.optim.AdamW(objective.trained(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = objective(batch)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(losses[-3:]) < 0.5 * losses[0]


def test_a_student_that_knows_nothing_yet_is_as_far_as_no_guidance(
    teacher: Path, cached: Path
) -> None:
    objective, _, _ = make_objective(teacher, cached)
    with torch.no_grad():
        metrics = objective.validate()
    assert metrics["validation_mse"] == pytest.approx(metrics["validation_unguided_mse"], rel=1e-4)
    assert metrics["validation_mse"] > 1e-3
    assert metrics["validation_told_1_mse"] < 1e-6


@pytest.mark.parametrize("limit", [None, 0.01])
@pytest.mark.parametrize("scales", [(1.0, 2.0, 3.0), (2.5, 1.5, 4.0)])
def test_the_lesson_is_the_pipelines_own_guidance(
    teacher: Path, cached: Path, scales: tuple[float, float, float], limit: float | None
) -> None:
    objective, batch, pipeline = make_objective(
        teacher, cached, limit, clips_per_batch=1, most_guidance_scale=scales[0]
    )
    noisy, timestep = batch["noise"], torch.tensor([500])
    with torch.no_grad():
        given = objective.give_conditions(batch, noisy, objective.project_audio(batch))
        lesson = objective.guide(noisy, timestep, given, torch.tensor([scales]))
        conditions = Conditions(
            given["encoder_hidden_states"],
            given["style"][0],
            given["reference_latents"],
            given["reference_features"],
            given["head_features"],
        )
        attention = {f"{name}_attention_scale": 1.0 for name in ("reference", "audio", "style")}
        own = pipeline.predict(noisy, timestep[0], conditions, plan_guidance(*scales), attention)
    torch.testing.assert_close(lesson, own, atol=1e-5, rtol=1e-5)
    objective.guidance_limit = None
    with torch.no_grad():
        unlimited = objective.guide(noisy, timestep, given, torch.tensor([scales]))
    assert torch.equal(unlimited, lesson) is (limit is None)


def test_a_step_is_the_schedulers(teacher: Path, cached: Path) -> None:
    """Of DDIM without noise of its own, from the first timestep to the second."""
    objective, _, pipeline = make_objective(teacher, cached)
    random = torch.Generator().manual_seed(0)
    noisy, predicted = (torch.randn(1, 4, 2, 4, 4, generator=random) for _ in range(2))
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(2)
    first, second = scheduler.timesteps
    stepped = objective.take_step(noisy, predicted, first[None], second[None])
    wanted = scheduler.step(predicted, first, noisy).prev_sample
    torch.testing.assert_close(stepped, wanted, atol=1e-5, rtol=1e-5)


def test_a_distilled_checkpoint_is_no_teacher_but_can_be_trained_on(
    trained: DistillationConfiguration, cached: Path, tmp_path: Path
) -> None:
    distilled = Path(trained.output_dir) / "pipeline"
    with pytest.raises(ConfigurationError, match="name its teacher"):
        train_distillation(configure(distilled, cached, tmp_path / "again"))
    configuration = ImageTrainingConfiguration(
        data=str(cached),
        pipeline=str(distilled),
        output_dir=str(tmp_path / "image"),
        steps=1,
        clips_per_batch=2,
        validation_clips=2,
    )
    folder = train_image(configuration)
    assert folder is not None
    unet = SVPTalkingHeadPipeline.from_pretrained(folder).unet
    ranges = {name: list(ends) for name, ends in trained.guidance_ranges.items()}
    assert unet.config.guidance_ranges == ranges


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"most_style_guidance_scale": 0.5}, "most_style_guidance_scale must be from 1"),
        ({"audio_dropout": 0.1}, "leave audio_dropout away"),
        ({"timestep_power": 0.5}, "leave timestep_power away"),
        ({"loss_weighting": "min-snr"}, "leave loss_weighting away"),
        ({"lora_rank": 4}, "leave lora_rank away"),
        ({"expression_encoder": "mine"}, "leave expression_encoder away"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        DistillationConfiguration(data="", pipeline="", output_dir="", **options)
