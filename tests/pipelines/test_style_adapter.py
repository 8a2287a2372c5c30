"""A style adapter puts a style on a checkpoint without one, as strong as asked, and off again."""

import copy
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline, initialise
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    StyleAdapterError,
    fingerprint_base,
    get_style_weights,
)

Pipeline = SVPTalkingHeadPipeline


def make_video(pipe: Pipeline, style: Any = None, **options: Any) -> np.ndarray:
    random = np.random.default_rng(0)
    frames: np.ndarray = pipe(
        random.random((128, 128, 3), dtype=np.float32),
        random.standard_normal(6400).astype(np.float32) / 10,
        style,
        num_inference_steps=2,
        context_length=8,
        context_overlap=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **options,
    ).frames[0]
    return frames


@pytest.fixture(scope="module")
def untouched() -> Pipeline:
    """A checkpoint with adaptive norms whose style adds nothing, as before it is trained."""
    pipe = build_random_pipeline()
    pipe.set_progress_bar_config(disable=True)
    config = {name: value for name, value in pipe.unet.config.items() if not name.startswith("_")}
    unet = TemporalUNet.from_config({**config, "adaptive_norm": True})
    initialise(unet, torch.Generator().manual_seed(0))
    for name, weight in get_style_weights(unet).items():
        if "to_out" in name or "condition_embedding" in name:
            weight.zero_()
    pipe.register_modules(unet=unet.eval())
    return pipe


@pytest.fixture
def base(untouched: Pipeline) -> Pipeline:
    return copy.deepcopy(untouched)


