"""`svp convert aniportrait`: from published UNets to a start for training."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from half_precision import check_half_precision, perform
from torch import nn

from svp_diffusers.cli.main import main
from svp_diffusers.conversion.animate_anyone import build_new
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.configuration import VideoTrainingConfiguration
from svp_diffusers.training.denoiser.objective import DenoisingObjective

FILES = {
    "--denoising-unet": "denoising_unet.pth",
    "--motion-module": "motion_module.pth",
    "--reference-unet": "reference_unet.pth",
}


def svp(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    patch.setattr(sys, "argv", ["svp", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def convert(
    patch: pytest.MonkeyPatch, output: Path, parity: Path, files: Path, *options: object
) -> int:
    given = [part for option, name in FILES.items() for part in (option, files / name)]
    given += ["--vae", parity / "hallo" / "vae", "--motion-heads", 4, "-o", output]
    given += ["--audio-encoder", parity / "hallo" / "wav2vec2-base-960h"]
    given += ["--unet-config", parity / "animate_anyone" / "unet_config.json"]
    return svp(patch, "convert", "aniportrait", *given, *options)


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def converted(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted") / "start"
    with pytest.MonkeyPatch.context() as patch:
        assert convert(patch, output, parity, parity / "animate_anyone") == 0
    return output


@pytest.fixture(scope="module")
def pipeline(converted: Path) -> SVPTalkingHeadPipeline:
    loaded = SVPTalkingHeadPipeline.from_pretrained(converted)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_training_reaches_every_part(pipeline: SVPTalkingHeadPipeline) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    width = pipeline.audio_encoder.config.hidden_size
    batch = {
        "latents": draw(1, 4, 2, 16, 16),
        "noise": draw(1, 4, 2, 16, 16),
        "reference_latents": draw(1, 4, 16, 16),
        "audio_windows": draw(1, 2, 10, width),
        "head_keypoints": 64 + 20 * draw(1, 2, 8, 2),
        "reference_keypoints": 64 + 20 * draw(1, 8, 2),
        "style": draw(1, pipeline.style_encoder.config.style_dim),
        "timesteps": torch.tensor([0.5]),
        **{f"keep_{name}": torch.ones(1) for name in ("reference", "audio", "style", "head")},
    }
    options = VideoTrainingConfiguration(data="", pipeline="", output_dir="")
    objective = DenoisingObjective(pipeline, options, None, [])
    with torch.no_grad():  # as after a first step: the guider's last layer starts at zero
        pipeline.head_guider.embedding.conv_out.weight.normal_(std=0.1, generator=generator)
    objective(batch)["loss"].backward()
    for part in (pipeline.audio_projector, pipeline.head_guider, pipeline.reference_unet):
        assert any(weight.grad is not None and weight.grad.any() for weight in part.parameters())
    attention = pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    assert attention.to_k.weight.grad.any()
    pipeline.unet.zero_grad()


def test_it_runs_before_it_is_trained(converted: Path) -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(converted)
    pipeline.set_progress_bar_config(disable=True)
    portrait = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    sound = 0.1 * torch.randn(2560, generator=torch.Generator().manual_seed(0))
    (frames,), _ = pipeline(
        portrait, sound, num_inference_steps=1, output_type="latent", return_dict=False
    )
    assert frames.shape == (4, 4, 16, 16)


@pytest.mark.slow
def test_half_precision_makes_the_same_video(converted: Path) -> None:
    check_half_precision(perform(converted), steps_in_bfloat16=20)


def test_what_it_is_for_is_said(
    parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "start"
    files = parity / "animate_anyone"
    assert convert(monkeypatch, output, parity, files, "--dtype", "float16") == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "svp train image" in said
    assert "svp generate" not in said
    card = (output / "README.md").read_text().replace("\n", " ")
    for part in ("no talking head yet", "untrained", "OpenRAIL-M", "ZJYang/AniPortrait"):
        assert part in card


def test_new_parts_are_the_same_every_time() -> None:
    first, second = (build_new(lambda: nn.Linear(3, 3)).weight for _ in range(2))
    assert torch.equal(first, second)


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: (folder / "motion_module.pth").unlink(),
    "truncated": lambda folder: (folder / "denoising_unet.pth").write_bytes(
        (folder / "denoising_unet.pth").read_bytes()[:100_000]
    ),
    "swapped": lambda folder: (folder / "denoising_unet.pth").write_bytes(
        (folder / "reference_unet.pth").read_bytes()
    ),
    "another family": lambda folder: (folder / "reference_unet.pth").write_bytes(
        (folder.parent / "echomimic.pth").read_bytes()
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_file_is_refused_and_nothing_is_left(
    kind: str,
    parity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in FILES.values():
        (folder / name).write_bytes((parity / "animate_anyone" / name).read_bytes())
    echomimic = (parity / "echomimic" / "reference_unet.pth").read_bytes()
    (tmp_path / "echomimic.pth").write_bytes(echomimic)
    BAD[kind](folder)
    assert convert(monkeypatch, tmp_path / "out", parity, folder) == 1
    assert str(folder) in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()
