"""`svp convert --from-hub`: one command from published files to a checkpoint, over HTTP."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from loopback import LoopbackHub
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from svp_diffusers.media.manifest import hash_folder
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.samples import PORTRAITS, SPEECH

SVP = Path(sys.executable).with_name("svp")
Environment = Callable[..., dict[str, str]]
REPOSITORY = "BadToBest/EchoMimic"


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def published(parity: Path, hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden files under their public names, and one file that is not needed."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("audio_processor", "sd-vae-ft-mse"):
        (folder / name).mkdir()
    for path in (parity / "echomimic").glob("*.pth"):
        (folder / path.name).write_bytes(path.read_bytes())
    whisper = (parity / "echomimic" / "whisper_tiny.pt").read_bytes()
    (folder / "audio_processor" / "whisper_tiny.pt").write_bytes(whisper)
    for path in (parity / "hallo" / "vae").iterdir():
        (folder / "sd-vae-ft-mse" / path.name).write_bytes(path.read_bytes())
    (folder / "denoising_unet_pose.pth").write_bytes(b"not needed")
    hub.add_folder(REPOSITORY, folder)
    return REPOSITORY


def command(parity: Path, output: Path, *options: object) -> list[str]:
    sizes = [
        *("--unet-config", parity / "echomimic" / "unet_config.json"),
        *("--motion-heads", 4, "--revision", "main"),
    ]
    parts = [SVP, "convert", "echomimic", "--from-hub", *sizes, "-o", output, *options]
    return [str(part) for part in parts]


@pytest.mark.slow
def test_one_command_and_a_video(
    published: str,
    parity: Path,
    tmp_path: Path,
    client_environment: Environment,
) -> None:
    environment = client_environment()
    output = tmp_path / "echomimic"
    done = subprocess.run(command(parity, output), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("denoising_unet.pth", "GB", "Apache-2.0", "OpenRAIL-M"):
        assert said in done.stderr  # before the download
    cached = [path.name for path in Path(environment["HF_HOME"]).rglob("*.pth")]
    assert "denoising_unet_pose.pth" not in cached
    assert f"svp generate portrait.png speech.wav --model {output}" in done.stdout.replace("\n", "")
    assert published in (output / "README.md").read_text()

    video = tmp_path / "video.mp4"
    options = ["--model", output, "--steps", 1, "-o", video]
    made = subprocess.run(
        [str(part) for part in (SVP, "generate", PORTRAITS[0], SPEECH[0], *options)],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert video.stat().st_size > 0


@pytest.mark.slow
def test_interrupted_and_repeated_it_ends_the_same(
    published: str, parity: Path, tmp_path: Path, client_environment: Environment
) -> None:
    clean = tmp_path / "clean" / "echomimic"
    subprocess.run(command(parity, clean), env=client_environment(), check=True, timeout=300)
    environment = client_environment()
    output = tmp_path / "killed" / "echomimic"
    killed = subprocess.Popen(command(parity, output), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path(environment["HF_HOME"]).rglob("*.pth")):
        assert killed.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert not output.exists()
    subprocess.run(command(parity, output), env=environment, check=True, timeout=300)
    assert hash_folder(output) == hash_folder(clean)


def test_without_a_network_the_error_says_what_to_fetch(
    parity: Path, tmp_path: Path, client_environment: Environment
) -> None:
    environment = client_environment(HF_ENDPOINT="http://127.0.0.1:9")
    done = subprocess.run(
        command(parity, tmp_path / "out"), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    said = done.stderr.replace("\n", " ")
    for part in ("denoising_unet.pth", "https://huggingface.co/BadToBest/EchoMimic", "by hand"):
        assert part in said
    assert not (tmp_path / "out").exists()


def test_a_repository_without_the_files_is_refused(
    hub: LoopbackHub, parity: Path, tmp_path: Path, client_environment: Environment
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"of something else")
    hub.add_folder("someone/other", folder)
    done = subprocess.run(
        command(parity, tmp_path / "out", "--repository", "someone/other"),
        env=client_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "has no denoising_unet.pth" in done.stderr.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_hallo_and_a_video(
    hub: LoopbackHub, parity: Path, tmp_path: Path, client_environment: Environment, version: int
) -> None:
    name = "hallo" if version == 1 else "hallo2"
    folder = tmp_path / "published"
    places = {
        "wav2vec2-base-960h": "wav2vec/wav2vec2-base-960h",
        "vae": "sd-vae-ft-mse",
    }
    for source, place in places.items():
        shutil.copytree(parity / "hallo" / source, folder / place)
    (folder / name).mkdir()
    shutil.copy(parity / "hallo" / "net.pth", folder / name)
    (folder / "face_analysis").mkdir()
    (folder / "face_analysis" / "model.onnx").write_bytes(b"not needed")
    hub.add_folder(f"fudan-generative-ai/{name}", folder)
    environment, output = client_environment(), tmp_path / name
    sizes = ["--unet-config", parity / "hallo" / "unet_config.json", "--motion-heads", 4]
    options = [*sizes, "-o", output, "--revision", "main", *["--hallo2"] * (version == 2)]
    done = subprocess.run(
        [str(part) for part in (SVP, "convert", "hallo", "--from-hub", *options)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "net.pth" in done.stderr
    assert "non-commercial" in done.stderr.replace("\n", " ")
    assert not list(Path(environment["HF_HOME"]).rglob("*.onnx"))
    video = tmp_path / "video.mp4"
    np.save(tmp_path / "face.npy", np.ones(512, np.float32))
    options = ["--model", output, "--steps", 1, "-o", video]
    options += ["--face-embedding", tmp_path / "face.npy"]
    made = subprocess.run(
        [str(part) for part in (SVP, "generate", PORTRAITS[0], SPEECH[0], *options)],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert video.stat().st_size > 0


@pytest.mark.slow
def test_v_express_and_a_video(
    hub: LoopbackHub, real_data: Path, tmp_path: Path, client_environment: Environment
) -> None:
    golden = real_data / "vexpress_parity"
    folder = tmp_path / "published"
    folder.mkdir()
    for path in golden.glob("*.bin"):
        shutil.copy(path, folder)
    hub.add_folder("tk93/V-Express", folder)
    speech = tmp_path / "speech"
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Wav2Vec2Config(**sizes, intermediate_size=48, conv_dim=(16,) * 7)
    Wav2Vec2Model(config).save_pretrained(speech)
    Wav2Vec2FeatureExtractor().save_pretrained(speech)
    environment, output = client_environment(), tmp_path / "v-express"
    options = ["--sd-config", golden / "unet_config.json", "--motion-heads", 4, "--dim-head", 8]
    options += ["--revision", "main"]
    options += ["--vae", real_data / "parity" / "hallo" / "vae", "--audio-encoder", speech]
    done = subprocess.run(
        [str(part) for part in (SVP, "convert", "v-express", "--from-hub", *options, "-o", output)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "research only" in done.stderr.replace("\n", " ")
    assert "tk93/V-Express" in (output / "README.md").read_text()
    made = subprocess.run(
        [
            *(str(SVP), "generate", str(PORTRAITS[0]), str(SPEECH[0]), "--steps", "1"),
            *("--model", str(output), "-o", str(tmp_path / "video.mp4")),
        ],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert (tmp_path / "video.mp4").stat().st_size > 0


@pytest.mark.slow
def test_a_start_from_aniportrait(
    hub: LoopbackHub, parity: Path, tmp_path: Path, client_environment: Environment
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for path in (parity / "animate_anyone").glob("*.pth"):
        shutil.copy(path, folder)
    hub.add_folder("ZJYang/AniPortrait", folder)
    environment, output = client_environment(), tmp_path / "start"
    options = ["--unet-config", parity / "animate_anyone" / "unet_config.json"]
    options += ["--motion-heads", 4, "--revision", "main", "--vae", parity / "hallo" / "vae"]
    options += ["--audio-encoder", parity / "hallo" / "wav2vec2-base-960h", "-o", output]
    done = subprocess.run(
        [str(part) for part in (SVP, "convert", "aniportrait", "--from-hub", *options)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Apache-2.0" in done.stderr
    assert not list(Path(environment["HF_HOME"]).rglob("pose_guider.pth"))  # it has no use here
    assert "svp train image" in done.stdout


@pytest.mark.slow
def test_animate_anyone_and_a_video(
    hub: LoopbackHub, parity: Path, tmp_path: Path, client_environment: Environment
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for path in (parity / "animate_anyone").glob("*.pth"):
        shutil.copy(path, folder)
    hub.add_folder("patrolli/AnimateAnyone", folder)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = CLIPVisionConfig(
        **sizes, num_attention_heads=2, projection_dim=40, image_size=28, patch_size=14
    )
    encoder = CLIPVisionModelWithProjection(config)
    encoder.save_pretrained(tmp_path / "variations" / "image_encoder")
    hub.add_folder("lambdalabs/sd-image-variations-diffusers", tmp_path / "variations")
    environment, output = client_environment(), tmp_path / "posed"
    options = ["--unet-config", parity / "animate_anyone" / "unet_config.json"]
    options += ["--motion-heads", 4, "--vae", parity / "hallo" / "vae"]
    options += ["--audio-encoder", parity / "hallo" / "wav2vec2-base-960h", "-o", output]
    done = subprocess.run(
        [str(part) for part in (SVP, "convert", "animate-anyone", "--from-hub", *options)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "--pose-video" in done.stdout
    write_video(tmp_path / "poses.mp4", iter(np.zeros((2, 128, 128, 3), np.uint8)), Fraction(25))
    options = ["--model", output, "--steps", 1, "--pose-video", tmp_path / "poses.mp4"]
    made = subprocess.run(
        [
            str(part)
            for part in (
                *(SVP, "generate", PORTRAITS[0], SPEECH[0], *options),
                *("-o", tmp_path / "video.mp4"),
            )
        ],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert (tmp_path / "video.mp4").stat().st_size > 0


def write_speech(path: Path) -> None:
    """The beginning of a sample, so that few frames are made."""
    soundfile.write(path, soundfile.read(SPEECH[0])[0][:4800], 16000)


LIPS = """
import numpy as np
from diffusers import DiffusionPipeline
sys.meta_path.insert(0, client.PackageBlocker())
pipe = DiffusionPipeline.from_pretrained("org/lips", trust_remote_code=True)
faces, speech = np.zeros((3, 128, 128, 3), np.uint8), 0.1 * np.ones(1920, np.float32)
frames = pipe(faces, speech, output_type="np", num_inference_steps=1).frames
result = [type(pipe).__name__, list(frames.shape)]
"""


@pytest.mark.slow
def test_latentsync_a_video_with_other_lips_and_a_push(
    hub: LoopbackHub,
    parity: Path,
    tmp_path: Path,
    client_environment: Environment,
    run_python: Callable[..., object],
) -> None:
    golden, folder = parity / "latentsync", tmp_path / "published"
    (folder / "whisper").mkdir(parents=True)
    shutil.copy(golden / "latentsync_unet.pt", folder)
    shutil.copy(golden / "whisper" / "tiny.pt", folder / "whisper")
    (folder / "stable_syncnet.pt").write_bytes(b"not needed")
    hub.add_folder("ByteDance/LatentSync-1.6", folder)
    environment, output = client_environment(), tmp_path / "latentsync"

    def svp(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in (SVP, *arguments)],
            env={**environment, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    options = ["--unet-config", golden / "unet_config.json", "--motion-heads", 4]
    options += ["--vae", parity / "hallo" / "vae", "-o", output]
    done = svp("convert", "latentsync", "--from-hub", *options)
    for said in ("latentsync_unet.pt", "GB", "OpenRAIL++"):
        assert said in done.stderr  # before the download
    assert f"svp lip-sync video.mp4 speech.wav --model {output}" in done.stdout.replace("\n", "")
    cached = [path.name for path in Path(environment["HF_HOME"]).rglob("*.pt")]
    assert "stable_syncnet.pt" not in cached

    person = np.asarray(Image.open(PORTRAITS[0]).convert("RGB"))
    write_video(tmp_path / "video.mp4", iter([person] * 3), Fraction(25))
    write_speech(tmp_path / "speech.wav")
    given = [tmp_path / "video.mp4", tmp_path / "speech.wav", "--steps", 1, "-o"]
    here = tmp_path / "here.mp4"
    svp("lip-sync", *given, here, "--model", output, HF_HUB_OFFLINE="1")
    assert "lip-sync: paints aligned faces of 128 pixels" in svp("info", output).stdout
    svp("push", output, "org/lips")
    assert "lip-sync: paints aligned faces of 128 pixels" in svp("info", "org/lips").stdout
    svp("lip-sync", *given, tmp_path / "there.mp4", "--model", "org/lips")
    videos = [list(read_frames(path)) for path in (here, tmp_path / "there.mp4")]
    assert all((ours == theirs).all() for ours, theirs in zip(*videos, strict=True))
    assert run_python(LIPS) == ["LipSyncPipeline", [3, 128, 128, 3]]
