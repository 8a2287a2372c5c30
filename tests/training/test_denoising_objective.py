"""The loss of stages 2 and 3: of any scheduler, and the weights that it leaves alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser import stage
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
from svp_diffusers.training.denoiser.image_stage import train_image
from svp_diffusers.training.denoiser.objective import DenoisingObjective, weigh_coefficients
from svp_diffusers.training.loop.estimate import estimate_step, trace_step


def make_objective(
    start: Path,
    scheduler: Any = None,
    encoder: ExpressionEncoder | None = None,
    **options: Any,
) -> DenoisingObjective:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(start)
    if scheduler is not None:
        pipeline.register_modules(scheduler=scheduler)
    configuration = ImageTrainingConfiguration(data="", pipeline="", output_dir="", **options)
    return DenoisingObjective(pipeline, configuration, encoder, [])


def make_batch(points: int = 8) -> dict[str, Tensor]:
    """Two clips of two frames of 32 x 32 pixels."""
    random = torch.Generator().manual_seed(0)
    shapes = {
        **{"latents": (2, 4, 2, 4, 4), "noise": (2, 4, 2, 4, 4), "reference_latents": (2, 4, 4, 4)},
        **{"audio_windows": (2, 2, 10, 32), "style": (2, 16)},
    }
    return {
        **{name: torch.randn(shape, generator=random) for name, shape in shapes.items()},
        "head_keypoints": 8 + 16 * torch.rand(2, 2, points, 2, generator=random),
        "reference_keypoints": 8 + 16 * torch.rand(2, points, 2, generator=random),
        "timesteps": torch.tensor([0.3, 0.9], dtype=torch.float64),
        **{f"keep_{name}": torch.ones(2) for name in ("reference", "audio", "style", "head")},
    }


@pytest.mark.parametrize("loss_weighting", ["none", "min-snr"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_what_the_scheduler_asks_for_has_no_loss(
    start: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loss_weighting: str
) -> None:
    scheduler = DDIMScheduler(prediction_type=kind)
    objective = make_objective(start, scheduler, loss_weighting=loss_weighting)
    batch = make_batch()
    objective.validation_batches = [batch]

    def answer(batch: dict[str, Tensor], noisy: Tensor, timesteps: Tensor, tokens: Tensor):
        velocity = scheduler.get_velocity(batch["latents"], batch["noise"], timesteps)
        answers = {"epsilon": batch["noise"], "sample": batch["latents"]}
        return answers.get(kind, velocity)

    monkeypatch.setattr(objective, "predict", answer)
    with torch.no_grad():
        assert objective(batch)["loss"] == 0
        assert objective.validate()["validation_mse"] == pytest.approx(0, abs=1e-6)


INPUTS = {
    "reference": "reference_latents",
    "audio": "audio_windows",
    "style": "style",
    "head": "head_keypoints",
}


@pytest.mark.parametrize("condition", INPUTS)
def test_a_clip_that_lost_a_condition_is_predicted_without_it(start: Path, condition: str) -> None:
    """Whatever the condition would have been; the other clip of the batch keeps its own."""
    objective = make_objective(start)
    for module in (objective.unet, objective.head_guider):
        initialise(module, torch.Generator().manual_seed(0))
    batch = make_batch()
    batch[f"keep_{condition}"] = torch.tensor([1.0, 0.0])
    name = INPUTS[condition]
    other = {**batch, name: batch[name].flip(0) + 1}

    def predict(batch: dict[str, Tensor]) -> Tensor:
        tokens = objective.project_audio(batch)
        return objective.predict(batch, batch["latents"], torch.tensor([300, 900]), tokens)

    with torch.no_grad():
        difference = (predict(other) - predict(batch)).abs().mean(dim=(1, 2, 3, 4))
    assert difference[0] > 1e-4
    assert difference[1] < 1e-6


def test_the_jaw_counts_most_and_blinks_least() -> None:
    weights = weigh_coefficients(["jawOpen", "mouthPucker", "eyeBlinkLeft", "browInnerUp"])
    torch.testing.assert_close(weights, torch.tensor([3.0, 1.5, 1.0, 1.5]) / 1.75)


def measure_loss(
    objective: DenoisingObjective,
    batch: dict[str, Tensor],
    error: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> float:
    """The loss of a prediction of velocities that is off by so much."""

    def answer(batch: dict[str, Tensor], noisy: Tensor, timesteps: Tensor, tokens: Tensor):
        scheduler = objective.scheduler
        return scheduler.get_velocity(batch["latents"], batch["noise"], timesteps) + error

    monkeypatch.setattr(objective, "predict", answer)
    with torch.no_grad():
        return float(objective(batch)["loss"])


def test_an_error_at_the_mouth_counts_as_much_more_as_asked(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eyes are in row 1 of the 4 x 4 latents, a latent apart, the mouth is in row 2."""
    objective = make_objective(start, mouth_weight=5.0, face_weight=1.5)
    batch = make_batch()
    batch["head_keypoints"][..., 6, :] = torch.tensor([12.0, 8.0])
    batch["head_keypoints"][..., 7, :] = torch.tensor([20.0, 8.0])
    losses = []
    for y, x in ((0, 0), (0, 2), (2, 2)):  # background, forehead, mouth
        error = torch.zeros_like(batch["latents"])
        error[..., y, x] = 1
        losses.append(measure_loss(objective, batch, error, monkeypatch))
    assert losses[1] / losses[0] == pytest.approx(1.5, rel=1e-4)
    assert losses[2] / losses[0] == pytest.approx(5.0, rel=1e-4)


