"""A style adapter is trained on a frozen checkpoint, and nothing else of it changes."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperFeatureExtractor

from svp_diffusers.data.cache import cache_dataset, load_encoders
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.hub.push import describe_folder
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.speech_states_svp import WhisperStates
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import CONDITION_LAYER, get_style_weights
from svp_diffusers.talkers.synthesis import SynthesisSettings, make_clip
from svp_diffusers.training.denoiser.configuration import (
    ImageTrainingConfiguration,
    StyleAdapterTrainingConfiguration,
)
from svp_diffusers.training.denoiser.head_pictures import draw_clip, draw_heads
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
    assert card.base_model == base.parent.name  # the run's, as all call their folder `pipeline`
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
    with pytest.raises(ConfigurationError, match="no LoRA"):
        ImageTrainingConfiguration(
            data="", pipeline="", output_dir="", style_dropout=1.0, lora_rank=2
        )


@pytest.fixture(scope="module")
def echo(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `svp convert echomimic` makes them: Whisper's windows, the face's place."""
    base = SVPTalkingHeadPipeline.from_pretrained(start)
    sizes = {name: value for name, value in base.unet.config.items() if not name.startswith("_")}
    plain = {"adaptive_norm": False, "reference_channels": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = {n: v for n, v in base.reference_unet.config.items() if not n.startswith("_")}
        reference = {**reference, "feature": "self_attention", "text_attention": False}
        base.register_modules(
            unet=TemporalUNet(**{**sizes, **plain, "reference_attention": "self"}),
            reference_unet=ReferenceUNet(**reference),
            head_guider=HeadKeypointGuider(
                16, block_out_channels=(8, 8, 16, 16), keypoint_layout="face"
            ),
            audio_encoder=WhisperStates(d_model=32, encoder_layers=1, encoder_attention_heads=2),
            feature_extractor=WhisperFeatureExtractor(),
            audio_projector=StateTokens(num_states=2),
            style_encoder=StyleEncoder.tiny(
                expression_dim=52,
                expression_space="arkit52",
                audio_dim=80,
                audio_features="log-mel-80",
            ),
        )
    folder = tmp_path_factory.mktemp("echo")
    base.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def echo_cached(echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn, folder = tmp_path_factory.mktemp("drawn"), tmp_path_factory.mktemp("cached")
    settings = SynthesisSettings(seed=5, size=32, fps=Fraction(20), seconds=1.0)
    with ShardWriter(drawn) as writer:
        for index in (*range(8), *range(32, 34)):
            writer.write(encode_clip(make_clip(settings, index)))
    encoders = load_encoders(echo, torch.device("cpu"))
    cache_dataset(ClipDataset(str(drawn)), folder, lambda: encoders, batch_size=20)
    return folder


def test_a_base_that_hears_windows_gets_a_style(
    echo: Path, echo_cached: Path, tmp_path: Path
) -> None:
    clip = ClipDataset(str(echo_cached), "train")[0].decode()
    pipe = SVPTalkingHeadPipeline.from_pretrained(echo)
    pipe.set_progress_bar_config(disable=True)
    tokens, _ = pipe.encode_audio_tokens(torch.from_numpy(clip.waveform), 20, 20)
    stored = torch.from_numpy(clip.audio_windows).float()
    assert torch.allclose(pipe.audio_projector(stored), tokens, rtol=1e-3, atol=1e-3)  # float16
    options = {"steps": 6, "frames_per_clip": 6, "validate_every": 3}
    configuration = configure(echo, echo_cached, tmp_path / "run", **options)
    folder = train_style_adapter(configuration)
    assert len(list((tmp_path / "run" / "validation").iterdir())) == 2

    def make_latents() -> torch.Tensor:
        latents: torch.Tensor = pipe(
            torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)),
            clip.waveform,
            num_inference_steps=1,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).frames[0]
        return latents

    without = make_latents()
    pipe.load_style_adapter(folder)
    assert not torch.equal(make_latents(), without)
    pipe.set_style_adapter_scale(0.0)
    assert torch.equal(make_latents(), without)


def test_clips_that_were_cached_for_other_ears_are_refused(
    echo: Path, base: Path, cached: Path, echo_cached: Path, tmp_path: Path
) -> None:
    for pipeline, data, heard in ((echo, cached, "windows"), (base, echo_cached, "embeddings")):
        with pytest.raises(DatasetError, match=f"no audio_{heard}.*svp data cache"):
            train_style_adapter(configure(pipeline, data, tmp_path / "run"))


@pytest.mark.parametrize("layout", ["head8", "v3", "face"])
def test_heads_are_drawn_alike_in_batches_and_for_calls(layout: str) -> None:
    random = np.random.default_rng(0)
    points = random.uniform(8, 24, (2, 5, 3 if layout == "v3" else 8, 2)).astype(np.float32)
    drawn = draw_heads(layout, torch.from_numpy(points), 32, 32)
    assert drawn.shape == (2, 3, 5, 32, 32)
    for clip, pictures in zip(points, drawn, strict=True):
        expected = draw_clip(layout, clip, 32, 32)
        assert torch.allclose(pictures.transpose(0, 1), expected.expand(5, -1, -1, -1))


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(base: Path, cached: Path, tmp_path: Path) -> None:
    options = {"steps": 12, "checkpoint_every": 3}
    whole, broken = (configure(base, cached, tmp_path / n, **options) for n in ("whole", "broken"))
    check_resumption("style-adapter", whole, broken, "style_adapter")
