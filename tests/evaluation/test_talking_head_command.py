"""`svp evaluate tiny` from files to files, on a random checkpoint and a random encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.cli.main import app
from svp_diffusers.errors import CheckpointError, StyleError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .painted import EMOTIONS, write_dataset

SMALL = ["--clips", "2", "--style-clips", "2", "--variation-clips", "2", "--training-clips", "9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data, pipeline (with a style for each emotion), empty_bank, pixels and latents."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_dataset(folder / "data", test_clips=3, training_clips=9, frames=6)
    pipeline = build_random_pipeline()
    pipeline.save_pretrained(folder / "empty_bank")
    for number, emotion in enumerate(EMOTIONS):
        mean = torch.full((pipeline.style_encoder.config.style_dim,), float(number))
        pipeline.style_encoder.add_style(emotion, StyleDistribution(mean, torch.ones_like(mean)))
    pipeline.save_pretrained(folder / "pipeline")
    torch.manual_seed(0)
    for name, channels, beside in (("pixels", 3, False), ("latents", 4, True), ("beside", 3, True)):
        encoder = ExpressionEncoder(
            channels, ARKIT_BLENDSHAPES, "arkit52", (8, 8), hidden_dim=16, with_reference=beside
        )
        encoder.save_pretrained(folder / name)
    return folder


def evaluate(folder: Path, *changes: str) -> dict:
    arguments = {
        "--data": str(folder / "data"),
        "--model": str(folder / "pipeline"),
        "--expression-encoder": str(folder / "pixels"),
        "--output": str(folder / "report"),
        "--steps": "1",
        "--guidance-scale": "1",
        "--device": "cpu",
    } | dict(zip(changes[::2], changes[1::2], strict=True))
    pairs = [text for pair in arguments.items() for text in pair]
    result = CliRunner().invoke(app, ["evaluate", "tiny", *pairs, *SMALL])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads((folder / "report" / "report.json").read_text())


def test_every_part_but_the_cost_is_measured(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    report = evaluate(folder, "--parts", "lip_sync,style,diversity,interpolation,quality,portrait")
    measures = {row["measure"]: row for row in report["rows"]}
    assert {row["part"] for row in report["rows"]} == set(report["details"])
    assert report["sampling"]["num_inference_steps"] == 1
    # What a random model must fulfil too.
    repeat = next(row for name, row in measures.items() if name.startswith("temperature 0"))
    assert repeat["generated"]["value"] == 0
    spreads = [row["generated"]["value"] for name, row in measures.items() if "spread" in name]
    assert min(spreads) > 0
    assert measures["PSNR (dB)"]["generated"]["value"] < 30
    for row in report["rows"]:
        for column in ("generated", "control", "reconstructed", "true"):
            figure = row[column]
            assert figure is None or figure["low"] <= figure["value"] <= figure["high"]


def test_all_that_is_asked_for_reaches_the_pipeline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    class CalledError(Exception):
        pass

    def call(self: SVPTalkingHeadPipeline, **options: Any) -> None:
        raise CalledError(options)

    monkeypatch.setattr(SVPTalkingHeadPipeline, "__call__", call)
    asked = {
        **{"guidance_scale": 1.1, "audio_guidance_scale": 1.2, "style_guidance_scale": 1.3},
        **{"style_temperature": 0.6, "steps": 3},
    }
    options = [(f"--{name.replace('_', '-')}", str(value)) for name, value in asked.items()]
    with pytest.raises(CalledError) as caught:
        evaluate(folder, "--parts", "quality", *(text for pair in options for text in pair))
    (given,) = caught.value.args
    asked["num_inference_steps"] = asked.pop("steps")
    assert {name: given[name] for name in asked} == asked


def test_the_same_seed_gives_the_same_report(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    reports = [evaluate(folder, "--parts", "lip_sync") for _ in range(2)]
    assert reports[0] == reports[1]
    assert evaluate(folder, "--parts", "lip_sync", "--seed", "1") != reports[0]


@pytest.mark.slow
def test_the_cost_grows_with_steps_and_guidance(folder: Path) -> None:
    report = evaluate(folder, "--parts", "cost", "--guidance-scale", "2")
    costs = {row["measure"]: row["generated"] for row in report["rows"]}
    seconds = "seconds a second of video, {} steps, {}"
    slow, fast = seconds.format(8, "guidance"), seconds.format(2, "no guidance")
    assert costs[slow]["low"] > costs[fast]["low"]
    assert 100 < costs["peak memory of the process (MiB)"]["value"] < 10_000
    assert np.isfinite(costs["seconds to the first frame of 0.24 s"]["value"])


def test_what_cannot_be_measured_is_refused(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    for unfit in ("latents", "beside"):
        with pytest.raises(CheckpointError, match="reads latents, or pictures beside a reference"):
            evaluate(folder, "--expression-encoder", str(folder / unfit))
    with pytest.raises(CheckpointError, match="holds no expression encoder"):
        evaluate(folder, "--expression-encoder", str(folder / "data"))
    with pytest.raises(StyleError, match="looked up by emotion"):
        evaluate(folder, "--model", str(folder / "empty_bank"))
