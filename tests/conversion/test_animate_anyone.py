"""AnimateAnyone, converted, computes what the published modules compute; traps would be seen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from parity import (
    RUN_TOLERANCE,
    TIMESTEPS,
    TOLERANCE,
    Golden,
    cyclic_windows,
    denoise,
    difference,
    use_stock_motion_norms,
)

from svp_diffusers.conversion.animate_anyone import convert_reference_unet, convert_temporal_unet
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.temporal_unet_svp import TemporalUNet


class AnimateAnyone(Golden):
    """The converted components and what they make of the golden inputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.unet = self.convert_unet()
        self.reference = convert_reference_unet(
            self.weights("reference_unet.pth"), self.unet_config
        )
        self.guider = convert_head_guider(self.weights("pose_guider.pth"), keypoint_layout="pose")
        self.clip = self.io["clip_embedding"][:, None]  # (1, 1, width): one token
        self.pose = self.guider(self.io["pose_images"])
        self.features = self.reference(self.io["reference_latents"], self.clip)

    def convert_unet(self, **changes: Any) -> TemporalUNet:
        arguments = {
            "weights": self.weights("denoising_unet.pth"),
            "unet_config": self.unet_config,
            "motion_weights": self.weights("motion_module.pth"),
            "motion_num_attention_heads": 4,
        }
        return convert_temporal_unet(**{**arguments, **changes})

    def predict(
        self,
        latents: torch.Tensor,
        timestep: Any,
        pose: torch.Tensor,
        features: dict[str, torch.Tensor],
        unconditional: dict[str, Any] | None = None,
        unet: TemporalUNet | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        unet = unet or self.unet
        null = {"encoder_hidden_states": torch.zeros_like(self.clip), "head_features": pose}
        full = {**null, "encoder_hidden_states": self.clip, "reference_features": features}
        return (
            unet(latents, timestep, **{**null, **(unconditional or {})}).sample,
            unet(latents, timestep, **full).sample,
        )

    def predict_golden(self, timestep: int = 401, **changes: Any) -> torch.Tensor:
        given = {"pose": self.pose, "features": self.features, **changes}
        return torch.cat(self.predict(self.io["latents"], timestep, **given))

    def run(
        self,
        guidance_scale: float = 3.5,
        shift: int = 0,
        windows: list[list[int]] | None = None,
        **scheduler: Any,
    ) -> torch.Tensor:
        """Three steps of the published inference."""
        features = self.reference(self.io["run_reference_latents"], self.clip)
        pose, noise = self.io["run_pose_features"], self.io["run_noise"]
        return denoise(
            lambda latents, timestep, window: self.predict(
                latents, timestep, pose[:, :, window], features
            ),
            noise,
            DDIMScheduler(**{**self.modules["noise_scheduler_kwargs"], **scheduler}),
            guidance_scale,
            lambda step: windows or cyclic_windows(noise.shape[2], 24, 20, step * shift),
        )


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def golden(real_data: Path) -> AnimateAnyone:
    return AnimateAnyone(real_data / "parity" / "animate_anyone")


def test_pose_features(golden: AnimateAnyone) -> None:
    assert difference(golden.pose, golden.io["pose_features"]) < TOLERANCE


def test_reference_features(golden: AnimateAnyone) -> None:
    for name, expected in golden.reference_features().items():
        assert difference(golden.features[name], expected) < TOLERANCE


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_prediction(golden: AnimateAnyone, timestep: int) -> None:
    prediction = golden.predict_golden(timestep)
    assert difference(prediction, golden.io[f"pred_t{timestep}"]) < TOLERANCE


@pytest.mark.slow  # by default it is tested through the pipeline
def test_run(golden: AnimateAnyone) -> None:
    assert difference(golden.run(), golden.io["run_latents"]) < RUN_TOLERANCE


# What each mistake costs; a comparison that does not see it proves nothing.


@pytest.mark.parametrize("condition", ["head_features", "encoder_hidden_states"])
def test_another_unconditional_half_would_be_seen(golden: AnimateAnyone, condition: str) -> None:
    mistakes = {"head_features": None, "encoder_hidden_states": golden.clip}
    prediction = golden.predict_golden(unconditional={condition: mistakes[condition]})
    assert difference(prediction, golden.io["pred_t401"]) > 0.1


def test_a_reference_net_without_the_portraits_token_would_be_seen(golden: AnimateAnyone) -> None:
    features = golden.reference(golden.io["reference_latents"])
    prediction = golden.predict_golden(features=features)
    assert difference(prediction, golden.io["pred_t401"]) > 0.1


def test_a_reference_net_without_text_attention_would_be_seen(golden: AnimateAnyone) -> None:
    reference = convert_reference_unet(golden.weights("reference_unet.pth"), golden.unet_config)
    for name, weight in reference.named_parameters():
        if ".attn2.to_out.0." in name:
            weight.zero_()
    features = reference(golden.io["reference_latents"], golden.clip)
    prediction = golden.predict_golden(features=features)
    assert difference(prediction, golden.io["pred_t401"]) > 0.1


def test_the_feature_of_another_norm_would_be_seen(golden: AnimateAnyone) -> None:
    reference = type(golden.reference).from_config(
        {**golden.reference.config, "feature": "cross_attention"}
    )
    reference.load_state_dict(golden.reference.state_dict())
    features = reference(golden.io["reference_latents"], golden.clip)
    prediction = golden.predict_golden(features=features)
    assert difference(prediction, golden.io["pred_t401"]) > 0.1


def test_motion_norms_over_the_clip_would_be_seen(golden: AnimateAnyone) -> None:
    unet = golden.convert_unet()
    use_stock_motion_norms(unet)
    assert difference(golden.predict_golden(unet=unet), golden.io["pred_t401"]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake",
    [
        {"shift": 2},
        {"windows": [[*range(24)], [*range(2, 26)]]},
        {"beta_schedule": "scaled_linear"},
        {"timestep_spacing": "leading"},
        {"guidance_scale": 2.5},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
def test_another_run_would_be_seen(golden: AnimateAnyone, mistake: dict[str, Any]) -> None:
    assert difference(golden.run(**mistake), golden.io["run_latents"]) > 0.1


def test_every_key_is_accounted_for(golden: AnimateAnyone) -> None:
    weights = golden.weights("denoising_unet.pth")
    weights["stray"] = weights.pop("conv_in.weight")
    with pytest.raises(CheckpointError, match=r"unexpected stray\s+missing conv_in.weight"):
        golden.convert_unet(weights=weights)
    weights = golden.weights("reference_unet.pth")
    weights["stray"] = weights.pop("conv_in.weight")
    with pytest.raises(CheckpointError, match=r"unexpected stray\s+missing conv_in.weight"):
        convert_reference_unet(weights, golden.unet_config)
