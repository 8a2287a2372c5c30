"""The converted architecture is, in numbers, the published one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNetMotionModel
from safetensors.torch import load_file
from torch import nn

from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.state_dicts import read_weights
from svp_diffusers.conversion.v_express import (
    convert_audio_projector,
    convert_reference_unet,
    convert_temporal_unet,
)
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import MotionModule, TemporalUNet

TOLERANCE = 1e-4  # fp32 with other kernels and summation orders; the outputs have a std near 1
SETTINGS = {"w1_1": (1.0, 1.0), "w095_3": (0.95, 3.0)}  # (reference, audio) attention scale


class Golden:
    """The golden tensors and the components converted from the weights beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.io = load_file(folder / "io.safetensors")
        self.unet_config = json.loads((folder / "unet_config.json").read_text())
        modules = json.loads((folder / "modules.json").read_text())
        self.motion_heads = modules["unet_additional_kwargs"]["motion_module_kwargs"][
            "num_attention_heads"
        ]
        self.dim_head = modules["audio_projection"]["dim_head"]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return read_weights(self.folder / f"{name}.bin")

    def unet(self, **changes: Any) -> TemporalUNet:
        arguments: dict[str, Any] = {
            "weights": self.weights("denoising_unet"),
            "motion_weights": self.weights("motion_module"),
        }
        return convert_temporal_unet(
            **{**arguments, **changes},
            unet_config=self.unet_config,
            motion_num_attention_heads=self.motion_heads,
        ).eval()

    def reference(self) -> ReferenceUNet:
        return convert_reference_unet(self.weights("reference_net"), self.unet_config).eval()

    def projector(self) -> AudioProjector:
        return convert_audio_projector(self.weights("audio_projection"), self.dim_head).eval()

    def guider(self) -> HeadKeypointGuider:
        return convert_head_guider(self.weights("v_kps_guider")).eval()


@pytest.fixture(scope="module")
def golden(real_data: Path) -> Golden:
    return Golden(real_data / "vexpress_parity")


@pytest.fixture(scope="module")
def conditions(golden: Golden) -> dict[str, Any]:
    """What the denoising UNet is given, made by our converted components."""
    with torch.no_grad():
        return {
            "encoder_hidden_states": golden.projector()(golden.io["wav2vec_windows"]),
            "reference_features": golden.reference()(golden.io["reference_latents"]),
            "head_features": golden.guider()(golden.io["kps_images"]),
        }


def predict(
    unet: TemporalUNet,
    golden: Golden,
    conditions: dict[str, Any],
    timestep: int,
    scales: tuple[float, float] = (1.0, 1.0),
    style: torch.Tensor | None = None,
) -> torch.Tensor:
    """Both halves of guidance, unconditional first, as the golden predictions."""
    options = {"reference_attention_scale": scales[0], "audio_attention_scale": scales[1]}
    audio_tokens = conditions["encoder_hidden_states"]
    latents = golden.io["latents"]
    with torch.no_grad():
        unconditional = unet(latents, timestep, torch.zeros_like(audio_tokens), **options)
        conditional = unet(latents, timestep, style=style, **conditions, **options)
    return torch.cat([unconditional.sample, conditional.sample])


def test_audio_tokens(golden: Golden, conditions: dict[str, Any]) -> None:
    difference = conditions["encoder_hidden_states"] - golden.io["audio_tokens"]
    assert difference.abs().max() < TOLERANCE


def test_head_features(golden: Golden, conditions: dict[str, Any]) -> None:
    assert (conditions["head_features"] - golden.io["kps_features"]).abs().max() < TOLERANCE


@pytest.mark.parametrize("timestep", [999, 401, 1])
@pytest.mark.parametrize("setting", SETTINGS)
def test_prediction(
    golden: Golden, conditions: dict[str, Any], setting: str, timestep: int
) -> None:
    prediction = predict(golden.unet(), golden, conditions, timestep, SETTINGS[setting])
    expected = golden.io[f"pred_{setting}_t{timestep}"]
    assert prediction.shape == expected.shape
    assert (prediction - expected).abs().max() < TOLERANCE


def test_the_stock_motion_norm_would_be_seen(golden: Golden, conditions: dict[str, Any]) -> None:
    unet = golden.unet()
    for module in unet.modules():
        if isinstance(module, MotionModule):
            stock = nn.GroupNorm(module.norm.num_groups, module.norm.num_channels, eps=1e-6)
            stock.load_state_dict(module.norm.state_dict())
            module.norm = stock
    prediction = predict(unet, golden, conditions, 401)
    assert (prediction - golden.io["pred_w1_1_t401"]).abs().max() > 1e-2


def test_untrained_style_changes_no_bit(golden: Golden, conditions: dict[str, Any]) -> None:
    unet = golden.unet()
    generator = torch.Generator().manual_seed(0)
    frames = golden.io["latents"].shape[2]
    without = predict(unet, golden, conditions, 401)
    for shape in ((1, 128), (1, frames, 128)):
        style = torch.randn(shape, generator=generator) * 10
        assert torch.equal(predict(unet, golden, conditions, 401, style=style), without)


def test_motion_modules_inside_the_unet_file(golden: Golden, conditions: dict[str, Any]) -> None:
    merged = {**golden.weights("denoising_unet"), **golden.weights("motion_module")}
    inside = golden.unet(weights=merged, motion_weights=None)
    expected = golden.io["pred_w1_1_t401"]
    assert (predict(inside, golden, conditions, 401) - expected).abs().max() < TOLERANCE


def test_legacy_audio_layout(golden: Golden, conditions: dict[str, Any]) -> None:
    legacy = {}
    for key, value in golden.weights("denoising_unet").items():
        if ".attn2.to_" in key:
            old = key.replace(".attn2.to_out.0.", ".attn2.to_out.").replace(
                ".attn2.to_", ".attn2.processor.to_"
            )
            name, kind = old.rsplit(".", 1)
            legacy[f"{name}_aud.{kind}"] = value
            legacy[key] = torch.randn_like(value)  # the text attention that it stood beside
        else:
            legacy[key] = value
    prediction = predict(golden.unet(weights=legacy), golden, conditions, 401)
    assert (prediction - golden.io["pred_w1_1_t401"]).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("conv_in.weight"), "missing conv_in.weight"),
        (lambda weights: weights.update(stray=torch.zeros(1)), "unexpected stray"),
        (lambda weights: weights.update({"conv_in.bias": torch.zeros(3)}), "conv_in.bias is (3,)"),
    ],
)
def test_every_key_is_accounted_for(golden: Golden, change: Any, said: str) -> None:
    weights = golden.weights("denoising_unet")
    change(weights)
    with pytest.raises(CheckpointError) as caught:
        golden.unet(weights=weights)
    assert said in str(caught.value)


def test_without_motion_modules(golden: Golden) -> None:
    with pytest.raises(CheckpointError, match="no motion modules"):
        golden.unet(motion_weights=None)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"weight": Attack()}, tmp_path / "evil.bin")
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        read_weights(tmp_path / "evil.bin")
    assert "weights_only" not in str(caught.value)  # PyTorch advises to run the file
    assert not (tmp_path / "touched").exists()


def test_stock_unet_is_still_what_we_build_on() -> None:
    assert issubclass(TemporalUNet, UNetMotionModel)
