"""`svp generate --style-adapter`: its styles, as strong as asked; what does not fit is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.errors import CheckpointError, ConfigurationError, StyleError
from svp_diffusers.generation import generate
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.style_adapter_svp import get_style_weights


@pytest.fixture(scope="module")
def folder(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base without style, an adapter with the style "mine" for it, and one for another base."""
    folder = tmp_path_factory.mktemp("adapters")
    pipe = build_random_pipeline()
    for name, weight in get_style_weights(pipe.unet).items():
        if ".to_out." in name:
            weight.zero_()
    pipe.save_pretrained(folder / "base")
    generator = torch.Generator().manual_seed(1)
    for weight in get_style_weights(pipe.unet).values():
        weight.normal_(std=0.3, generator=generator)
    pipe.style_encoder.add_style("mine", StyleDistribution(torch.ones(16), torch.ones(16)))
    pipe.save_style_adapter(folder / "adapter", base_model="base")
    with torch.no_grad():
        pipe.unet.conv_in.weight.neg_()
    pipe.save_style_adapter(folder / "foreign", base_model="another")
    return folder


def make(files: Path, folder: Path, output: Path, **options: Any) -> np.ndarray:
    request = GenerationRequest(
        files / "portrait.png",
        files / "speech.wav",
        output,
        model=str(folder / "base"),
        steps=1,
        size=64,
        detect_face=False,
        **options,
    )
    (path,) = generate_video(request)
    return np.stack(list(read_frames(path))).astype(float)


def test_it_brings_its_styles_and_is_as_strong_as_asked(
    files: Path, folder: Path, tmp_path: Path
) -> None:
    adapter = str(folder / "adapter")
    without = make(files, folder, tmp_path / "without.mp4")
    none = make(
        files, folder, tmp_path / "none.mp4", style_adapter=adapter, style_adapter_scale=0.0
    )
    np.testing.assert_array_equal(none, without)
    full = make(files, folder, tmp_path / "full.mp4", style_adapter=adapter, style="mine")
    assert np.abs(full - without).mean() > 1.0  # more than H.264 changes by itself
    manifest = json.loads((tmp_path / "full.mp4.json").read_text())
    assert manifest["arguments"]["style_adapter"] == "adapter"
    assert len(manifest["checkpoint"]["style_adapter_sha256"]) == 64
    assert (
        "style_adapter_sha256"
        not in json.loads((tmp_path / "without.mp4.json").read_text())["checkpoint"]
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"style_adapter": "nowhere/at-all"}, CheckpointError, "nowhere/at-all is neither"),
        ({"style_adapter": "base"}, CheckpointError, "is no style adapter"),
        ({"style_adapter": "adapter", "style": "yours"}, StyleError, "mine"),
        ({"style_adapter_scale": 0.5}, ConfigurationError, "add --style-adapter"),
        (
            {"style_adapter": "adapter", "style_adapter_scale": -1.0},
            ConfigurationError,
            "--style-adapter-scale must be from 0",
        ),
    ],
)
def test_what_cannot_be_is_said_before_weights_are_loaded(
    files: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(generate, "load_pipeline", lambda *_: pytest.fail("weights were loaded"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    adapter = options.get("style_adapter")
    if adapter is not None and (folder / adapter).exists():
        options = {**options, "style_adapter": str(folder / adapter)}
    with pytest.raises(error, match=message):
        make(files, folder, tmp_path / "v.mp4", **options)
    assert not list(tmp_path.iterdir())


def test_the_adapter_of_another_base_is_refused(files: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="trained on another"):
        make(files, folder, tmp_path / "v.mp4", style_adapter=str(folder / "foreign"))
    assert not list(tmp_path.iterdir())
