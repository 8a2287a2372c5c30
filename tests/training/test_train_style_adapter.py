"""A style adapter is trained on a frozen checkpoint, and nothing else of it changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.hub.push import describe_folder
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import CONDITION_LAYER, get_style_weights
from svp_diffusers.training.denoiser.configuration import (
    ImageTrainingConfiguration,
    StyleAdapterTrainingConfiguration,
)
from svp_diffusers.training.denoiser.image_stage import train_image
from svp_diffusers.training.denoiser.style_adapter_stage import train_style_adapter
from training_runs import check_resumption, read_metrics

UNET = "unet/diffusion_pytorch_model.safetensors"
OPTIONS: dict[str, Any] = {
    "clips_per_batch": 4,
    "frames_per_clip": 2,
    "validation_clips": 2,
    "learning_rate": 2e-3,
    "warmup_steps": 2,
    "log_every": 1,
}


@pytest.fixture(scope="module")
def base(cached: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was trained without style."""
    run = tmp_path_factory.mktemp("base") / "run"
    options = {**OPTIONS, "style_dropout": 1.0, "steps": 3}
    return train_image(
        ImageTrainingConfiguration(
            data=str(cached), pipeline=str(start), output_dir=str(run), **options
        )
    )


def configure(
    base: Path, cached: Path, output: Path, **options: Any
) -> StyleAdapterTrainingConfiguration:
    paths = {"data": str(cached), "pipeline": str(base), "output_dir": str(output)}
    return StyleAdapterTrainingConfiguration(**{**paths, **OPTIONS, **options})


def test_a_base_without_style_has_learned_the_rest(base: Path, start: Path) -> None:
    before, after = load_file(start / UNET), load_file(base / UNET)
    style = get_style_weights(SVPTalkingHeadPipeline.from_pretrained(base).unet)
    assert not style[CONDITION_LAYER].any()
    assert not any(weight.any() for name, weight in style.items() if ".to_out." in name)
    for name, weight in after.items():
        untouched = "to_out" in name or name == CONDITION_LAYER
        if name in style and not untouched:
            assert torch.equal(weight, before[name]), name
    audio = after[CONDITION_LAYER][:, :32]
    assert not torch.equal(audio, before[CONDITION_LAYER][:, :32])
    assert not torch.equal(after["conv_in.weight"], before["conv_in.weight"])


def test_it_learns_and_leaves_its_base_alone(base: Path, cached: Path, tmp_path: Path) -> None:
    configuration = configure(base, cached, tmp_path / "run", steps=40, weight_decay=0.1)
    folder = train_style_adapter(configuration)
    assert folder == tmp_path / "run" / "style_adapter"
    pipe = SVPTalkingHeadPipeline.from_pretrained(base)
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    pipe.load_style_adapter(folder)  # which refuses another base
    after = pipe.unet.state_dict()
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == set(get_style_weights(pipe.unet))
    audio = pipe.unet.config.cross_attention_dim
    assert torch.equal(after[CONDITION_LAYER][:, :audio], before[CONDITION_LAYER][:, :audio])
    card = describe_folder(folder, "org/style", "style-adapter")
    assert card.base_model == base.name
    assert len(read_metrics(configuration)) == 40


def test_the_style_encoder_may_be_another(base: Path, cached: Path, tmp_path: Path) -> None:
    encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52", encoder_id="mine")
    encoder.save_pretrained(tmp_path / "encoder")
    configuration = configure(
        base, cached, tmp_path / "run", steps=1, style_encoder=str(tmp_path / "encoder")
    )
    with pytest.warns(UserWarning, match="hold no style of the pipeline's style encoder"):
        folder = train_style_adapter(configuration)
    assert StyleEncoder.from_pretrained(folder / "style_encoder").config.encoder_id == "mine"


def test_an_encoder_of_another_size_is_refused(base: Path, cached: Path, tmp_path: Path) -> None:
    encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52", style_dim=8)
    encoder.save_pretrained(tmp_path / "encoder")
    configuration = configure(
        base, cached, tmp_path / "run", style_encoder=str(tmp_path / "encoder")
    )
    with pytest.raises(ConfigurationError, match="train one with style_dim 16"):
        train_style_adapter(configuration)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_it_takes(
    base: Path, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_style_adapter(configure(base, cached, tmp_path / "run"), dry_run=True) is None
    printed = capsys.readouterr().out
    assert "estimate:" in printed
    assert "measured:" in printed
    assert not (tmp_path / "run").exists()


def test_what_trains_nothing_is_refused() -> None:
    for options, message in (
        ({"style_dropout": 1.0}, "nothing to train"),
        ({"lora_rank": 2}, "LoRA"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            StyleAdapterTrainingConfiguration(data="", pipeline="", output_dir="", **options)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(base: Path, cached: Path, tmp_path: Path) -> None:
    options = {"steps": 12, "checkpoint_every": 3}
    whole, broken = (configure(base, cached, tmp_path / n, **options) for n in ("whole", "broken"))
    check_resumption("style-adapter", whole, broken, "style_adapter")
