"""EchoMimic, converted, computes what the published modules compute; each trap would be seen."""

from collections.abc import Callable
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
    log_mel,
    use_stock_motion_norms,
)

from svp_diffusers.conversion.echomimic import convert_reference_unet, convert_temporal_unet
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.whisper import convert_whisper
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.speech_states_svp import WhisperStates
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

FPS = 24
HEARD = slice(10, 15)  # the frames whose audio the single predictions hear


class EchoMimic(Golden):
    """The converted components and what they make of the golden inputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.scheduler_config = self.modules["noise_scheduler_kwargs"]
        self.unet = self.convert_unet()
        self.whisper = convert_whisper(folder / "whisper_tiny.pt")
        self.reference = convert_reference_unet(
            self.weights("reference_unet.pth"), self.unet_config
        )
        self.guider = convert_head_guider(self.weights("face_locator.pth"))
        self.face = self.guider(self.io["face_mask"])
        self.features = self.reference(self.io["reference_latents"])

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
        audio_tokens: torch.Tensor,
        features: dict[str, torch.Tensor] | None = None,
        audio_factor: float = 3.0,
        unconditional: dict[str, Any] | None = None,
        unet: TemporalUNet | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Unconditional and conditional prediction; a factor of 3 on the audio is theirs."""
        unet = unet or self.unet
        scale = {"audio_attention_scale": audio_factor / 3}
        face = self.face.expand(-1, -1, latents.shape[2], -1, -1)
        silence = {"encoder_hidden_states": torch.zeros_like(audio_tokens)}
        null = unet(latents, timestep, **{**silence, **scale, **(unconditional or {})}).sample
        full = unet(
            latents,
            timestep,
            audio_tokens,
            reference_features=features or self.features,
            head_features=face,
            **scale,
        ).sample
        return null, full

    def predict_golden(self, timestep: int = 401, **changes: Any) -> torch.Tensor:
        """Both predictions for the golden latents."""
        given = {"audio_tokens": self.io["audio_tokens"][HEARD], **changes}
        return torch.cat(self.predict(self.io["latents"], timestep, **given))

    def run(
        self,
        noise: str = "run_noise",
        guidance_scale: float = 2.5,
        clamp: float = 1.5,
        shift: int = 2,
        stride: int = 9,
        windows: list[list[int]] | None = None,
        **scheduler: Any,
    ) -> torch.Tensor:
        """Three steps of the published inference."""
        features = self.reference(self.io["run_reference_latents"])
        start = self.io[noise].clamp(-clamp, clamp)

        def windows_of_step(step: int) -> list[list[int]]:
            return windows or cyclic_windows(start.shape[2], 12, stride, step * shift)

        return denoise(
            lambda latents, timestep, window: self.predict(
                latents, timestep, self.io["audio_tokens"][window], features
            ),
            start,
            DDIMScheduler(**{**self.scheduler_config, **scheduler}),
            guidance_scale,
            windows_of_step,
        )


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def golden(real_data: Path) -> EchoMimic:
    return EchoMimic(real_data / "parity" / "echomimic")


def hear(golden: EchoMimic, whisper: WhisperStates, fps: float = FPS) -> torch.Tensor:
    return whisper(log_mel(golden.io["waveform_int16"]), 19, fps).flatten(1, 2)


def test_spectrogram_and_states_of_whisper(golden: EchoMimic) -> None:
    spectrogram = log_mel(golden.io["waveform_int16"])
    assert difference(spectrogram[0], golden.io["log_mel"]) < TOLERANCE
    states = golden.whisper.encode(spectrogram)
    assert difference(states, golden.io["whisper_states"]) < TOLERANCE


def test_audio_tokens(golden: EchoMimic) -> None:
    assert difference(hear(golden, golden.whisper), golden.io["audio_tokens"]) < TOLERANCE


