"""Head motion is learned from performances of talkers, or from clips with head keypoints."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from svp_diffusers.cli.main import app
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.expression.track import Expressions
from svp_diffusers.models.head_motion_svp import HeadMotionModel, evaluate_spline
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.head_motion import performances
from svp_diffusers.training.head_motion.batches import (
    MotionBatchSampler,
    MotionCurve,
    fit_curves,
    fit_knots,
)
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.head_motion.performances import MotionClip, PerformanceEncoder
from svp_diffusers.training.head_motion.stage import build_model, train_head_motion
from svp_diffusers.training.loop.yaml_file import save_configuration
from training_runs import check_resumption, read_metrics

Configure = Callable[..., HeadMotionTrainingConfiguration]


@pytest.fixture
def configure(drawn_talkers: str, tmp_path: Path) -> Configure:
    """Make a configuration that trains in seconds; keywords override it."""

    def configure(output: str = "run", **options: Any) -> HeadMotionTrainingConfiguration:
        return HeadMotionTrainingConfiguration(
            **{
                "data": drawn_talkers,
                "output_dir": str(tmp_path / output),
                "hidden_dim": 32,
                "num_layers": 1,
                "window": 12,
                "context": 4,
                "lookahead": 2,
                "warmup_steps": 5,
                "ema_decay": 0.9,
                "log_every": 1,
                **options,
            }
        )

    return configure


def make_clip(seed: int, seconds: float = 4.0) -> MotionClip:
    generator = np.random.default_rng(seed)
    times = np.arange(round(25 * seconds)) / 25
    poses = np.sin(times[:, None] * generator.uniform(1, 4, 6)) * 0.1 + [0, 0, 0, 0, 0, 1]
    embeddings = generator.normal(size=(round(50 * seconds), 8)).astype(np.float32)
    style = StyleDistribution(torch.zeros(4), torch.ones(4))
    return MotionClip(
        poses.astype(np.float32),
        torch.from_numpy(embeddings),
        style,
        np.zeros(round(16000 * seconds), np.float32),
        "neutral",
    )


def make_sampler(
    configuration: HeadMotionTrainingConfiguration, curves: list[MotionCurve]
) -> MotionBatchSampler:
    return MotionBatchSampler(curves, build_model(configuration, curves), configuration)


def test_it_learns_from_clips_with_head_keypoints(configure: Configure) -> None:
    configuration = configure(steps=150, validate_every=150)
    folder = train_head_motion(configuration)
    lines = read_metrics(configuration)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[:10]) > 0.7
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:10])
    assert lines[-1]["validation_loss"] > 0

    model = HeadMotionModel.from_pretrained(folder, dtype=torch.float32)
    assert (folder / "config.json").exists()
    assert model.config.audio_dim == 64
    start = torch.tensor(model.config.start_mean)
    poses = model.generate(
        torch.zeros(200, 64), torch.zeros(32), start, 100, generator=torch.Generator()
    )
    # It moves about as far as those it learned from, and no further.
    spread = (poses - start).square().mean(0).sqrt() / torch.tensor(model.config.motion_std)
    assert 0.2 < float(spread.mean()) < 3


def test_the_command_lets_talkers_perform(configure: Configure, tmp_path: Path) -> None:
    """Undrawn, from nothing but svp-tiny; the voice needs the extra `data`."""
    configuration = configure(
        data=None, utterances=2, takes=2, seconds=2.0, validation_utterances=1, steps=2
    )
    save_configuration(configuration, tmp_path / "head_motion.yaml")
    result = CliRunner().invoke(
        app, ["train", "head-motion", "--config", str(tmp_path / "head_motion.yaml")]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run/head_motion/diffusion_pytorch_model.safetensors").exists()


def test_the_example_is_a_configuration() -> None:
    from svp_diffusers.training.loop.yaml_file import load_configuration

    path = Path(__file__).parents[2] / "examples/svp_tiny/head_motion.yaml"
    assert load_configuration(path, HeadMotionTrainingConfiguration).data is None


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    options = {"steps": 20, "checkpoint_every": 4, "validate_every": 7}
    check_resumption(
        "head-motion", configure("whole", **options), configure("broken", **options), "head_motion"
    )


def test_a_curve_is_the_motion_of_its_clip() -> None:
    poses = make_clip(0).poses
    knots = fit_knots(poses, 10)
    times = torch.arange(len(poses), dtype=torch.float64) / 2.5
    curve = evaluate_spline(torch.from_numpy(knots), times).numpy()
    assert np.abs(curve - poses).max() < 0.002  # of motion by 0.1
    # The ends, which hardly a frame holds, do not swing.
    assert np.abs(knots - [0, 0, 0, 0, 0, 1]).max() < 0.15


def test_batches_follow_from_their_number(configure: Configure) -> None:
    curves = fit_curves([make_clip(seed) for seed in range(3)], 10)
    sampler = make_sampler(configure(batch_size=8), curves)
    for first, second in zip(sampler.batch(3), sampler.batch(3), strict=True):
        assert torch.equal(first, second)
    halves = [sampler.batch(3, rank, 2) for rank in range(2)]
    for whole, *parts in zip(sampler.batch(3), *halves, strict=True):
        assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(sampler.batch(3).knots, sampler.batch(4).knots)
    with pytest.raises(ConfigurationError, match="shared"):
        sampler.batch(0, 0, 3)


def test_the_model_is_told_in_training_what_it_is_told_later(configure: Configure) -> None:
    """The same speech beside the same knots, and the start at rest."""
    curves = fit_curves([make_clip(0)], 10)
    configuration = configure(batch_size=64)
    model = build_model(configuration, curves)
    batch = MotionBatchSampler(curves, model, configuration).batch(0)
    clip = curves[0].clip

    def hear(index: torch.Tensor) -> torch.Tensor:
        return clip.embeddings[index.clamp(0, len(clip.embeddings) - 1)]

    windows = {first: model._cut_audio(hear, first) for first in range(len(curves[0].knots))}
    begins = batch.known_mask.sum(1) == 0
    assert 0.1 < float(begins.float().mean()) < 0.6
    assert set(batch.known_mask.sum(1).tolist()) == {0, configuration.context}
    std = torch.tensor(model.config.motion_std)
    for row, (knots, audio) in enumerate(zip(batch.knots, batch.audio, strict=True)):
        (first,) = (n for n, cut in windows.items() if torch.equal(cut, audio))
        inside = batch.valid[row].bool()
        truth = torch.from_numpy(curves[0].knots[first : first + int(inside.sum())])
        torch.testing.assert_close(
            batch.start_pose[row] + std * knots[inside], truth, atol=1e-4, rtol=0
        )
        if begins[row]:
            at_start = (knots[0] + 4 * knots[1] + knots[2]) / 6
            torch.testing.assert_close(at_start, torch.zeros(6), atol=1e-4, rtol=0)


def test_styles_are_drawn_around_that_of_the_clip(configure: Configure) -> None:
    """From its mean to its whole width, evenly: the model is told the mean as well as samples."""
    style = StyleDistribution(torch.full((4,), 5.0), torch.full((4,), 0.1))
    curves = fit_curves([replace(make_clip(0), style=style)], 10)
    drawn = (make_sampler(configure(batch_size=64), curves).batch(0).style - 5) / 0.1
    assert drawn.mean() == pytest.approx(0, abs=0.15)
    assert drawn.std() == pytest.approx(3**-0.5, abs=0.12)


def test_styles_are_of_what_the_style_encoder_is_given(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder with speaker centring gives a face of another shape the same style."""
    sizes = {"expression_dim": 52, "expression_space": "arkit52", "style_dim": 16, "audio_dim": 32}
    own = StyleEncoder.tiny(**sizes, expression_centring="speaker").eval()
    pipeline = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, style_encoder=own)
    monkeypatch.setattr(performances, "load_pipeline", lambda *arguments: pipeline)
    encoder = PerformanceEncoder(None)
    generator = np.random.default_rng(0)
    values, average = generator.random((30, 52), np.float32), generator.random(52, np.float32)
    embeddings = torch.zeros(60, 32)
    one, other = (
        encoder.encode_style(
            Expressions(values + shape, "arkit52", Fraction(25), "clip"),
            embeddings,
            average + shape,
        )
        for shape in (np.float32(0), average)
    )
    torch.testing.assert_close(one.mean, other.mean, atol=1e-4, rtol=0)


