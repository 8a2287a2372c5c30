"""A portrait, speech and a checkpoint as files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline


def write_speech(path: Path, seconds: float, rate: int = 16000) -> Path:
    """Noise with the loudness of speech; formats by suffix."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * rate))
    soundfile.write(path, 0.1 * noise, rate)
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: SVPTalkingHeadPipeline) -> Path:
    """A folder with portrait.png, speech.wav (0.4 s) and checkpoint/."""
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "portrait.png")
    write_speech(folder / "speech.wav", 0.4)
    tiny_pipeline.save_pretrained(folder / "checkpoint")
    return folder