def test_audio_tokens_of_a_recording_of_more_than_thirty_seconds(golden: EchoMimic) -> None:
    states, frames = golden.io["long_counts"].tolist()
    spectrogram = log_mel(golden.io["long_waveform_int16"])
    assert len(golden.whisper.encode(spectrogram)) == states
    tokens = golden.whisper(spectrogram, frames, FPS).flatten(1, 2)[golden.io["long_frames"]]
    assert difference(tokens, golden.io["long_audio_tokens"]) < TOLERANCE


def test_face_features(golden: EchoMimic) -> None:
    assert difference(golden.face, golden.io["face_features"]) < TOLERANCE


def test_reference_features(golden: EchoMimic) -> None:
    for name, expected in golden.reference_features().items():
        assert difference(golden.features[name], expected) < TOLERANCE


@pytest.mark.parametrize("timestep", TIMESTEPS)
@pytest.mark.parametrize("factor", [3, 1])
def test_prediction(golden: EchoMimic, factor: int, timestep: int) -> None:
    prediction = golden.predict_golden(timestep, audio_factor=factor)
    assert difference(prediction, golden.io[f"pred_ratio{factor}_t{timestep}"]) < TOLERANCE


def test_run(golden: EchoMimic) -> None:
    assert difference(golden.run(), golden.io["run_latents"]) < RUN_TOLERANCE


@pytest.mark.slow
def test_run_of_the_accelerated_weights_needs_no_scheduler_of_its_own(golden: EchoMimic) -> None:
    run = golden.run(guidance_scale=1.0)
    assert difference(run, golden.io["run_acc_latents"]) < RUN_TOLERANCE


def test_run_of_a_clip_shorter_than_a_window(golden: EchoMimic) -> None:
    run = golden.run("run_short_noise")
    assert difference(run, golden.io["run_short_latents"]) < RUN_TOLERANCE


# What each mistake costs; a comparison that does not see it proves nothing.


def test_the_norm_after_the_last_state_would_be_seen(golden: EchoMimic) -> None:
    states = golden.whisper.encode(log_mel(golden.io["waveform_int16"]))
    assert difference(states[:, -1], golden.io["whisper_after_ln_post"]) > 0.1


def test_a_window_moved_by_a_state_would_be_seen(golden: EchoMimic) -> None:
    moved = convert_whisper(golden.folder / "whisper_tiny.pt")
    moved.register_to_config(states_before=5, states_after=5)
    assert difference(hear(golden, moved), golden.io["audio_tokens"]) > 0.1


def test_25_frames_a_second_would_be_seen(golden: EchoMimic) -> None:
    assert difference(hear(golden, golden.whisper, 25), golden.io["audio_tokens"]) > 0.1


def test_silence_before_the_spectrogram_would_be_seen(golden: EchoMimic) -> None:
    padded = log_mel(golden.io["waveform_int16"], padding="max_length")
    tokens = golden.whisper(padded, 19, FPS).flatten(1, 2)
    assert difference(tokens, golden.io["audio_tokens"]) > 0.1


def test_another_factor_on_the_audio_would_be_seen(golden: EchoMimic) -> None:
    prediction = golden.predict_golden(audio_factor=1)
    assert difference(prediction, golden.io["pred_ratio3_t401"]) > 0.1


def test_another_reference_feature_would_be_seen(golden: EchoMimic) -> None:
    features = {}
    blocks = {
        name: module.transformer_blocks[0]
        for name, module in golden.reference.named_modules()
        if hasattr(module, "transformer_blocks")
    }
    hooks = [
        block.norm3.register_forward_hook(
            lambda module, given, output, name=name: features.update({name: output})
        )
        for name, block in blocks.items()
    ]
    golden.reference(golden.io["reference_latents"])
    for hook in hooks:
        hook.remove()
    prediction = golden.predict_golden(features=features)
    assert difference(prediction, golden.io["pred_ratio3_t401"]) > 0.1


@pytest.mark.parametrize("condition", ["reference_features", "head_features"])
def test_a_condition_in_the_unconditional_half_would_be_seen(
    golden: EchoMimic, condition: str
) -> None:
    kept = {
        "reference_features": golden.features,
        "head_features": golden.face.expand(-1, -1, 5, -1, -1),
    }
    prediction = golden.predict_golden(unconditional={condition: kept[condition]})
    assert difference(prediction, golden.io["pred_ratio3_t401"]) > 0.1


