"""`svp lip-sync`: a video and speech to the same video with other lips."""

import inspect
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
)
from PIL import Image
from transformers import WhisperFeatureExtractor
from typer.testing import CliRunner

from certificates import read_statement, write_credentials
from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.cli.main import app
from svp_diffusers.errors import (
    CheckpointError,
    ConfigurationError,
    FaceError,
    MediaError,
    OutputError,
    SVPError,
)
from svp_diffusers.generation.lip_sync import run
from svp_diffusers.generation.lip_sync.request import LipSyncRequest
from svp_diffusers.generation.lip_sync.run import sync_lips
from svp_diffusers.media.audio import read_audio
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import probe, read_frames, write_video
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.speech_states_svp import WhisperStates
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline
from svp_diffusers.samples import PORTRAITS

from .conftest import write_speech

FRAMES = 6
FPS = Fraction(25)
SIDE = 160


def build_pipeline() -> LipSyncPipeline:
    """Tiny random weights: it paints noise."""
    components: dict[str, Any] = {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
        ),
        "unet": TemporalUNet(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=16,
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=2,
            motion_num_attention_heads=2,
            reference_channels=9,
            reference_attention="self",
            clip_group_norm=True,
        ),
        "audio_encoder": WhisperStates(d_model=16, encoder_layers=1, encoder_attention_heads=2),
    }
    generator = torch.Generator().manual_seed(0)
    for module in components.values():
        initialise(module, generator)
        module.eval()
    return LipSyncPipeline(
        **components,
        audio_projector=StateTokens(num_states=2),
        feature_extractor=WhisperFeatureExtractor(),
        scheduler=DDIMScheduler(clip_sample=False),
        num_inference_steps=2,
        context_length=4,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoint/, a person who moves a little in video.mp4, and speech.wav."""
    folder = tmp_path_factory.mktemp("lip_sync")
    build_pipeline().save_pretrained(folder / "checkpoint")
    person = np.asarray(Image.open(PORTRAITS[0]).convert("RGB").resize((SIDE + 8, SIDE)))
    write_video(
        folder / "video.mp4", (person[:, shift : shift + SIDE] for shift in range(FRAMES)), FPS
    )
    write_speech(folder / "speech.wav", 0.36)
    return folder


def request(folder: Path, **changes: Any) -> LipSyncRequest:
    given = {
        "video": folder / "video.mp4",
        "audio": folder / "speech.wav",
        "output": folder / "synced.mp4",
        "model": str(folder / "checkpoint"),
        **changes,
    }
    return LipSyncRequest(**given)


@pytest.fixture(scope="module")
def synced(made: Path) -> Path:
    given = [str(made / name) for name in ("video.mp4", "speech.wav")]
    options = ["--model", str(made / "checkpoint"), "-o", str(made / "synced.mp4")]
    done = CliRunner().invoke(app, ["lip-sync", *given, *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "synced.mp4.json" in done.stdout.replace("\n", "")
    return made / "synced.mp4"


def test_the_video_is_as_long_as_the_speech_and_says_that_it_is_synthetic(
    made: Path, synced: Path
) -> None:
    info = probe(synced)
    assert (info.width, info.height, info.fps, info.frames) == (SIDE, SIDE, FPS, 9)
    assert read_audio(synced).duration == pytest.approx(0.36, abs=0.04)
    assert read_mark(synced)
    manifest = json.loads((made / "synced.mp4.json").read_text())
    assert manifest["arguments"]["steps"] == 2
    assert manifest["arguments"]["guidance_scale"] == 1.5
    assert set(manifest["inputs"]) == {"video", "audio"}
    assert manifest["checkpoint"]["source"] == "checkpoint"
    assert str(made) not in json.dumps(manifest)


def test_the_mouth_is_painted_and_the_rest_is_the_video(made: Path, synced: Path) -> None:
    before = np.stack(list(read_frames(made / "video.mp4"))).astype(int)
    after = np.stack(list(read_frames(synced))).astype(int)
    shown = before[[0, 1, 2, 3, 4, 5, 4, 3, 2]]  # forth and back
    changed = np.abs(after - shown).mean(axis=(0, 3))
    assert changed[: SIDE // 4].mean() < 4  # what H.264 makes of it
    assert changed[:, :8].mean() < 4
    middle = changed[SIDE // 2 : 3 * SIDE // 4, SIDE // 3 : 2 * SIDE // 3]
    assert middle.mean() > 25


def test_the_same_seed_makes_the_same_video(made: Path, synced: Path) -> None:
    again = sync_lips(request(made, output=made / "again.mp4"))
    pairs = zip(read_frames(synced), read_frames(again), strict=True)
    assert all((first == second).all() for first, second in pairs)


def test_all_that_is_asked_for_reaches_the_pipeline(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CalledError(Exception):
        pass

    def stream(self: LipSyncPipeline, *arguments: Any, **options: Any) -> None:
        raise CalledError(options)

    monkeypatch.setattr(LipSyncPipeline, "stream", stream)
    asked = request(made, steps=3, guidance_scale=1.2, seed=5, output=made / "asked.mp4")
    with pytest.raises(CalledError) as caught:
        sync_lips(asked)
    (given,) = caught.value.args
    assert (given["num_inference_steps"], given["guidance_scale"]) == (3, 1.2)
    assert given["generator"].initial_seed() == 5


def test_a_waveform_that_says_no_rate_has_16_khz(monkeypatch: pytest.MonkeyPatch) -> None:
    class CalledError(Exception):
        pass

    def open_speech(self: LipSyncPipeline, audio: Any, sampling_rate: int) -> None:
        raise CalledError(sampling_rate)

    monkeypatch.setattr(LipSyncPipeline, "open_speech", open_speech)
    pipeline, faces = build_pipeline(), torch.zeros(1, 3, 64, 64)
    for call in (pipeline, pipeline.stream):
        with pytest.raises(CalledError, match=r"^16000$"):
            call(faces, np.zeros(1600, np.float32))


def test_its_defaults_are_latentsyncs() -> None:
    defaults = inspect.signature(LipSyncPipeline.__init__).parameters
    wanted = {"num_inference_steps": 20, "guidance_scale": 1.5, "fps": 25.0, "context_length": 16}
    assert {name: defaults[name].default for name in wanted} == wanted


def test_faces_are_pictures_or_arrays_of_either_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def stream(self: LipSyncPipeline, faces: torch.Tensor, *_: Any, **__: Any) -> list[Any]:
        given.append(faces)
        return [faces]

    monkeypatch.setattr(LipSyncPipeline, "stream", stream)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    pipeline, speech = build_pipeline(), np.zeros(1600, np.float32)
    for faces in (pixels, pixels.astype(np.float32) / 255, [Image.fromarray(p) for p in pixels]):
        pipeline(faces, speech)
    for faces in given:
        torch.testing.assert_close(faces, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)


def test_every_layer_of_whisper_tiny_has_a_gain_of_its_own() -> None:
    """Its four layers and what they are given, as the published checkpoints have it."""
    assert StateTokens().gains.shape == (5,)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def denoise(pipeline: LipSyncPipeline, scheduler: SchedulerMixin) -> torch.Tensor:
    """Two frames, of random conditions, from a seed."""
    pipeline.register_modules(scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pictures, tokens, noise = draw(1, 9, 2, 8, 8), draw(2, 20, 16), draw(1, 4, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return pipeline.denoise(pictures, tokens, noise, 2, 1.5, generator)


def test_schedulers_solve_the_same_equation_from_noise_of_their_own_scale() -> None:
    config = {"beta_schedule": "scaled_linear", "clip_sample": False}
    config |= {"prediction_type": "v_prediction", "timestep_spacing": "leading"}
    pipeline = build_pipeline()
    ddim = denoise(pipeline, DDIMScheduler.from_config(config))
    euler = denoise(pipeline, EulerDiscreteScheduler.from_config(config))
    assert ddim.std() > 0.1
    torch.testing.assert_close(euler, ddim, atol=1e-3, rtol=0)


def test_the_generator_decides_what_a_scheduler_adds() -> None:
    pipeline, scheduler = build_pipeline(), EulerAncestralDiscreteScheduler()
    assert torch.equal(denoise(pipeline, scheduler), denoise(pipeline, scheduler))


def test_guidance_amplifies_the_speech_beside_the_same_pictures() -> None:
    pipeline = build_pipeline()
    given, said = [], []

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        given.append((arguments[2], named["reference_latents"]))
        said.append(output[0])

    pipeline.unet.register_forward_hook(note, with_kwargs=True)
    pictures, tokens = draw(1, 9, 3, 8, 8), draw(3, 20, 16)
    with torch.no_grad():
        guided = pipeline.predict(
            draw(1, 4, 3, 8, 8), torch.tensor(500), pictures, tokens, guidance_scale=2.5
        )
    (silence, _), (heard, _) = given
    assert not silence.any()
    assert torch.equal(heard, tokens)
    assert all(torch.equal(shown, pictures) for _, shown in given)
    torch.testing.assert_close(guided, said[0] + 2.5 * (said[1] - said[0]), atol=1e-5, rtol=1e-5)


def test_the_video_is_signed_with_a_certificate(made: Path, tmp_path: Path) -> None:
    certificate, key = write_credentials(tmp_path)
    path = sync_lips(request(made, output=tmp_path / "a.mp4", sign=certificate, sign_key=key))
    statement, state = read_statement(path)
    assert (state, statement["title"]) == ("Valid", "a.mp4")


def test_a_mask_of_the_users_own(made: Path, tmp_path: Path) -> None:
    pixels = np.full((64, 64), 255, np.uint8)
    pixels[:24] = 0  # the forehead
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    path = sync_lips(request(made, output=tmp_path / "own.mp4", mask=tmp_path / "mask.png"))
    before, after = (next(read_frames(each)).astype(int) for each in (made / "video.mp4", path))
    changed = np.abs(after - before).mean(axis=2)
    assert changed[SIDE // 2 :].mean() < 4 < changed[: SIDE // 2].mean()


def test_no_more_than_a_clip_is_in_memory(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    frames_of = run.read_back_and_forth

    def count(*arguments: Any) -> Any:
        for frame in frames_of(*arguments):
            read.append(1)
            yield frame

    monkeypatch.setattr(run, "read_back_and_forth", count)
    prepared = run.prepare_lip_sync(request(made))
    pipeline = build_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    frames = run.make_frames(prepared, pipeline)
    seen = []
    for _ in frames:
        seen.append(len(read))
    assert seen == [4] * 4 + [8] * 4 + [9]


def write_blank(folder: Path) -> Path:
    path = folder / "blank.mp4"
    write_video(path, (np.full((SIDE, SIDE, 3), 128, np.uint8) for _ in range(3)), FPS)
    return path


def write_white(folder: Path) -> Path:
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "white.png")
    return folder / "white.png"


def write_tone(folder: Path, path: str, seconds: float) -> Path:
    return write_speech(folder / path, seconds)


BAD: dict[str, tuple[Any, type[SVPError], str]] = {
    "no video": (lambda f: {"video": f / "absent.mp4"}, MediaError, "does not exist"),
    "no face": (lambda f: {"video": write_blank(f)}, FaceError, "no face is seen"),
    "a picture": (lambda f: {"video": PORTRAITS[0]}, MediaError, "portrait_1"),
    "no sound": (lambda f: {"audio": write_blank(f)}, MediaError, "no audio stream"),
    "short": (lambda f: {"audio": write_tone(f, "a.wav", 0.01)}, MediaError, "a.wav"),
    "mask": (lambda f: {"mask": write_white(f)}, ConfigurationError, "keeps the whole face"),
    "no mask": (lambda f: {"mask": f / "absent.png"}, MediaError, "does not exist"),
    "steps": (lambda f: {"steps": 0}, ConfigurationError, "--steps"),
    "scale": (
        lambda f: {"guidance_scale": float("nan")},
        ConfigurationError,
        "--guidance-scale",
    ),
    "dtype": (lambda f: {"dtype": "int8"}, ConfigurationError, "--dtype"),
    "suffix": (lambda f: {"output": f / "out.avi"}, OutputError, ".mp4"),
    "face": (lambda f: {"face_index": 3}, FaceError, "there is no face 3"),
    "two faces": (
        lambda f: {"face_index": 0, "bbox": (1, 1, 9, 9)},
        ConfigurationError,
        "leave out --face-index",
    ),
    "no key": (lambda f: {"sign": write_white(f)}, ConfigurationError, "--sign-key"),
    "model": (lambda f: {"model": str(f / "absent")}, CheckpointError, "no folder"),
    "svp-tiny": (lambda f: {"model": "svp-tiny"}, CheckpointError, "svp generate"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_before_weights_are_loaded(
    kind: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(run, "load_lip_sync")
    change, error, said = BAD[kind]
    changes = {"output": tmp_path / "out.mp4", **change(tmp_path)}
    with pytest.raises(error, match=said):
        sync_lips(request(made, **changes))
    assert not list(tmp_path.glob("out*"))


def test_an_input_is_not_overwritten(made: Path) -> None:
    with pytest.raises(ConfigurationError, match="is an input"):
        sync_lips(request(made, output=made / "video.mp4"))


def test_the_commands_send_one_another_the_right_checkpoints(made: Path) -> None:
    given = [str(PORTRAITS[0]), str(made / "speech.wav"), "-o", str(made / "talk.mp4")]
    with pytest.raises(CheckpointError, match="use `svp lip-sync`"):
        CliRunner().invoke(
            app,
            ["generate", *given, "--model", str(made / "checkpoint")],
            catch_exceptions=False,
        )
