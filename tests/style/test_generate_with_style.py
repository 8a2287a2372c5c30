"""From a clip's style file to a video: styles change the frames, the same style does not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from svp_diffusers.cli.main import app
from svp_diffusers.media.video import read_frames
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline


@pytest.fixture
def folder(tmp_path: Path, tiny_pipeline: SVPTalkingHeadPipeline) -> Path:
    """A portrait, speech, the coefficients of two clips, and a checkpoint whose style attention has
    random weights, so that styles act on the picture as they do once trained."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    soundfile.write(tmp_path / "speech.wav", 0.1 * random.standard_normal(3200), 16000)
    for name, scale in (("calm", 0.1), ("loud", 3.0)):
        coeff = scale * random.normal(size=(50, 257)).astype("f4")
        savemat(tmp_path / f"{name}.mat", {"coeff": coeff})
    tiny_pipeline.save_pretrained(tmp_path / "checkpoint")
    return tmp_path


def svp(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_style_file_drives_the_video(folder: Path) -> None:
    frames = {}
    for take, style in (("first", "calm"), ("second", "loud"), ("again", "calm")):
        file = folder / f"{style}.style.safetensors"
        svp("style", "encode", folder / f"{style}.mat", "--model", folder / "checkpoint",
            "-o", file)  # fmt: skip
        output = folder / f"{take}.mp4"
        svp("generate", folder / "p.png", folder / "speech.wav", "-o", output, "--style", file,
            "--model", folder / "checkpoint", "--steps", 2, "--size", 64, "--seed", 1,
            "--guidance-scale", 1.0, "--no-detect-face")  # fmt: skip
        frames[take] = np.stack(list(read_frames(output))).astype(float)
    np.testing.assert_array_equal(frames["first"], frames["again"])
    # One grey level in 255 on average: more than H.264 at this quality changes by itself.
    assert np.abs(frames["first"] - frames["second"]).mean() > 1.0