@pytest.fixture(scope="module")
def saved(untouched: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style for it, with an encoder and a bank of its own."""
    trained, folder = copy.deepcopy(untouched), tmp_path_factory.mktemp("saved")
    generator = torch.Generator().manual_seed(1)
    for weight in get_style_weights(trained.unet).values():
        weight.normal_(std=0.3, generator=generator)
    encoder = StyleEncoder.tiny(audio_dim=32, style_dim=16)
    initialise(encoder, generator)
    encoder.add_style("merry", StyleDistribution(torch.full((16,), 2.0), torch.ones(16)))
    trained.register_modules(style_encoder=encoder.eval())
    trained.save_style_adapter(folder, base_model="org/base")
    return folder


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, which may be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def test_it_changes_the_video_as_much_as_its_scale_says(base: Pipeline, adapter: Path) -> None:
    without = make_video(base)
    base.load_style_adapter(adapter)
    assert "merry" in base.style_encoder.style_bank
    full = make_video(base, "merry", style_temperature=0.0)
    assert not np.array_equal(full, make_video(base, style_temperature=0.0))
    base.set_style_adapter_scale(0.5)
    half = make_video(base, "merry", style_temperature=0.0)
    base.set_style_adapter_scale(0.0)
    assert np.array_equal(make_video(base, "merry"), without)
    whole = np.abs(full - without).mean()
    assert 0 < np.abs(half - without).mean() < whole
    assert 0 < np.abs(half - full).mean() < whole


def test_it_leaves_no_trace_when_it_is_unloaded(base: Pipeline, adapter: Path) -> None:
    weights = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    encoder, without = base.style_encoder, make_video(base)
    base.load_style_adapter(adapter)
    base.set_style_adapter_scale(0.5)
    base.load_style_adapter(adapter)  # in place of the first
    assert base.style_adapter_scale == 1
    base.unload_style_adapter()
    assert base.style_encoder is encoder
    assert all(torch.equal(weights[name], w) for name, w in base.unet.state_dict().items())
    assert np.array_equal(make_video(base), without)
    with pytest.raises(ValueError, match="load_style_adapter"):
        base.set_style_adapter_scale(0.5)


def test_calls_and_scales_of_two_pipelines_do_not_meet(base: Pipeline, adapter: Path) -> None:
    """The scale is the pipeline's, not a module's."""
    base.load_style_adapter(adapter)
    other = Pipeline.from_pipe(base)
    other.set_progress_bar_config(disable=True)
    strong = make_video(other)
    base.set_style_adapter_scale(0.0)
    assert np.array_equal(make_video(other), strong)
    assert not np.array_equal(make_video(base), strong)


def test_a_pipeline_saved_with_it_has_the_style(
    base: Pipeline, adapter: Path, tmp_path: Path
) -> None:
    base.load_style_adapter(adapter)
    base.save_pretrained(tmp_path / "whole")
    loaded = Pipeline.from_pretrained(tmp_path / "whole")
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(make_video(loaded), make_video(base))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_knows_its_base_in_any_precision(
    base: Pipeline, adapter: Path, dtype: torch.dtype
) -> None:
    base.unet.to(dtype)
    base.load_style_adapter(adapter)
    assert get_style_weights(base.unet)["style_projection.norm.weight"].dtype == dtype


def test_it_knows_its_base_under_a_lora(base: Pipeline, adapter: Path) -> None:
    from peft import LoraConfig

    base.unet.add_adapter(LoraConfig(r=1, target_modules=["to_q", "to_out.0"]))
    base.load_style_adapter(adapter)
    trained = load_file(adapter / ADAPTER_WEIGHTS)
    assert all(torch.equal(trained[k], w) for k, w in get_style_weights(base.unet).items())


def test_another_base_is_refused(base: Pipeline, adapter: Path) -> None:
    with torch.no_grad():
        base.unet.conv_in.weight[0, 0, 0, 0] *= -1
    weights = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    with pytest.raises(StyleAdapterError, match="trained on org/base"):
        base.load_style_adapter(adapter)
    assert all(torch.equal(weights[name], w) for name, w in base.unet.state_dict().items())


def test_the_style_is_no_part_of_the_base(base: Pipeline) -> None:
    before = fingerprint_base(base.unet)
    for weight in get_style_weights(base.unet).values():
        weight.neg_()
    assert fingerprint_base(base.unet) == before


def test_it_is_small_and_names_its_base_but_no_place(adapter: Path) -> None:
    names = {path.relative_to(adapter).as_posix() for path in adapter.rglob("*") if path.is_file()}
    encoder = {"style_encoder/config.json", "style_encoder/diffusion_pytorch_model.safetensors"}
    assert names == {ADAPTER_WEIGHTS, ADAPTER_CONFIG, *encoder}
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    parts = ("attn_style", "norm_style", "style_projection", "condition_embedding")
    assert all(any(part in name for part in parts) for name in weights)
    assert weights["condition_embedding.linear_1.weight"].shape[1] == 32  # the style's columns
    assert json.loads((adapter / ADAPTER_CONFIG).read_text())["base_model"] == "org/base"


def test_the_base_is_called_what_it_was_loaded_as(base: Pipeline, tmp_path: Path) -> None:
    base.save_pretrained(tmp_path / "my-base")
    Pipeline.from_pretrained(tmp_path / "my-base").save_style_adapter(tmp_path / "adapter")
    for name in (ADAPTER_CONFIG, "style_encoder/config.json"):
        assert str(tmp_path) not in (tmp_path / "adapter" / name).read_text()
    assert json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())["base_model"] == (
        "my-base"
    )


def lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / ADAPTER_WEIGHTS)
    weights.pop("style_projection.norm.weight")
    save_file(weights, folder / ADAPTER_WEIGHTS)


def reshape_a_weight(folder: Path) -> None:
    weights = load_file(folder / ADAPTER_WEIGHTS)
    weights["style_projection.norm.weight"] = torch.zeros(3)
    save_file(weights, folder / ADAPTER_WEIGHTS)


def give_another_encoder(folder: Path) -> None:
    StyleEncoder.tiny(audio_dim=32, style_dim=8).save_pretrained(folder / "style_encoder")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda folder: (folder / ADAPTER_CONFIG).unlink(), "lacks style_adapter"),
    "no weights": (lambda folder: (folder / ADAPTER_WEIGHTS).unlink(), "lacks style_adapter"),
    "not JSON": (lambda folder: (folder / ADAPTER_CONFIG).write_text("{"), "cannot be read"),
    "another description": (
        lambda folder: (folder / ADAPTER_CONFIG).write_text("{}"),
        "not the description",
    ),
    "no base": (
        lambda folder: (folder / ADAPTER_CONFIG).write_text('{"format": "svp-style-adapter"}'),
        "which checkpoint",
    ),
    "cut off": (
        lambda folder: (folder / ADAPTER_WEIGHTS).write_bytes(
            (folder / ADAPTER_WEIGHTS).read_bytes()[:-9]
        ),
        "cannot be read",
    ),
    "a weight less": (lose_a_weight, "first style_projection.norm.weight"),
    "another shape": (reshape_a_weight, "first style_projection.norm.weight"),
    "no encoder": (
        lambda folder: (folder / "style_encoder/config.json").unlink(),
        "no style encoder",
    ),
    "an encoder of another size": (give_another_encoder, "gives 8 numbers"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_refused_and_nothing_changes(
    base: Pipeline, adapter: Path, damage: str
) -> None:
    harm, message = DAMAGE[damage]
    harm(adapter)
    weights = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    encoder = base.style_encoder
    with pytest.raises(StyleAdapterError, match=message):
        base.load_style_adapter(adapter)
    assert base.style_encoder is encoder
    assert all(torch.equal(weights[name], w) for name, w in base.unet.state_dict().items())


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(base: Pipeline, adapter: Path, scale: float) -> None:
    base.load_style_adapter(adapter)
    with pytest.raises(ValueError, match="0 or more"):
        base.set_style_adapter_scale(scale)


def test_an_offloaded_pipeline_is_refused(base: Pipeline, adapter: Path) -> None:
    base.register_modules(unet=base.unet.to("meta"))
    with pytest.raises(ValueError, match="enable offloading then"):
        base.load_style_adapter(adapter)


def test_head_motion_of_another_style_encoder_is_named(
    base: Pipeline, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base.register_modules(head_motion=HeadMotionModel(audio_dim=32, style_dim=16))
    logging.getLogger("diffusers").propagate = True
    base.style_encoder.register_to_config(encoder_id="own")
    base.load_style_adapter(adapter)
    assert "another style encoder" in caplog.text
