"""`svp convert animate-anyone`: from published files to a checkpoint that pose pictures drive."""

import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from half_precision import check_half_precision, perform
from parity import RUN_TOLERANCE, difference
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.cli.main import main
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.pipelines.conditions_svp import Conditions
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAITS, SPEECH
from svp_diffusers.training.denoiser.configuration import VideoTrainingConfiguration
from svp_diffusers.training.denoiser.objective import DenoisingObjective

FILES = {
    "--denoising-unet": "denoising_unet.pth",
    "--motion-module": "motion_module.pth",
    "--reference-unet": "reference_unet.pth",
    "--pose-guider": "pose_guider.pth",
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
    return svp(patch, "convert", "animate-anyone", *given, *options)


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's, tiny, in a pipeline's folder as it is published."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = CLIPVisionConfig(
        **sizes, num_attention_heads=2, projection_dim=40, image_size=28, patch_size=14
    )
    encoder = CLIPVisionModelWithProjection(config)
    initialise(encoder, torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("variations")
    encoder.save_pretrained(folder / "image_encoder")
    return folder


@pytest.fixture(scope="module")
def converted(parity: Path, image_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted") / "posed"
    with pytest.MonkeyPatch.context() as patch:
        files = parity / "animate_anyone"
        assert convert(patch, output, parity, files, "--image-encoder", image_encoder) == 0
    return output


@pytest.fixture(scope="module")
def pipeline(converted: Path) -> SVPTalkingHeadPipeline:
    loaded = SVPTalkingHeadPipeline.from_pretrained(converted)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_checkpoint_denoises_as_the_published_pipeline(
    pipeline: SVPTalkingHeadPipeline, parity: Path
) -> None:
    golden = load_file(parity / "animate_anyone" / "io.safetensors")
    scheduler = pipeline.scheduler
    image_tokens = golden["clip_embedding"][:, None]
    with torch.no_grad():
        heard = torch.randn(26, 10, pipeline.audio_encoder.config.hidden_size)
        reference = pipeline.encode_reference(golden["run_reference_latents"], image_tokens)
        conditions = pipeline.add_image_prompt(
            Conditions(
                pipeline.audio_projector(heard),
                torch.zeros(pipeline.style_encoder.config.style_dim),
                *reference,
                golden["run_pose_features"],
            ),
            image_tokens,
        )
        latents = golden["run_noise"][0]
        settings = pipeline.fill_settings(
            *(128, 128, None, 3), (None, None, None), (1.0, 1.0, 1.0), None, None, None
        )
        scheduler.set_timesteps(3)
        for step in range(3):
            latents = pipeline.denoise_step(scheduler, step, latents, conditions, settings, None)
    assert difference(latents[None], golden["run_latents"]) < RUN_TOLERANCE


def test_poses_and_the_portrait_make_the_video_and_speech_does_not(
    pipeline: SVPTalkingHeadPipeline, parity: Path
) -> None:
    golden = load_file(parity / "animate_anyone" / "io.safetensors")
    poses = golden["pose_images"][0].transpose(0, 1)  # five of 128 x 128
    generator = torch.Generator().manual_seed(0)
    portrait = torch.rand(3, 128, 128, generator=generator)
    speech = 0.1 * torch.randn(3200, generator=generator)

    def make(image: torch.Tensor = portrait, audio: torch.Tensor = speech, **options: Any) -> Any:
        given = {"head_keypoints": poses, "style": torch.zeros(128), **options}
        noise = torch.Generator().manual_seed(1)
        (frames,), _ = pipeline(
            image,
            audio,
            num_inference_steps=1,
            generator=noise,
            output_type="latent",
            return_dict=False,
            **given,
        )
        return frames

    frames = make()
    assert frames.shape == (4, 5, 16, 16)  # 0.2 s at 25 frames a second
    assert torch.equal(frames, make(audio=speech.flip(0)))
    assert torch.equal(frames, make(style=torch.ones(128)))
    assert not torch.allclose(frames, make(head_keypoints=1 - poses), atol=1e-3)
    assert not torch.allclose(frames, make(image=portrait.flip(0)), atol=1e-3)
    token = pipeline.encode_image_prompt
    try:  # the portrait's token by itself
        pipeline.encode_image_prompt = lambda image: 2 * token(image)
        assert not torch.allclose(frames, make(), atol=1e-3)
    finally:
        del pipeline.encode_image_prompt
    with pytest.raises(ValueError, match="driven by pictures of poses"):
        make(head_keypoints=None)
    with pytest.raises(ValueError, match="cannot stream"):
        next(pipeline.stream(portrait, speech, head_keypoints=poses))


@pytest.mark.slow
def test_half_precision_makes_the_same_video(converted: Path, parity: Path) -> None:
    golden = load_file(parity / "animate_anyone" / "io.safetensors")
    poses = golden["pose_images"][0].transpose(0, 1)[:4]
    make = perform(converted, head_keypoints=poses, style=torch.zeros(128))
    check_half_precision(make, steps_in_bfloat16=20)


def test_both_unets_see_the_portrait_as_clip_does(pipeline: SVPTalkingHeadPipeline) -> None:
    picture = Image.open(PORTRAITS[0]).convert("RGB").crop((0, 0, 200, 120))
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    pixels = processor(images=picture.resize((28, 28)), return_tensors="pt").pixel_values
    settings = pipeline.fill_settings(128, 128, *[None] * 2, [None] * 3, [1.0] * 3, *[None] * 3)
    with torch.no_grad():
        expected = pipeline.image_encoder(pixels).image_embeds[:, None]
        poses = torch.zeros(1, 3, 128, 128)
        (encoded,) = pipeline.encode_portraits([picture], poses, None, False, settings)
        features = pipeline.reference_unet(encoded.latents, expected)
    assert difference(encoded.image_tokens, expected) < 1e-5
    for name, feature in features.items():
        assert difference(encoded.features[name], feature) < 1e-4


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    sound = tmp_path / "speech.wav"
    soundfile.write(sound, soundfile.read(SPEECH[0])[0][:4800], 16000)
    return sound


def draw_poses(path: Path, frames: int) -> None:
    """A bright bar that moves to the right."""
    pictures = np.zeros((frames, 96, 128, 3), np.uint8)
    for number, picture in enumerate(pictures):
        picture[:, 40 + 8 * number : 48 + 8 * number] = 255
    write_video(path, iter(pictures), Fraction(25))


def test_generating_a_video(
    converted: Path, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_poses(tmp_path / "poses.mp4", 5)
    options = ["--model", converted, "--steps", 1, "--size", 128]
    poses = ["--pose-video", tmp_path / "poses.mp4"]
    command = ["generate", PORTRAITS[0], spoken, *options, "-o", tmp_path / "video.mp4"]
    assert svp(monkeypatch, *command, *poses) == 0
    assert len(list(read_frames(tmp_path / "video.mp4"))) == 8  # more than there are poses


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --pose-video"),
        (["--pose-video", "POSES", "--head-motion", "still"], "leave out --head-motion"),
        (["--pose-video", "POSES", "--bbox", "1,1,90,90"], "leave out --bbox"),
        (["--pose-video", "POSES", "--stream"], "leave out --stream"),
        (["--pose-video", "POSES", "--model", SVP_TINY], "leave out --pose-video"),
        (["--pose-video", "SPEECH"], "speech.wav"),
    ],
)
def test_what_contradicts_poses_is_refused(
    converted: Path,
    spoken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[object],
    said: str,
) -> None:
    draw_poses(tmp_path / "poses.mp4", 2)
    names: dict[object, Path] = {"POSES": tmp_path / "poses.mp4", "SPEECH": spoken}
    given = [names.get(part, part) for part in options]
    command = ["generate", PORTRAITS[0], spoken, "--model", converted, *given]
    assert svp(monkeypatch, *command, "-o", tmp_path / "video.mp4") == 1
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "video.mp4").exists()