def test_a_skipped_audio_attention_would_be_seen(golden: EchoMimic) -> None:
    prediction = golden.predict_golden(unconditional={"audio_attention_scale": 0.0})
    assert difference(prediction, golden.io["pred_ratio3_t401"]) > 0.1


def test_motion_norms_over_the_clip_would_be_seen(golden: EchoMimic) -> None:
    unet = golden.convert_unet()
    use_stock_motion_norms(unet)
    prediction = golden.predict_golden(unet=unet)
    assert difference(prediction, golden.io["pred_ratio3_t401"]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake",
    [{"stride": 8}, {"windows": [[*range(12)], [*range(7, 19)]]}],
    ids=lambda mistake: next(iter(mistake)),
)
def test_other_windows_would_be_seen(golden: EchoMimic, mistake: dict[str, Any]) -> None:
    assert difference(golden.run(**mistake), golden.io["run_latents"]) > 0.1


@pytest.mark.parametrize(
    "mistake",
    [
        {"shift": 0},
        {"clamp": 10.0},
        {"beta_schedule": "scaled_linear"},
        {"rescale_betas_zero_snr": False},
        {"prediction_type": "epsilon"},
        {"timestep_spacing": "leading"},
        {"guidance_scale": 3.5},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
def test_another_run_would_be_seen(golden: EchoMimic, mistake: dict[str, Any]) -> None:
    run = golden.run("run_short_noise", **mistake)
    assert not difference(run, golden.io["run_short_latents"]) < 0.1  # epsilon gives no number


@pytest.mark.parametrize("part", ["denoising_unet.pth", "motion_module.pth", "reference_unet.pth"])
@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_every_key_is_accounted_for(golden: EchoMimic, part: str, change: str) -> None:
    weights = golden.weights(part)
    name = next(key for key in weights if key.endswith("proj_in.weight"))
    if change == "missing":
        said = f"missing {name.replace('temporal_transformer.', '')}"
        del weights[name]
    elif change == "unexpected":
        said = "unexpected motion_modules.stray" if "motion" in part else "unexpected stray"
        weights["motion_modules.stray" if "motion" in part else "stray"] = torch.zeros(1)
    else:
        said = "is (3,)"
        weights[name] = torch.zeros(3)
    convert: dict[str, Callable[[], Any]] = {
        "denoising_unet.pth": lambda: golden.convert_unet(weights=weights),
        "motion_module.pth": lambda: golden.convert_unet(motion_weights=weights),
        "reference_unet.pth": lambda: convert_reference_unet(weights, golden.unet_config),
    }
    with pytest.raises(CheckpointError) as caught:
        convert[part]()
    assert said in str(caught.value)


def test_a_file_of_another_network_is_refused(golden: EchoMimic) -> None:
    with pytest.raises(CheckpointError, match=r"missing .*norm2|unexpected .*norm2"):
        golden.convert_unet(weights=golden.weights("reference_unet.pth") | _attention(golden))
    with pytest.raises(CheckpointError, match="not a keypoint guider"):
        convert_head_guider(golden.weights("motion_module.pth"))
    with pytest.raises(CheckpointError, match="model_state_dict"):
        convert_whisper(golden.folder / "face_locator.pth")


def _attention(golden: EchoMimic) -> dict[str, torch.Tensor]:
    weights = golden.weights("denoising_unet.pth")
    name = next(key for key in weights if key.endswith("attn2.to_k.weight"))
    return {name: weights[name]}


def test_half_precision_files(golden: EchoMimic) -> None:
    halves = {key: value.half() for key, value in golden.weights("denoising_unet.pth").items()}
    prediction = golden.predict_golden(unet=golden.convert_unet(weights=halves))
    assert difference(prediction, golden.io["pred_ratio3_t401"]) < 0.05
