"""`svp convert echomimic`: from published files to a checkpoint that is right without options."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from half_precision import check_half_precision, perform
from parity import RUN_TOLERANCE, difference
from safetensors.torch import load_file

from svp_diffusers.checkpoints.description import describe_checkpoint
from svp_diffusers.checkpoints.loading import find_checkpoint, read_call_defaults
from svp_diffusers.cli.main import main
from svp_diffusers.pipelines.conditions_svp import Conditions
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAITS, SPEECH

FILES = {
    "--denoising-unet": "denoising_unet.pth",
    "--motion-module": "motion_module.pth",
    "--reference-unet": "reference_unet.pth",
    "--face-locator": "face_locator.pth",
    "--whisper": "whisper_tiny.pt",
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
    others = ["--vae", parity / "hallo" / "vae", "--motion-heads", 4]
    others += ["--unet-config", parity / "echomimic" / "unet_config.json", "-o", output]
    return svp(patch, "convert", "echomimic", *given, *others, *options)


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def converted(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted") / "echomimic"
    with pytest.MonkeyPatch.context() as patch:
        assert convert(patch, output, parity, parity / "echomimic") == 0
    return output


@pytest.fixture
def pipeline(converted: Path) -> SVPTalkingHeadPipeline:
    loaded = SVPTalkingHeadPipeline.from_pretrained(converted)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_checkpoint_denoises_as_the_published_pipeline(
    pipeline: SVPTalkingHeadPipeline, parity: Path
) -> None:
    golden = load_file(parity / "echomimic" / "io.safetensors")
    config, scheduler = pipeline.config, pipeline.scheduler
    with torch.no_grad():
        face = golden["face_mask"][0].transpose(0, 1).expand(-1, 3, -1, -1)
        assert torch.equal(face[:, :1], face[:, :1].round())
        conditions = Conditions(
            golden["audio_tokens"],
            torch.zeros(pipeline.style_encoder.config.style_dim),
            golden["run_reference_latents"],
            pipeline.reference_unet(golden["run_reference_latents"]),
            pipeline.encode_heads(face.contiguous()),
        )
        latents = golden["run_noise"][0].clamp(-config.noise_limit, config.noise_limit)
        settings = pipeline.fill_settings(
            *(128, 128, None, 3), (None, None, None), (1.0, 1.0, 1.0), None, None, None
        )
        scheduler.set_timesteps(3)
        for step in range(3):
            latents = pipeline.denoise_step(scheduler, step, latents, conditions, settings, None)
    assert difference(latents[None], golden["run_latents"]) < RUN_TOLERANCE


def test_a_portrait_and_speech_are_enough(pipeline: SVPTalkingHeadPipeline, parity: Path) -> None:
    golden = load_file(parity / "echomimic" / "io.safetensors")
    waveform = golden["waveform_int16"].float() / 32768
    with torch.no_grad():
        tokens, embeddings = pipeline.encode_audio_tokens(waveform, 17, pipeline.config.fps)
    assert difference(tokens, golden["audio_tokens"][:17]) < RUN_TOLERANCE
    assert embeddings is None
    portrait = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    videos = [
        pipeline(
            portrait,
            waveform,
            num_inference_steps=1,
            output_type="latent",
            latents=golden["run_noise"][:, :, :17],
            **options,
        ).frames[0]
        for options in (
            {},
            {"style": torch.ones(128)},
            {"head_keypoints": torch.zeros(1, 3, 128, 128)},
        )
    ]
    assert videos[0].shape == (4, 17, 16, 16)  # 0.7 s at 24 frames a second
    assert torch.equal(videos[0], videos[1])  # style is untrained
    assert not torch.equal(videos[0], videos[2])  # without a picture the face is in the middle
    with pytest.raises(ValueError, match="svp style encode"):
        pipeline(portrait, waveform, "from_audio")


def test_generating_a_video(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = tmp_path / "speech.wav"
    soundfile.write(sound, soundfile.read(SPEECH[0])[0][:8000], 16000)
    options = ["--model", converted, "--steps", 1, "--size", 128, "-o", tmp_path / "video.mp4"]
    middle = [*options, "--no-detect-face"]
    assert svp(monkeypatch, "generate", PORTRAITS[0], sound, *middle) == 0
    face = ["--bbox", "40,40,90,90", "-o", tmp_path / "face.mp4"]
    assert svp(monkeypatch, "generate", PORTRAITS[0], sound, *options[:-2], *face) == 0
    assert (tmp_path / "video.mp4").read_bytes() != (tmp_path / "face.mp4").read_bytes()
    keypoints = ["--head-keypoints", PORTRAITS[0].with_suffix(".npy")]
    assert svp(monkeypatch, "generate", PORTRAITS[0], sound, *options, *keypoints) == 1


def test_what_the_checkpoint_says_of_itself(converted: Path) -> None:
    description = describe_checkpoint(find_checkpoint(str(converted)))
    assert (description.layout, description.size) == ("face", 128)
    defaults = read_call_defaults(converted)
    assert (defaults.fps, defaults.context_length, defaults.context_overlap) == (24, 12, 3)
    card = (converted / "README.md").read_text()
    assert "OpenRAIL-M" in card
    assert "style changes nothing" in card.replace("\n", " ")
    assert not list(converted.rglob("*.bin"))


def test_half_precision(
    parity: Path, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    assert convert(monkeypatch, half, parity, parity / "echomimic", "--dtype", "float16") == 0
    assert {part.dtypes for part in describe_checkpoint(half).components} <= {"", "F16"}

    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    assert size(half) < 0.55 * size(converted)
    assert (
        convert(monkeypatch, tmp_path / "x", parity, parity / "echomimic", "--dtype", "int8") == 1
    )


@pytest.mark.slow
def test_half_precision_makes_the_same_video(converted: Path) -> None:
    check_half_precision(perform(converted), steps_in_bfloat16=20)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code of the file was run",))


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: (folder / "motion_module.pth").unlink(),
    "truncated": lambda folder: (folder / "denoising_unet.pth").write_bytes(
        (folder / "denoising_unet.pth").read_bytes()[:100_000]
    ),
    "empty": lambda folder: (folder / "face_locator.pth").write_bytes(b""),
    "text": lambda folder: (folder / "face_locator.pth").write_text("version https://git-lfs"),
    "code": lambda folder: torch.save({"weight": Attack()}, folder / "reference_unet.pth"),
    "not weights": lambda folder: torch.save({"step": 3}, folder / "reference_unet.pth"),
    "safetensors": lambda folder: shutil.copy(
        folder.parent / "vae.safetensors", folder / "reference_unet.pth"
    ),
    "swapped": lambda folder: shutil.copy(
        folder / "reference_unet.pth", folder / "denoising_unet.pth"
    ),
    "other guider": lambda folder: shutil.copy(
        folder / "motion_module.pth", folder / "face_locator.pth"
    ),
    "other whisper": lambda folder: shutil.copy(
        folder / "face_locator.pth", folder / "whisper_tiny.pt"
    ),
    "key added": lambda folder: rewrite(
        folder / "reference_unet.pth", lambda weights: weights.update(extra=torch.zeros(1))
    ),
    "key removed": lambda folder: rewrite(
        folder / "motion_module.pth", lambda weights: weights.popitem()
    ),
    "shape": lambda folder: rewrite(
        folder / "denoising_unet.pth",
        lambda weights: weights.update({"conv_out.bias": torch.zeros(9)}),
    ),
    "key renamed": lambda folder: rewrite(
        folder / "denoising_unet.pth",
        lambda weights: weights.update({"conv_norm_final.weight": weights.pop("conv_out.weight")}),
    ),
    "another family": lambda folder: shutil.copy(
        folder.parent / "hallo.pth", folder / "denoising_unet.pth"
    ),
    "a folder": lambda folder: [
        (folder / "reference_unet.pth").unlink(),
        (folder / "reference_unet.pth").mkdir(),
    ],
    "no motion": lambda folder: torch.save({"stray": torch.ones(1)}, folder / "motion_module.pth"),
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
        (folder / name).write_bytes((parity / "echomimic" / name).read_bytes())
    vae = parity / "hallo" / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(vae, tmp_path / "vae.safetensors")
    shutil.copy(parity / "hallo" / "net.pth", tmp_path / "hallo.pth")
    BAD[kind](folder)
    assert convert(monkeypatch, tmp_path / "out", parity, folder) == 1
    told = capsys.readouterr()
    assert str(folder) in told.err.replace("\n", "")
    assert "code of the file was run" not in told.out
    left = ["files", "hallo.pth", "vae.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_files_are_asked_for_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert svp(monkeypatch, "convert", "echomimic", "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "--denoising-unet" in told
    assert "--from-hub" in told
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert svp(monkeypatch, "convert", "echomimic", "--from-hub", "-o", tmp_path / "full") == 1


def test_no_space_left(parity: Path, tmp_path: Path) -> None:
    """As a limit of the process; written in a folder of its own that is gone afterwards."""
    files = [
        part for option, name in FILES.items() for part in (option, parity / "echomimic" / name)
    ]
    sizes = ["--unet-config", parity / "echomimic" / "unet_config.json", "--motion-heads", 4]
    command = ["convert", "echomimic", *files, "--vae", parity / "hallo" / "vae", *sizes]
    code = f"""
