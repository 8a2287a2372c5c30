"""`svp demo`, on random weights that are quick."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.cli.main import app
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import probe, read_frames
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.talkers.manner import EMOTIONS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step without guidance, and styles far from one another under the emotions' names."""
    built = build_random_pipeline()
    pipeline = SVPTalkingHeadPipeline(
        **built.components, num_inference_steps=1, guidance_scale=1.0, shared_noise=1.0
    )
    for number, emotion in enumerate(EMOTIONS):
        mean = torch.full((pipeline.style_encoder.config.style_dim,), float(number - 4))
        pipeline.style_encoder.add_style(emotion, StyleDistribution(mean, torch.ones_like(mean)))
    folder = tmp_path_factory.mktemp("demo") / "checkpoint"
    pipeline.save_pretrained(folder)
    return folder


def test_the_demo_writes_a_video_styles_side_by_side_and_a_sheet(
    checkpoint: Path, tmp_path: Path
) -> None:
    video = tmp_path / "demo.mp4"
    result = CliRunner().invoke(app, ["demo", "-o", str(video), "--model", str(checkpoint)])
    assert result.exit_code == 0, result.output
    assert "neutral, happy, angry, surprised" in result.output
    assert get_manifest_path(video).is_file()
    assert (probe(video).width, probe(video).height) == (128, 128)

    styles = tmp_path / "demo_styles.mp4"
    assert read_mark(styles) is not None
    assert (probe(styles).width, probe(styles).height) == (512, 152)
    with av.open(str(styles)) as container:
        assert container.metadata["title"] == "neutral, happy, angry, surprised"
        assert container.streams.audio
    frames = np.stack(list(read_frames(styles))).astype(int)
    parts = [frames[:, 24:, 128 * index : 128 * (index + 1)] for index in range(4)]
    assert all(np.abs(parts[0] - part).mean() > 2 for part in parts[1:])

    assert read_mark(tmp_path / "demo_samples.png") is not None
    sheet = np.asarray(Image.open(tmp_path / "demo_samples.png"))
    assert sheet.shape == (7 * 128, 8 * 128, 3)
    people = [sheet[128 * row : 128 * (row + 1), 128:256] for row in (0, 1, 5, 6)]
    assert len({person.tobytes() for person in people}) == 4


def test_the_demo_says_a_text(checkpoint: Path, tmp_path: Path) -> None:
    video = tmp_path / "demo.mp4"
    arguments = ["demo", "-o", str(video), "--model", str(checkpoint), "--text", "Hello."]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with av.open(str(tmp_path / "demo_speech.wav")) as container:
        seconds = container.duration / av.time_base
    assert probe(video).frames == round(25 * seconds)