def test_clips_that_cannot_be_used_are_named(configure: Configure) -> None:
    curves = fit_curves([make_clip(0, seconds=1.0)], 10)
    with pytest.raises(DatasetError, match=r"1\.6 s or more"):
        make_sampler(configure(window=20, context=12), curves)
    with pytest.raises(ConfigurationError, match="context"):
        configure(context=11)


def test_cached_clips_are_refused(configure: Configure, tmp_path: Path) -> None:
    """They do not tell the size of their pictures, of which motion is a share."""
    clips = ClipDataset(configure().data, "train")
    with ShardWriter(tmp_path / "cached") as writer:
        for index in range(2):
            sample = clips[index].decode()
            latents = np.zeros((sample.number_of_frames, 4, 4, 4), np.float16)
            writer.write(encode_clip(replace(sample, frames=None, reference=None, latents=latents)))
    with pytest.raises(DatasetError, match="cached from"):
        train_head_motion(configure(data=str(tmp_path / "cached")))


def test_clips_that_never_move_can_be_learned_from(configure: Configure) -> None:
    clip = make_clip(0)
    still = replace(clip, poses=np.repeat(clip.poses[:1], 100, axis=0))
    batch = make_sampler(configure(), fit_curves([still], 10)).batch(0)
    assert all(part.isfinite().all() for part in batch)
