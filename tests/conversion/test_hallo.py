"""Hallo, converted, computes what the published modules compute; each trap would be seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from parity import (
    RUN_TOLERANCE,
    TIMESTEPS,
    TOLERANCE,
    Golden,
    denoise,
    difference,
    use_stock_motion_norms,
)
from torch.nn import functional as F
from transformers import Wav2Vec2FeatureExtractor

from svp_diffusers.conversion.hallo import (
    convert_audio_projector,
    convert_identity_projector,
    convert_reference_unet,
    convert_temporal_unet,
    convert_wav2vec2,
    split_parts,
)
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.temporal_unet_svp import (
    MotionModule,
    PortraitTransformer,
    RegionalAudio,
    TemporalUNet,
)

HEARD = slice(10, 15)  # the frames whose audio the single predictions hear
CLIP = 16
SETTINGS = {"1_1_1": (1.0, 1.0, 1.0), "05_08_13": (0.5, 0.8, 1.3)}
OWN = (0, 0, 0, 1, 1, 1)  # tokens of the six pictures, each read with its own half's
ALTERNATING = (0, 1, 0, 1, 0, 1)  # as published: repeated cyclically

Features = dict[str, torch.Tensor]


class Hallo(Golden):
    """The converted components and what they make of the golden inputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.parts = split_parts(self.weights("net.pth"))
        self.unet = self.convert_unet()
        self.reference = convert_reference_unet(self.parts["reference_unet"], self.unet_config)
        self.guider = convert_head_guider(self.parts["face_locator"])
        self.identity = convert_identity_projector(self.parts["imageproj"])
        self.audio = convert_audio_projector(self.parts["audioproj"])
        self.wav2vec = convert_wav2vec2(folder / "wav2vec2-base-960h")
        embedding = self.io["face_embedding"]
        # (2, tokens, width): of the unconditional and the conditional half
        self.tokens = self.identity(torch.cat([torch.zeros_like(embedding), embedding]))
        self.face = self.guider(self.io["face_region"][:, :, None])
        self.masks = self.read_masks()
        self.features = self.read(self.io["reference_latents"])

    def convert_unet(self) -> TemporalUNet:
        return convert_temporal_unet(
            self.parts["denoising_unet"], self.unet_config, motion_num_attention_heads=4
        )

    def read_masks(self, order: tuple[str, ...] = ("full", "face", "lip")) -> list[torch.Tensor]:
        """Masks (1, regions, height, width) of the four levels."""
        levels = []
        for level, size in enumerate((16, 8, 4, 2)):
            regions = [self.io[f"mask_{name}_{level}"] for name in order]
            levels.append(torch.stack(regions, dim=1).unflatten(2, (size, size)))
        return levels

    def read(self, latents: torch.Tensor, tokens: tuple[int, ...] = ALTERNATING) -> Features:
        """Features of portrait and two earlier frames, for the unconditional half, then again."""
        return self.reference(torch.cat([latents, latents]), self.tokens[list(tokens)])

    def predict(
        self,
        latents: torch.Tensor,
        timestep: Any,
        audio_tokens: torch.Tensor,
        features: Features,
        scales: tuple[float, float, float] = (1.0, 1.0, 1.0),
        masks: list[torch.Tensor] | None = None,
        alternate: bool = True,
        null_tokens: torch.Tensor | None = None,
        unet: TemporalUNet | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        unet, masks = unet or self.unet, masks or self.masks
        frames = latents.shape[2]
        portraits = [0 if alternate and (frames + each) % 2 == 0 else 3 for each in range(frames)]
        null = unet(
            latents,
            timestep,
            self.tokens[:1] if null_tokens is None else null_tokens,
            context_features={name: each[None, 1:3] for name, each in features.items()},
            regional_audio=RegionalAudio(torch.zeros_like(audio_tokens), masks, scales),
        ).sample
        full = unet(
            latents,
            timestep,
            self.tokens[1:],
            reference_features={name: each[portraits] for name, each in features.items()},
            context_features={name: each[None, 4:6] for name, each in features.items()},
            regional_audio=RegionalAudio(audio_tokens, masks, scales),
            head_features=self.face.expand(-1, -1, frames, -1, -1),
        ).sample
        return null, full

    def predict_golden(self, timestep: int = 401, **changes: Any) -> torch.Tensor:
        given = {
            "audio_tokens": self.io["audio_tokens"][HEARD],
            "features": self.features,
            **changes,
        }
        return torch.cat(self.predict(self.io["latents"], timestep, **given))

    def denoise_clip(
        self, clip: int, reference_latents: torch.Tensor, guidance: float = 3.5, **scheduler: Any
    ) -> torch.Tensor:
        """Three steps of the published inference, of one clip."""
        features = self.read(reference_latents)
        span = slice(CLIP * clip, CLIP * (clip + 1))
        return denoise(
            lambda latents, timestep, window: self.predict(
                latents, timestep, self.io["audio_tokens"][span], features
            ),
            self.io["run_noise"][:, :, span],
            DDIMScheduler(**{**self.modules["noise_scheduler_kwargs"], **scheduler}),
            guidance,
            lambda step: [[*range(CLIP)]],
        )


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def golden(real_data: Path) -> Hallo:
    return Hallo(real_data / "parity" / "hallo")


def normalise(golden: Hallo) -> torch.Tensor:
    samples = (golden.io["waveform_int16"].float() / 32768).numpy()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(golden.folder / "wav2vec2-base-960h")
    values: torch.Tensor = extractor(samples, sampling_rate=16000, return_tensors="pt").input_values
    return values


def test_what_wav2vec_hears(golden: Hallo) -> None:
    values = normalise(golden)
    padded = F.pad(values, (0, len(golden.io["wav2vec_input"]) - values.shape[1]))
    assert difference(padded[0], golden.io["wav2vec_input"]) < TOLERANCE
    extracted = golden.wav2vec.extract(values, num_frames=24, fps=25)
    assert difference(extracted[0], golden.io["wav2vec_features"]) < TOLERANCE
    states = golden.wav2vec.encode(extracted)
    assert difference(states, golden.io["wav2vec_states"]) < TOLERANCE


def test_audio_tokens(golden: Hallo) -> None:
    assert golden.io["audio_length"] == 24
    windows = golden.wav2vec(normalise(golden), num_frames=24, fps=25)
    assert difference(windows, golden.io["audio_windows"][:24]) < TOLERANCE
    assert difference(golden.audio(windows), golden.io["audio_tokens"][:24]) < TOLERANCE
    everything = golden.wav2vec(normalise(golden), num_frames=32, fps=25)
    assert difference(everything, golden.io["audio_windows"]) < TOLERANCE
    assert difference(golden.audio(everything), golden.io["audio_tokens"]) < TOLERANCE


def test_identity_tokens(golden: Hallo) -> None:
    null, own = golden.tokens.split(1)
    assert difference(own, golden.io["identity_tokens"]) < TOLERANCE
    assert difference(null, golden.io["identity_tokens_unconditional"]) < TOLERANCE


def test_face_features(golden: Hallo) -> None:
    assert difference(golden.face, golden.io["face_features"]) < TOLERANCE


def test_reference_features(golden: Hallo) -> None:
    for name, expected in golden.reference_features().items():
        assert difference(golden.features[name], expected) < TOLERANCE


@pytest.mark.parametrize("timestep", TIMESTEPS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_prediction(golden: Hallo, setting: str, timestep: int) -> None:
    prediction = golden.predict_golden(timestep, scales=SETTINGS[setting])
    assert difference(prediction, golden.io[f"pred_scale_{setting}_t{timestep}"]) < TOLERANCE


@pytest.mark.slow
def test_run_clip_after_clip(golden: Hallo) -> None:
    vae = AutoencoderKL.from_pretrained(golden.folder / "vae").eval()
    factor = vae.config.scaling_factor

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        return vae.encode(pictures).latent_dist.mode() * factor

    portrait = encode(golden.io["run_portrait"])
    earlier = portrait.expand(2, -1, -1, -1)  # the portrait stands for the frames before the first
    pictures = golden.io["run_last_pictures"][0].transpose(0, 1).unflatten(0, (2, 2))
    for clip in range(2):
        reference = torch.cat([portrait, earlier])
        assert difference(reference, golden.io["run_reference_latents"][clip]) < RUN_TOLERANCE
        latents = golden.denoise_clip(clip, reference)
        expected = golden.io["run_latents"][:, :, CLIP * clip : CLIP * (clip + 1)]
        assert difference(latents, expected) < RUN_TOLERANCE
        decoded = vae.decode(latents[0, :, -2:].transpose(0, 1) / factor).sample
        last = (decoded / 2 + 0.5).clamp(0, 1)
        assert difference(last, pictures[clip]) < RUN_TOLERANCE
        earlier = encode(last * 2 - 1)


# What each mistake costs; a comparison that does not see it proves nothing.


def test_features_resampled_after_the_transformer_would_be_seen(golden: Hallo) -> None:
    padded = golden.io["wav2vec_input"][None]
    states = golden.wav2vec.encode(golden.wav2vec.encoder.feature_extractor(padded).transpose(1, 2))
    resampled = F.interpolate(
        states.permute(1, 2, 0), size=32, mode="linear", align_corners=True
    ).permute(2, 0, 1)
    offsets = torch.arange(32)[:, None] + torch.arange(-2, 3)
    tokens = golden.audio(resampled[offsets.clamp(0, 31)])
    assert difference(tokens, golden.io["audio_tokens"]) > 0.1


def published_motion(golden: Hallo) -> TemporalUNet:
    """The UNet with all motion modules of the file running."""
    unet = golden.convert_unet()
    for name, module in unet.named_modules():
        if isinstance(module, MotionModule):
            published = f"{name}.temporal_transformer.proj_out"
            module.proj_out.load_state_dict(
                {
                    kind: golden.parts["denoising_unet"][f"{published}.{kind}"]
                    for kind in ("weight", "bias")
                }
            )
    return unet


def without_context(unet: TemporalUNet) -> TemporalUNet:
    for module in unet.modules():
        if isinstance(module, (PortraitTransformer, MotionModule)):
            module.num_context_frames = 0
    return unet


MISTAKES: dict[str, Callable[[Hallo], dict[str, Any]]] = {
    "evaluation mode": lambda golden: {"unet": without_context(published_motion(golden))},
    "all motion modules": lambda golden: {"unet": published_motion(golden)},
    "no earlier frames": lambda golden: {"unet": without_context(golden.convert_unet())},
    "own tokens": lambda golden: {"features": golden.read(golden.io["reference_latents"], OWN)},
    "own portrait": lambda golden: {"alternate": False},
    "swapped masks": lambda golden: {"masks": golden.read_masks(("full", "lip", "face"))},
    "no masks": lambda golden: {"masks": [torch.ones_like(each) for each in golden.masks]},
    "scales ignored": lambda golden: {"scales": (0.5, 0.8, 1.3)},
    "zero identity": lambda golden: {"null_tokens": torch.zeros_like(golden.tokens[:1])},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_would_be_seen(golden: Hallo, mistake: str) -> None:
    prediction = golden.predict_golden(**MISTAKES[mistake](golden))
    assert difference(prediction, golden.io["pred_scale_1_1_1_t401"]) > 0.05


def test_motion_norms_over_the_clip_would_be_seen(golden: Hallo) -> None:
    unet = golden.convert_unet()
    use_stock_motion_norms(unet)
    prediction = golden.predict_golden(unet=unet)
    assert difference(prediction, golden.io["pred_scale_1_1_1_t401"]) > 0.1


@pytest.mark.parametrize(
    "mistake",
    [{"beta_schedule": "scaled_linear"}, {"guidance": 2.5}, {"earlier": "black"}],
    ids=lambda mistake: next(iter(mistake)),
)
def test_another_run_would_be_seen(golden: Hallo, mistake: dict[str, Any]) -> None:
    reference = golden.io["run_reference_latents"][0]
    if "earlier" in mistake:
        vae = AutoencoderKL.from_pretrained(golden.folder / "vae").eval()
        black = vae.encode(-torch.ones(2, 3, 128, 128)).latent_dist.mode()
        reference = torch.cat([reference[:1], black * vae.config.scaling_factor])
        mistake = {}
    latents = golden.denoise_clip(0, reference, **mistake)
    assert difference(latents, golden.io["run_latents"][:, :, :CLIP]) > 0.1


def test_every_key_is_accounted_for(golden: Hallo) -> None:
    weights = golden.weights("net.pth")
    with pytest.raises(CheckpointError, match=r"stray.key, which is of none"):
        split_parts({**weights, "stray.key": torch.zeros(1)})
    without = {key: value for key, value in weights.items() if not key.startswith("imageproj.")}
    with pytest.raises(CheckpointError, match="lacks the weights of imageproj"):
        split_parts(without)
    parts = split_parts({**weights, "denoising_unet.stray": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="unexpected stray"):
        convert_temporal_unet(parts["denoising_unet"], golden.unet_config)
    parts["reference_unet"].pop("conv_in.weight")
    with pytest.raises(CheckpointError, match=r"missing conv_in.weight"):
        convert_reference_unet(parts["reference_unet"], golden.unet_config)
    parts["audioproj"]["proj2.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"proj2.bias is \(3,\)"):
        convert_audio_projector(parts["audioproj"])
    parts["imageproj"].pop("norm.bias")
    with pytest.raises(CheckpointError, match=r"missing projection\.norm\.bias"):
        convert_identity_projector(parts["imageproj"])


def test_half_precision_files(golden: Hallo) -> None:
    halves = {key: value.half() for key, value in golden.parts["denoising_unet"].items()}
    unet = convert_temporal_unet(halves, golden.unet_config, motion_num_attention_heads=4)
    prediction = golden.predict_golden(unet=unet)
    assert difference(prediction, golden.io["pred_scale_1_1_1_t401"]) < 0.05