def test_it_is_no_start_for_training(converted: Path) -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(converted)
    options = VideoTrainingConfiguration(data="", pipeline="", output_dir="")
    with pytest.raises(ConfigurationError, match="svp convert aniportrait"):
        DenoisingObjective(pipeline, options, None, [])


def test_what_the_checkpoint_says_of_itself(converted: Path) -> None:
    card = (converted / "README.md").read_text().replace("\n", " ")
    for part in ("OpenRAIL-M", "hears nothing", "--pose-video", "untrained"):
        assert part in card
    assert not list(converted.rglob("*.bin"))


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: (folder / "pose_guider.pth").unlink(),
    "truncated": lambda folder: (folder / "pose_guider.pth").write_bytes(
        (folder / "pose_guider.pth").read_bytes()[:10_000]
    ),
    "swapped": lambda folder: shutil.copy(
        folder / "reference_unet.pth", folder / "pose_guider.pth"
    ),
    "key added": lambda folder: rewrite(
        folder / "pose_guider.pth", lambda weights: weights.update(extra=torch.zeros(1))
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_file_is_refused_and_nothing_is_left(
    kind: str,
    parity: Path,
    image_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in FILES.values():
        (folder / name).write_bytes((parity / "animate_anyone" / name).read_bytes())
    BAD[kind](folder)
    options = ["--image-encoder", image_encoder]
    assert convert(monkeypatch, tmp_path / "out", parity, folder, *options) == 1
    assert str(folder) in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_an_image_encoder_of_another_width_is_refused(
    parity: Path,
    image_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = CLIPVisionModelWithProjection.from_pretrained(image_encoder / "image_encoder")
    config = CLIPVisionConfig(**{**encoder.config.to_dict(), "projection_dim": 24})
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "other")
    options = ["--image-encoder", tmp_path / "other"]
    files = parity / "animate_anyone"
    assert convert(monkeypatch, tmp_path / "out", parity, files, *options) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert "gives 24 numbers, the UNets take 40" in said
    assert not (tmp_path / "out").exists()
