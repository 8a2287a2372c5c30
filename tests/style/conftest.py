"""Recordings whose speakers and styles are known, and a small training configuration for them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from svp_diffusers.training.style.configuration import StyleTrainingConfiguration

SPEAKERS = ("ann", "bob", "eve")
STYLES = ("calm", "loud")


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings, two per speaker and style; "loud" moves three times as much as "calm".

    Speaker offsets are as large as the motion. Those of "ann" have sound.
    """
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    rows = []
    for speaker in SPEAKERS:
        face = random.normal(size=64)
        for style in STYLES:
            for take in range(2):
                key = f"{speaker}_{style}_{take}"
                motion = np.cumsum(random.normal(size=(60, 64)), axis=0) * 0.1
                values = face + (3.0 if style == "loud" else 1.0) * motion
                np.savez(
                    folder / f"{key}.npz", expression=values.astype("f4"), space="bfm64", fps=25
                )
                if speaker == "ann":
                    voice = 0.1 * random.normal(size=round(2.4 * 16000))
                    soundfile.write(folder / f"{key}.wav", voice.astype("f4"), 16000)
                audio = f"{key}.wav" if speaker == "ann" else ""
                rows.append([f"{key}.npz", audio, "", speaker, style])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["expressions", "audio", "fps", "speaker", "style"], *rows])
    return folder / "manifest.csv"


@pytest.fixture
def configure(manifest: Path, tmp_path: Path) -> Callable[..., StyleTrainingConfiguration]:
    """Make a configuration that trains in a second or two; keywords override it."""

    def configure(output: str = "run", **options: Any) -> StyleTrainingConfiguration:
        return StyleTrainingConfiguration(
            **{
                "data": str(manifest),
                "output_dir": str(tmp_path / output),
                "audio_features": "log-mel-80",
                "audio_dim": 80,
                "style_dim": 8,
                "hidden_dim": 32,
                "num_layers": 1,
                "num_attention_heads": 2,
                "max_frames": 64,
                "classes_per_batch": 6,
                "min_window": 10,
                "max_window": 30,
                "steps": 20,
                "warmup_steps": 2,
                "learning_rate": 1e-3,
                "log_every": 1,
                "checkpoint_every": 5,
                **options,
            }
        )

    return configure
