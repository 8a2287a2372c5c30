"""Figures of head motion say what they claim: each on motion of which it is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from typer.testing import CliRunner

from svp_diffusers import SVP_TINY
from svp_diffusers.cli.main import app
from svp_diffusers.errors import CheckpointError
from svp_diffusers.evaluation.head_motion import (
    evaluate_head_motion,
    format_report,
    generate_long,
    load_head_motion,
    measure_coherence,
    measure_long_run,
)
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.training.head_motion import performances
from svp_diffusers.training.head_motion.performances import MotionClip

FRAMES = 300


def sway(generator: np.random.Generator, frames: int = FRAMES) -> np.ndarray:
    """Slow motion (frames, 6) of unit size."""
    noise = gaussian_filter1d(generator.normal(size=(frames + 200, 6)), 15, axis=0)[100:-100]
    return noise / noise.std()


def make_clip(index: int) -> MotionClip:
    """Emotion "b" moves twice as much as "a"."""
    generator = np.random.default_rng(index)
    emotion = "ab"[index % 2]
    loudness = np.repeat(generator.uniform(size=FRAMES // 5), 5)
    waveform = generator.normal(size=640 * FRAMES) * np.repeat(loudness, 640)
    poses = (1 + index % 2) * 0.05 * sway(generator)
    poses[:, 1] += 0.1 * gaussian_filter1d(loudness, 3)
    return MotionClip(
        poses.astype(np.float32),
        torch.zeros(2 * FRAMES, 4),
        StyleDistribution(torch.full((2,), 1.0 + index % 2), torch.ones(2)),
        waveform.astype(np.float32),
        emotion,
    )


class Swaying(HeadMotionModel):
    """Sways as the style says, and never nods."""

    def generate(self, *inputs: Any, generator: torch.Generator, **options: Any) -> torch.Tensor:
        _, style, _, frames, _ = inputs
        seed = int(torch.randint(2**31, (), generator=generator))
        motion = 0.05 * float(style[0]) * sway(np.random.default_rng(seed), frames)
        return torch.from_numpy(motion.astype(np.float32))


def test_the_report_of_motion_that_sways_well_and_never_nods() -> None:
    clips = [make_clip(index) for index in range(12)]
    told: list[tuple[str, int, int]] = []
    report = evaluate_head_motion(
        Swaying(4, 2), clips, on_progress=lambda *progress: told.append(progress)
    )
    assert told[-1] == ("motions", 12, 12)
    assert report.amplitude_correlation == pytest.approx(1)
    calm, lively = report.amplitudes["a"], report.amplitudes["b"]
    assert lively[0] > 1.4 * calm[0]
    assert lively[1] > 1.6 * calm[1]
    assert 0.7 < report.amplitude_ratio < 1.1
    assert report.speed_ratio < 1  # the nods are not there
    assert 0.7 < report.spectrum_ratios["yaw 0-0.25 Hz"] < 1.4
    truth, generated, chance = report.nod_coherence
    assert truth > 2 * generated
    assert abs(generated - chance) < 0.15
    assert report.seed_distance == pytest.approx(2**0.5, rel=0.3)
    assert report.long_run.longest_still < 1
    lines = format_report(report).splitlines()
    assert lines[0] == "12 clips held out"
    assert any(line.startswith("coherence") for line in lines)


def test_drift_and_freezing_are_seen_in_a_long_run() -> None:
    good = 0.1 * sway(np.random.default_rng(0), 7500)
    run = measure_long_run(good)
    assert np.abs(run.mean_shift).max() < 0.4
    assert 0.7 < run.amplitude_ratio < 1.4
    assert run.longest_still < 1
    drifting = good + np.linspace(0, 0.5, 7500)[:, None]
    assert min(measure_long_run(drifting).mean_shift) > 1.5
    frozen = good.copy()
    frozen[5000:] = frozen[5000]
    assert measure_long_run(frozen).longest_still > 90
    assert measure_long_run(frozen).amplitude_ratio < 1e-6


def test_a_head_that_stops_for_4_seconds_is_still_for_3_whole_ones() -> None:
    speeds = np.full((7500, 6), 0.1)
    speeds[3000:3099] = 0  # from frame 2999 to frame 3098
    poses = speeds.cumsum(axis=0)
    assert measure_long_run(poses).longest_still == 3.0


def test_the_long_run_is_of_the_first_clips_emotion_style_and_pose() -> None:
    clips = [
        replace(make_clip(index), embeddings=torch.full((2 * FRAMES, 4), float(index)))
        for index in range(4)
    ]
    given: list[Any] = []

    class Noting(Swaying):
        def generate(self, *inputs: Any, **options: Any) -> torch.Tensor:
            given.extend(inputs)
            return super().generate(*inputs, **options)

    poses = generate_long(Noting(4, 2), clips, 60, 0)
    embeddings, style, start, frames, fps = given
    assert len(poses) == frames == 60 * fps == 1500
    assert len(embeddings) >= 2 * frames
    assert set(embeddings.unique().tolist()) == {0, 2}
    assert torch.equal(style, clips[0].style.mean)
    assert np.array_equal(start, clips[0].poses[0])


def test_coherence_is_1_of_nods_that_follow_loudness_and_near_0_by_chance() -> None:
    generator = np.random.default_rng(0)
    loudness = list(generator.uniform(size=(40, FRAMES)))
    nods = [np.zeros((FRAMES, 6), np.float32) for _ in loudness]
    for poses, loud in zip(nods, loudness, strict=True):
        poses[:, 1] = -0.3 * np.roll(loud, 3)  # later and upside down, as a filter may be
    assert measure_coherence(nods, loudness) > 0.9
    assert measure_coherence(nods, loudness[1:] + loudness[:1]) < 0.05


def test_a_folder_without_a_model_is_named(tmp_path: Any) -> None:
    with pytest.raises(CheckpointError, match="no head motion model"):
        load_head_motion(tmp_path)
    HeadMotionModel(4, 2, 16, 1, 2).save_pretrained(tmp_path)
    assert load_head_motion(tmp_path).dtype == torch.float32


def test_the_command_measures_talkers_that_no_training_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class CalledError(Exception):
        pass

    def perform(encoder: Any, split: str, *arguments: Any) -> None:
        raise CalledError(split)

    monkeypatch.setattr(performances, "perform_clips", perform)
    monkeypatch.setattr(performances, "PerformanceEncoder", lambda checkpoint: None)
    result = CliRunner().invoke(app, ["evaluate", "head-motion", str(SVP_TINY / "head_motion")])
    assert isinstance(result.exception, CalledError)
    assert result.exception.args == ("test",)
