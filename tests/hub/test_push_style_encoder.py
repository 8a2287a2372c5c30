"""`svp train style --push-to-hub` leaves an encoder that others can load."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from loopback import LoopbackHub

RUN = """
data: {folder}/manifest.csv
output_dir: {folder}/run
audio_features: log-mel-80
audio_dim: 80
style_dim: 8
hidden_dim: 16
num_layers: 1
num_attention_heads: 2
max_frames: 64
classes_per_batch: 2
min_window: 10
max_window: 20
steps: 2
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    rows = ["expressions,audio,fps,speaker,style"]
    for style in ("calm", "loud"):
        values = np.random.default_rng(0).normal(size=(40, 64)).astype("f4")
        np.savez(tmp_path / f"{style}.npz", expression=values, space="bfm64", fps=25)
        rows.append(f"{style}.npz,,,ann,{style}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "run.yaml").write_text(RUN.format(folder=tmp_path))
    return tmp_path / "run.yaml"


def test_a_trained_encoder_is_pushed_and_loaded(
    run_file: Path, hub: LoopbackHub, client_environment: Callable[..., dict[str, str]]
) -> None:
    svp = str(Path(sys.executable).with_name("svp"))
    environment = client_environment()
    train = [svp, "train", "style", "--config", str(run_file), "--push-to-hub", "org/style-encoder"]
    subprocess.run(train, env=environment, check=True, capture_output=True)
    files = hub.files("org/style-encoder")
    assert {"config.json", "diffusion_pytorch_model.safetensors"} <= set(files)
    assert hub.repositories["org/style-encoder"].private
    assert str(run_file.parent).encode() not in files["config.json"]
    listed = subprocess.run(
        [svp, "style", "list", "--model", "org/style-encoder"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == ["calm", "loud"]