def test_min_snr_weighs_an_error_by_its_timestep(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of velocities by min(SNR, 5) / (SNR + 1) (Hang et al. 2023)."""
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    plain = make_objective(start, scheduler)
    weighted = make_objective(start, scheduler, loss_weighting="min-snr")
    for share in (0.05, 0.5, 0.9):
        batch = {**make_batch(), "timesteps": torch.full((2,), share, dtype=torch.float64)}
        error = torch.ones_like(batch["latents"])
        product = float(scheduler.alphas_cumprod[int(1000 * share)])
        snr = product / (1 - product)
        losses = [measure_loss(each, batch, error, monkeypatch) for each in (weighted, plain)]
        assert losses[0] / losses[1] == pytest.approx(min(snr, 5) / (snr + 1), rel=1e-3)


def make_encoder(with_reference: bool = False) -> ExpressionEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ExpressionEncoder(
            4,
            ("jawOpen", "mouthPucker"),
            block_out_channels=(8, 8),
            with_reference=with_reference,
        )


def add_expression(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {**batch, "expression": torch.rand(2, 2, len(ARKIT_BLENDSHAPES), generator=random)}


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_lips_are_read_from_the_clean_latents_of_any_prediction(
    start: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """At every timestep: those of a right prediction are the clip's own."""
    scheduler = DDIMScheduler(prediction_type=kind)
    objective = make_objective(start, scheduler, make_encoder())
    batch, read = add_expression(make_batch()), []

    def answer(batch: dict[str, Tensor], noisy: Tensor, timesteps: Tensor, tokens: Tensor):
        velocity = scheduler.get_velocity(batch["latents"], batch["noise"], timesteps)
        return velocity if kind == "v_prediction" else batch["noise"]

    monkeypatch.setattr(objective, "predict", answer)
    objective.expression_encoder.register_forward_pre_hook(
        lambda module, arguments: read.append(arguments[0])
    )
    with torch.no_grad():
        objective(batch)
    frames = batch["latents"].transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(read[0], frames, atol=1e-3, rtol=0)


def test_every_frame_is_read_beside_the_reference_of_its_clip(start: Path) -> None:
    objective = make_objective(start, encoder=make_encoder(with_reference=True))
    batch, read = add_expression(make_batch()), []
    objective.expression_encoder.register_forward_pre_hook(
        lambda module, arguments: read.append(arguments)
    )
    objective.validation_batches = [batch]
    with torch.no_grad():
        objective(batch)
        objective.validate()
    assert len(read) == 2
    for latents, references in read:
        assert latents.shape == references.shape
        for clip, reference in enumerate(batch["reference_latents"]):
            for frame in references[2 * clip : 2 * clip + 2]:
                assert torch.equal(frame, reference)


def test_the_sync_loss_counts_as_much_as_asked(start: Path) -> None:
    encoder, batch = make_encoder(), add_expression(make_batch())
    for weight in (0.0, 0.5, 2.0):
        with torch.no_grad():
            losses = make_objective(start, encoder=encoder, sync_weight=weight)(batch)
        sync = losses["sync"] + losses["lips"]
        assert sync > 0.01
        assert losses["loss"] == pytest.approx(float(losses["denoising"] + weight * sync))


def test_an_expression_encoder_of_frames_is_refused(start: Path) -> None:
    encoder = ExpressionEncoder(in_channels=3, coefficient_names=("jawOpen",))
    with pytest.raises(ConfigurationError, match="reads pictures of 3 channels"):
        make_objective(start, encoder=encoder)


def test_a_scheduler_that_predicts_something_else_is_refused(start: Path) -> None:
    with pytest.raises(ConfigurationError, match="FlowMatchEulerDiscreteScheduler predicts None"):
        make_objective(start, FlowMatchEulerDiscreteScheduler())


@pytest.mark.parametrize("points", [8, 3])
def test_weights_that_no_loss_needs_are_found_without_computing(start: Path, points: int) -> None:
    objective, batch = make_objective(start), make_batch(points)
    trained = objective.trained()
    traced = trace_step(objective, batch)
    gradients = torch.autograd.grad(objective(batch)["loss"], trained, allow_unused=True)
    unused = [w for w, gradient in zip(trained, gradients, strict=True) if gradient is None]
    assert unused
    assert list(map(id, traced.unused)) == list(map(id, unused))


def test_an_average_is_estimated_in_float32(start: Path) -> None:
    objective = make_objective(start).to(torch.bfloat16)
    traced = trace_step(objective, make_batch())
    for weight in traced.unused:
        weight.requires_grad_(False)
    estimate = estimate_step(objective, traced, True, torch.device("cpu"))
    assert estimate.average == 2 * estimate.gradients


def test_a_run_computes_nothing_before_its_first_step(
    start: Path, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstStepError(Exception):
        pass

    computed = []
    forward = TemporalUNet.forward

    def note(self: TemporalUNet, sample: Tensor, *arguments: Any, **options: Any) -> Any:
        computed.append(not isinstance(sample, FakeTensor))
        return forward(self, sample, *arguments, **options)

    def stop(*_: Any) -> None:
        raise FirstStepError

    monkeypatch.setattr(TemporalUNet, "forward", note)
    monkeypatch.setattr(stage, "train", stop)
    configuration = ImageTrainingConfiguration(
        data=str(cached),
        pipeline=str(start),
        output_dir=str(tmp_path / "run"),
        clips_per_batch=4,
        validation_clips=2,
    )
    with pytest.raises(FirstStepError):
        train_image(configuration)
    assert computed == [False]


def test_a_lora_is_of_the_layers_that_are_asked_for(start: Path) -> None:
    options = {"lora_rank": 2, "lora_dropout": 0.5, "lora_target_modules": "to_q,ff.net.2"}
    objective = make_objective(start, **options)
    trained = [name for name, weight in objective.named_parameters() if weight.requires_grad]
    layers = {name.partition(".lora_")[0] for name in trained}
    assert all(layer.endswith((".to_q", ".ff.net.2")) for layer in layers)
    assert any(layer.endswith(".ff.net.2") for layer in layers)
    dropouts = [module.p for module in objective.modules() if isinstance(module, nn.Dropout)]
    assert 0.5 in dropouts
    with pytest.raises(ConfigurationError, match="lora_target_modules"):
        make_objective(start, lora_rank=2, lora_target_modules="to_nothing")


@pytest.mark.parametrize("name", ["a/b/c", "no spaces", ""])
def test_a_repository_that_cannot_be_is_refused_before_training(name: str) -> None:
    with pytest.raises(ConfigurationError, match="hub_model_id"):
        ImageTrainingConfiguration(data="", pipeline="", output_dir="", hub_model_id=name)
