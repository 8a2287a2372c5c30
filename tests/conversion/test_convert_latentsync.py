"""`svp convert latentsync`: from published files to a checkpoint whose pipeline makes their run."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from half_precision import check_half_precision
from parity import RUN_TOLERANCE, TOLERANCE, difference
from safetensors.torch import load_file

from svp_diffusers.checkpoints.lip_sync import load_lip_sync
from svp_diffusers.cli.main import main
from svp_diffusers.conversion import writing
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline, draw_mask
from svp_diffusers.pipelines.windows_svp import divide_frames

FRAMES = 21
SIDE = 128


def svp(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    patch.setattr(sys, "argv", ["svp", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def convert(patch: pytest.MonkeyPatch, output: Path, parity: Path, *options: object) -> int:
    folder = parity / "latentsync"
    given = ["--unet", folder / "latentsync_unet.pt", "--whisper", folder / "whisper" / "tiny.pt"]
    given += ["--vae", parity / "hallo" / "vae", "--motion-heads", 4]
    given += ["--unet-config", folder / "unet_config.json", "-o", output]
    return svp(patch, "convert", "latentsync", *given, *options)


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def golden(parity: Path) -> dict[str, torch.Tensor]:
    return load_file(parity / "latentsync" / "io.safetensors")


@pytest.fixture(scope="module")
def converted(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted") / "latentsync"
    with pytest.MonkeyPatch.context() as patch:
        assert convert(patch, output, parity) == 0
    return output


@pytest.fixture
def pipeline(converted: Path) -> LipSyncPipeline:
    loaded = LipSyncPipeline.from_pretrained(converted)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@torch.no_grad()
def run(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor], start: int = 16, stop: int = FRAMES
) -> torch.Tensor:
    """Three steps of each clip, as the pipeline makes them, of the golden pictures and tokens."""
    conditions = torch.cat(
        [golden[f"run_{name}"] for name in ("mask", "masked_latents", "reference_latents")], dim=1
    )
    config = pipeline.config
    clips = [
        pipeline.denoise(
            conditions[:, :, start + first : start + last],
            golden["audio_tokens"][start + first : start + last],
            golden["run_noise"],
            3,
            config.guidance_scale,
        )
        for first, last in divide_frames(stop - start, config.context_length)
    ]
    return torch.cat(clips, dim=2)


def test_the_checkpoint_denoises_as_the_published_pipeline(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor]
) -> None:
    assert difference(run(pipeline, golden, 0), golden["run_latents"]) < RUN_TOLERANCE


# What each mistake costs on the last clip; a comparison that does not see it proves nothing.
MISTAKES: dict[str, Callable[[LipSyncPipeline], object]] = {
    "no guidance": lambda pipeline: pipeline.register_to_config(guidance_scale=1.0),
    "shorter clips": lambda pipeline: pipeline.register_to_config(context_length=3),
    "betas": lambda pipeline: reschedule(pipeline, beta_schedule="linear"),
    "prediction": lambda pipeline: reschedule(pipeline, prediction_type="v_prediction"),
    "spacing": lambda pipeline: reschedule(pipeline, timestep_spacing="trailing"),
    "last alpha": lambda pipeline: reschedule(pipeline, set_alpha_to_one=True),
    "offset": lambda pipeline: reschedule(pipeline, steps_offset=0),
}


def reschedule(pipeline: LipSyncPipeline, **changes: Any) -> None:
    scheduler: Any = type(pipeline.scheduler)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **changes)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_another_setting_of_the_checkpoint_would_be_seen(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor], mistake: str
) -> None:
    MISTAKES[mistake](pipeline)
    assert difference(run(pipeline, golden), golden["run_latents"][:, :, 16:]) > 0.05


def test_clips_that_overlap_would_be_seen(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor]
) -> None:
    overlapping = run(pipeline, golden, 12)[:, :, 4:]
    assert difference(overlapping, golden["run_latents"][:, :, 16:]) > 0.1


def test_noise_of_its_own_for_every_frame_would_be_seen(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor]
) -> None:
    own = torch.randn(1, 4, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = {**golden, "run_noise": own}
    assert difference(run(pipeline, changed), golden["run_latents"][:, :, 16:]) > 0.1


@torch.no_grad()
def test_speech_becomes_the_published_tokens(
    pipeline: LipSyncPipeline, golden: dict[str, torch.Tensor]
) -> None:
    speech = pipeline.open_speech(golden["waveform_int16"].float() / 32768, 16000)
    assert speech.num_frames == 20  # 0.8 s; theirs has a frame more, beyond the sound
    tokens = speech.tokens.read(0, 20)
    assert difference(tokens, golden["audio_tokens"][:20]) < TOLERANCE


@torch.no_grad()
def test_the_unet_is_shown_mask_masked_picture_and_picture(pipeline: LipSyncPipeline) -> None:
    faces = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = draw_mask(SIDE)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    shown = pipeline.encode_faces(faces, mask, generator())
    assert shown.shape == (1, 9, 2, 16, 16)
    assert set(shown[:, 0].unique().tolist()) == {0, 1}
    assert shown[0, 0, 0, 2, 8] == 1  # the eyes are kept
    assert shown[0, 0, 0, 11, 8] == 0  # the mouth is painted anew
    assert torch.equal(shown[:, :1, 0], shown[:, :1, 1])
    drawn, scale = generator(), pipeline.vae.config.scaling_factor
    for first, pixels in ((1, faces * mask), (5, faces)):  # the masked ones are drawn first
        expected = pipeline.vae.encode(pixels).latent_dist.sample(drawn) * scale
        assert torch.equal(shown[0, first : first + 4].transpose(0, 1), expected)


@pytest.mark.slow
def test_half_precision_paints_the_same_lips(converted: Path) -> None:
    def make(dtype: str, steps: int) -> torch.Tensor:
        pipeline = load_lip_sync(converted, torch.device("cpu"), dtype)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        faces = torch.rand(4, 3, SIDE, SIDE, generator=generator)
        speech = 0.1 * torch.randn(2560, generator=generator)
        options = {"num_inference_steps": steps, "generator": generator, "output_type": "pt"}
        return pipeline(faces, speech, **options).frames.float()

    check_half_precision(make)


def test_pixels_that_are_kept_stay_as_they_are(pipeline: LipSyncPipeline) -> None:
    faces = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    speech = torch.sin(torch.arange(2560) / 20)
    pipeline.register_to_config(context_length=3)
    mask = draw_mask(SIDE)
    options = {"num_inference_steps": 1, "output_type": "pt"}
    first, second = (
        pipeline(faces, speech, generator=torch.Generator().manual_seed(0), **options).frames
        for _ in range(2)
    )
    assert first.shape == faces.shape
    assert torch.equal(first, second)
    kept = mask.bool().expand_as(faces)
    assert torch.allclose(first[kept], faces[kept], atol=1e-6)
    assert (first[~kept] - faces[~kept]).abs().mean() > 0.05
    other = pipeline(faces, speech, generator=torch.Generator().manual_seed(1), **options).frames
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="needs 4 faces, got 3"):
        pipeline(faces[:3], speech, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": torch.ones(64, 64)}, "mask"),
        ({"mask": torch.ones(SIDE, SIDE)}, "nothing would be painted"),
        ({"mask": torch.full((SIDE, SIDE), 2.0)}, r"\[0, 1\]"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"latents": torch.zeros(1, 4, 16, 16)}, "latents"),
        ({"output_type": "gif"}, "output_type"),
        ({"faces": torch.zeros(4, 3, 64, 64)}, "A face must be"),
        ({"faces": torch.full((4, 3, SIDE, SIDE), 3.0)}, r"\[0, 1\]"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(
    pipeline: LipSyncPipeline, options: dict[str, Any], said: str
) -> None:
    given = {"faces": torch.zeros(4, 3, SIDE, SIDE), "audio": torch.ones(2560) * 0.1, **options}
    with pytest.raises(ValueError, match=said):
        pipeline(**given)


def test_shards_hold_the_same_weights(
    converted: Path, parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is made of the published file anew, new style attention included."""
    monkeypatch.setattr(writing, "SHARD_SIZE", "4MB")
    assert convert(monkeypatch, tmp_path / "sharded", parity) == 0
    shards = sorted((tmp_path / "sharded" / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    weights: dict[str, torch.Tensor] = {}
    for shard in shards:
        weights |= load_file(shard)
    whole = load_file(converted / "unet" / "diffusion_pytorch_model.safetensors")
    assert weights.keys() == whole.keys()
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_what_the_checkpoint_says_of_itself(converted: Path) -> None:
    card = (converted / "README.md").read_text().replace("\n", " ")
    for said in ("openrail++", "OpenRAIL-M", "mask of our own shape", "svp lip-sync"):
        assert said in card
    assert not list(converted.rglob("*.pt"))
    carried = {path.name for path in converted.glob("*.py")}
    assert {"pipeline.py", "pipeline_lip_sync.py", "checkpoint_svp.py"} <= carried
    assert "modular_svp.py" not in carried


BAD: dict[str, Callable[[Path, Path], list[object]]] = {
    "swapped": lambda folder, parity: ["--unet", parity / "latentsync" / "whisper" / "tiny.pt"],
    "another family": lambda folder, parity: ["--unet", parity / "hallo" / "net.pth"],
    "other whisper": lambda folder, parity: [
        *("--whisper", parity / "latentsync" / "latentsync_unet.pt")
    ],
    "truncated": lambda folder, parity: ["--unet", truncate(folder, parity)],
    "missing": lambda folder, parity: ["--whisper", folder / "absent.pt"],
    "no VAE": lambda folder, parity: ["--vae", folder / "absent"],
    "release": lambda folder, parity: ["--release", "2.0"],
    "full": lambda folder, parity: ["-o", folder],
}


def truncate(folder: Path, parity: Path) -> Path:
    content = (parity / "latentsync" / "latentsync_unet.pt").read_bytes()
    path = folder / "latentsync_unet.pt"
    path.write_bytes(content[:100_000])
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_file_is_refused_and_nothing_is_left(
    kind: str, parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "given").mkdir()
    shutil.copy(parity / "README.md", tmp_path / "given")
    options = BAD[kind](tmp_path / "given", parity)
    assert convert(monkeypatch, tmp_path / "out", parity, *options) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_files_are_asked_for_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert svp(monkeypatch, "convert", "latentsync", "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "--unet, --whisper missing" in told.replace("\n", " ")
