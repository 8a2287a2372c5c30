"""LatentSync, converted, computes what the published modules compute; each trap would be seen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from parity import (
    TIMESTEPS,
    TOLERANCE,
    Golden,
    difference,
    log_mel,
    use_stock_motion_norms,
)
from torch import nn

from svp_diffusers.conversion.latentsync import convert_temporal_unet
from svp_diffusers.conversion.state_dicts import read_container
from svp_diffusers.conversion.whisper import convert_whisper
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.temporal_unet_svp import ClipGroupNorm, TemporalUNet

HEARD = slice(10, 15)  # the frames whose audio the single predictions hear


class LatentSync(Golden):
    """The converted components and what they make of the golden inputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.unet = self.convert_unet()
        self.whisper = convert_whisper(folder / "whisper" / "tiny.pt")

    def convert_unet(self, stray: str | None = None) -> TemporalUNet:
        weights, _ = read_container(self.folder / "latentsync_unet.pt", "state_dict")
        if stray is not None:
            weights[stray] = weights.pop("conv_in.bias")
        return convert_temporal_unet(weights, self.unet_config, motion_num_attention_heads=4)

    def pictures(self) -> list[torch.Tensor]:
        return [self.io[name] for name in ("mask", "masked_latents", "reference_latents")]

    def predict(
        self,
        latents: torch.Tensor,
        timestep: Any,
        audio_tokens: torch.Tensor,
        pictures: torch.Tensor,
        unet: TemporalUNet | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        unet = unet or self.unet
        silence = torch.zeros_like(audio_tokens)
        return (
            unet(latents, timestep, silence, reference_latents=pictures).sample,
            unet(latents, timestep, audio_tokens, reference_latents=pictures).sample,
        )

    def predict_golden(self, timestep: int = 401, **changes: Any) -> torch.Tensor:
        given = {
            "audio_tokens": self.io["audio_tokens"][HEARD],
            "pictures": torch.cat(self.pictures(), dim=1),
            **changes,
        }
        return torch.cat(self.predict(self.io["latents"], timestep, **given))


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def golden(real_data: Path) -> LatentSync:
    return LatentSync(real_data / "parity" / "latentsync")


def test_what_whisper_hears(golden: LatentSync) -> None:
    spectrogram = log_mel(golden.io["waveform_int16"])
    assert difference(spectrogram[0], golden.io["log_mel"]) < TOLERANCE
    states = golden.whisper.encode(spectrogram)
    assert difference(states, golden.io["whisper_states"]) < TOLERANCE
    tokens = golden.whisper(spectrogram, 21, 25).flatten(1, 2)
    assert difference(tokens, golden.io["audio_tokens"]) < TOLERANCE


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_prediction(golden: LatentSync, timestep: int) -> None:
    prediction = golden.predict_golden(timestep)
    assert difference(prediction, golden.io[f"pred_t{timestep}"]) < TOLERANCE


# What each mistake costs; a comparison that does not see it proves nothing.


def test_the_norm_after_the_last_state_would_be_seen(golden: LatentSync) -> None:
    normed = convert_whisper(golden.folder / "whisper" / "tiny.pt")
    weights, _ = read_container(golden.folder / "whisper" / "tiny.pt", "model_state_dict")
    norm = nn.LayerNorm(24)
    norm.load_state_dict(
        {name: weights[f"encoder.ln_post.{name}"].float() for name in ("weight", "bias")}
    )
    states = normed.encode(log_mel(golden.io["waveform_int16"]))
    assert difference(norm(states[:, -1]), golden.io["whisper_states"][:, -1]) > 0.1
    tokens = golden.io["audio_tokens"].clone().unflatten(1, (10, 5))
    tokens[:, :, -1] = norm(tokens[:, :, -1])
    prediction = golden.predict_golden(audio_tokens=tokens.flatten(1, 2)[HEARD])
    assert difference(prediction, golden.io["pred_t401"]) > 0.05


def test_a_window_moved_by_a_state_would_be_seen(golden: LatentSync) -> None:
    moved = convert_whisper(golden.folder / "whisper" / "tiny.pt")
    moved.register_to_config(states_before=5, states_after=5)
    tokens = moved(log_mel(golden.io["waveform_int16"]), 21, 25).flatten(1, 2)
    assert difference(tokens, golden.io["audio_tokens"]) > 0.1


def test_silence_before_the_spectrogram_would_be_seen(golden: LatentSync) -> None:
    padded = log_mel(golden.io["waveform_int16"], padding="max_length")
    tokens = golden.whisper(padded, 21, 25).flatten(1, 2)
    assert difference(tokens, golden.io["audio_tokens"]) > 0.1


def test_norms_of_resnets_a_frame_would_be_seen(golden: LatentSync) -> None:
    unet = golden.convert_unet()
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D):
            for name in ("norm1", "norm2"):
                old = getattr(module, name)
                assert isinstance(old, ClipGroupNorm)
                new = nn.GroupNorm(old.num_groups, old.num_channels, old.eps)
                new.load_state_dict(old.state_dict())
                setattr(module, name, new)
    assert difference(golden.predict_golden(unet=unet), golden.io["pred_t401"]) > 0.1


def test_motion_norms_over_the_clip_would_be_seen(golden: LatentSync) -> None:
    unet = golden.convert_unet()
    use_stock_motion_norms(unet)
    assert difference(golden.predict_golden(unet=unet), golden.io["pred_t401"]) > 0.1


@pytest.mark.parametrize("mistake", ["order", "mask", "one picture"])
def test_other_pictures_would_be_seen(golden: LatentSync, mistake: str) -> None:
    mask, masked, whole = golden.pictures()
    pictures = {
        "order": [mask, whole, masked],
        "mask": [1 - mask, masked, whole],
        "one picture": [mask, masked, whole[:, :, :1].expand_as(whole)],
    }[mistake]
    prediction = golden.predict_golden(pictures=torch.cat(pictures, dim=1))
    assert difference(prediction, golden.io["pred_t401"]) > 0.1


def test_a_batch_of_clips_is_refused(golden: LatentSync) -> None:
    pair = golden.io["latents"].expand(2, -1, -1, -1, -1)
    with pytest.raises(ValueError, match="one clip"):
        golden.unet(pair, 1, golden.io["audio_tokens"][:10])


def test_every_key_is_accounted_for(golden: LatentSync) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected stray\s+missing conv_in.bias"):
        golden.convert_unet(stray="stray")
    with pytest.raises(CheckpointError, match=r"no conv_in\.weight"):
        convert_temporal_unet({"attn2.to_k.weight": torch.zeros(1, 1)}, golden.unet_config)
