"""`svp convert`, from published files to a checkpoint that generates."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from half_precision import check_half_precision, perform
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from svp_diffusers.checkpoints.description import describe_checkpoint
from svp_diffusers.checkpoints.loading import find_checkpoint
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline, initialise
from svp_diffusers.cli.main import main
from svp_diffusers.conversion.motion import convert_motion_adapter
from svp_diffusers.errors import CheckpointError
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline


def svp(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["svp", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """What a conversion takes from others, tiny: vae/, speech/, and unet/ of Stable Diffusion."""
    pipeline = build_random_pipeline()
    pipeline.vae.save_pretrained(tmp_path / "vae")
    pipeline.audio_encoder.save_pretrained(tmp_path / "speech")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "speech")
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
    )
    initialise(unet, torch.Generator().manual_seed(0))
    unet.save_pretrained(tmp_path / "unet")
    return tmp_path


def make_a_video(folder: Path) -> torch.Tensor:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    frames: torch.Tensor = pipeline(
        torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0)),
        0.1 * torch.randn(4800, generator=torch.Generator().manual_seed(0)),
        height=128,
        width=128,
        num_inference_steps=1,
        output_type="pt",
    ).frames[0]
    return frames


def list_v_express(golden: Path, parts: Path, output: Path) -> list[object]:
    return [
        *("--denoising-unet", golden / "denoising_unet.bin"),
        *("--reference-net", golden / "reference_net.bin"),
        *("--kps-guider", golden / "v_kps_guider.bin"),
        *("--audio-projection", golden / "audio_projection.bin"),
        *("--motion-module", golden / "motion_module.bin"),
        *("--sd-config", golden / "unet_config.json"),
        *("--motion-heads", 4, "--dim-head", 8),
        *("--vae", parts / "vae", "--audio-encoder", parts / "speech"),
        *("-o", output),
    ]


def widen_speech(parts: Path) -> None:
    """The golden speech embeddings have 48 numbers: an encoder of that size must stand beside."""
    config = json.loads((parts / "speech" / "config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(**{**config, "hidden_size": 48})).save_pretrained(
            parts / "speech"
        )


def test_v_express(
    real_data: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = list_v_express(real_data / "vexpress_parity", parts, tmp_path / "converted")
    assert svp(monkeypatch, "convert", "v-express", *arguments) == 1  # 32 numbers, not 48
    assert not (tmp_path / "converted").exists()
    widen_speech(parts)
    assert svp(monkeypatch, "convert", "v-express", *arguments) == 0
    description = describe_checkpoint(find_checkpoint(str(tmp_path / "converted")))
    assert description.layout == "v3"
    assert description.size == 128
    assert make_a_video(tmp_path / "converted").shape == (8, 3, 128, 128)
    assert svp(monkeypatch, "convert", "v-express", *arguments) == 1  # never overwrites
    assert svp(monkeypatch, "info", tmp_path / "converted") == 0


def test_starts_from_stable_diffusion(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [parts, "-o", tmp_path / "start", "--audio-encoder", parts / "speech"]
    assert svp(monkeypatch, "convert", "sd15", *arguments) == 0
    assert make_a_video(tmp_path / "start").shape == (8, 3, 128, 128)


def test_starts_from_animatediff(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_norm_num_groups=8,
        motion_num_attention_heads=2,
    )
    initialise(adapter, torch.Generator().manual_seed(1))
    adapter.save_pretrained(tmp_path / "adapter")
    output = tmp_path / "start"
    arguments = [parts, tmp_path / "adapter", "-o", output, "--audio-encoder", parts / "speech"]
    assert svp(monkeypatch, "convert", "animatediff", *arguments) == 0
    unet = SVPTalkingHeadPipeline.from_pretrained(output).unet.state_dict()
    assert all(torch.equal(unet[key], value) for key, value in adapter.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "v-express"])
def test_half_precision(
    real_data: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    output = tmp_path / "converted"
    if family == "sd15":
        arguments = [parts, "-o", output, "--audio-encoder", parts / "speech"]
    else:
        widen_speech(parts)
        arguments = list_v_express(real_data / "vexpress_parity", parts, output)
    assert svp(monkeypatch, "convert", family, *arguments) == 0
    check_half_precision(perform(output))


def test_original_animatediff_names() -> None:
    adapter = MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_num_attention_heads=8
    )
    original = {}
    for key, value in adapter.state_dict().items():
        block, rest = key.split(".motion_modules.")
        index, name = rest.split(".", 1)
        for number in (1, 2):
            name = name.replace(f".attn{number}.", f".attention_blocks.{number - 1}.")
            name = name.replace(f".norm{number}.", f".norms.{number - 1}.")
        name = name.replace(".norm3.", ".ff_norm.")
        if not name.endswith("pos_embed.pe"):
            new = f"{block}.motion_modules.{index}.temporal_transformer.{name}"
            original[new] = value
    converted = convert_motion_adapter(original, "mm.ckpt").state_dict()
    assert all(torch.equal(converted[key], value) for key, value in adapter.state_dict().items())
    original.pop(next(iter(original)))
    with pytest.raises(CheckpointError, match="missing"):
        convert_motion_adapter(original, "mm.ckpt")


def test_what_is_not_stable_diffusion(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert svp(monkeypatch, "convert", "sd15", tmp_path / "none", "-o", tmp_path / "start") == 1
    error = capsys.readouterr().err
    assert "UNet2DConditionModel cannot be loaded" in error
    assert not (tmp_path / "start").exists()