import resource, sys
from svp_diffusers.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
sys.argv = ["svp", *{[str(part) for part in command]!r}, "-o", {str(tmp_path / "out")!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = done.stderr.replace("\n", " ")
    assert "out cannot be written" in said
    assert "File too large" in said
    assert not list(tmp_path.iterdir())


def damage(path: Path) -> Path:
    path.write_text("{")
    return path


def change_sizes(path: Path, config: Path) -> Path:
    other = {**json.loads(config.read_text()), "block_out_channels": [32, 64, 64, 64]}
    path.write_text(json.dumps(other))
    return path


OPTIONS: dict[str, Callable[[Path, Path], list[object]]] = {
    "output below a file": lambda folder, parity: [
        "-o",
        shutil.copy(parity / "README.md", folder / "file") / Path("out"),
    ],
    "no VAE": lambda folder, parity: ["--vae", folder / "absent"],
    "configuration of another size": lambda folder, parity: [
        "--unet-config",
        change_sizes(folder / "config.json", parity / "echomimic" / "unet_config.json"),
    ],
    "damaged configuration": lambda folder, parity: [
        "--unet-config",
        damage(folder / "config.json"),
    ],
    "no configuration": lambda folder, parity: ["--unet-config", folder / "absent.json"],
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_wrong_option_is_refused_and_nothing_is_left(
    kind: str, parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "given").mkdir()
    options = OPTIONS[kind](tmp_path / "given", parity)
    assert convert(monkeypatch, tmp_path / "out", parity, parity / "echomimic", *options) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
