"""From files to files, as `svp generate` does it: the videos, decoded again."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio.v3
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from svp_diffusers.checkpoints.loading import CallDefaults, select_device
from svp_diffusers.checkpoints.precision import select_precision
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.generation.checks import check_guidance
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.preparation import fill_call
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.faces import Face
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.manifest import get_manifest_path, hash_file
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAITS

from .conftest import write_speech


def request(files: Path, output: Path, **changes: Any) -> GenerationRequest:
    arguments: dict[str, Any] = {
        "image": files / "portrait.png",
        "audio": files / "speech.wav",
        "output": output,
        "model": str(files / "checkpoint"),
        "steps": 1,
        "size": 64,
        "guidance_scale": 1.0,
        "detect_face": False,
    }
    return GenerationRequest(**{**arguments, **changes})


def assert_fits(video: Path, seconds: float, fps: Fraction, size: int) -> None:
    """Size, frame rate and both durations, of the file and not of what wrote it."""
    with av.open(str(video)) as container:
        pictures, sound = container.streams.video[0], container.streams.audio[0]
        assert (pictures.width, pictures.height) == (size, size)
        assert pictures.average_rate == fps
        decoded = [frame for frame in container.decode(pictures)]
        assert len(decoded) == max(1, round(Fraction(seconds) * fps))
        times = [frame.pts * frame.time_base for frame in decoded]
        assert times == [Fraction(index) / fps for index in range(len(decoded))]
        one_frame = float(1 / fps)
        assert abs(float(pictures.duration * pictures.time_base) - seconds) <= one_frame
        assert abs(float(sound.duration * sound.time_base) - seconds) <= one_frame
    assert read_mark(video) is not None
    manifest = json.loads(get_manifest_path(video).read_text())
    assert manifest["output"]["sha256"] == hash_file(video)


@pytest.mark.parametrize("fps", ["25", "30", "23.976"])
@pytest.mark.parametrize("name", ["english_radio.wav", "chinese.wav", "english_clean_44k.wav"])
def test_real_speech_and_portrait(
    files: Path, real_data: Path, tmp_path: Path, name: str, fps: str
) -> None:
    audio = real_data / "speech" / name
    with av.open(str(audio)) as container:
        stream = container.streams.audio[0]
        seconds = float(stream.duration * stream.time_base)
    portrait = real_data / "portraits" / "painted_girl.jpg"
    video = tmp_path / "video.mp4"
    assert generate_video(request(files, video, image=portrait, audio=audio, fps=fps)) == [video]
    assert_fits(video, seconds, parse_fps(fps), 64)


@pytest.mark.parametrize(
    ("seconds", "fps"),
    [
        (0.05, "25"),
        (0.3, "23.976"),
        (5.0, "25"),
        pytest.param(61.0, "25", marks=pytest.mark.slow),
    ],
)
def test_any_length(files: Path, tmp_path: Path, seconds: float, fps: str) -> None:
    audio = write_speech(tmp_path / "speech.wav", seconds)
    generate_video(request(files, tmp_path / "video.mp4", audio=audio, fps=fps))
    assert_fits(tmp_path / "video.mp4", seconds, parse_fps(fps), 64)


def test_other_readers_open_the_video(files: Path, tmp_path: Path) -> None:
    generate_video(request(files, tmp_path / "video.mp4", fps="30"))
    frames = imageio.v3.imread(tmp_path / "video.mp4", plugin="pyav")
    assert frames.shape == (12, 64, 64, 3)
    assert imageio.v3.immeta(tmp_path / "video.mp4", plugin="pyav")["fps"] == 30


def test_the_manifest_repeats_the_video(files: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    generate_video(request(files, first, seed=3))
    manifest = json.loads(get_manifest_path(first).read_text())
    places = {key: files / manifest["arguments"][key] for key in ("image", "audio", "model")}
    arguments = {**manifest["arguments"], **places, "model": str(places["model"])}
    assert manifest["seed"] == 3
    assert manifest["inputs"]["audio"]["sha256"] == hash_file(files / "speech.wav")
    generate_video(GenerationRequest(**{**arguments, "output": second}))
    assert all(
        np.array_equal(a, b) for a, b in zip(read_frames(first), read_frames(second), strict=True)
    )
    third = tmp_path / "third.mp4"
    generate_video(request(files, third, seed=4))
    assert not np.array_equal(next(read_frames(first)), next(read_frames(third)))


def test_the_manifest_lists_every_style_and_all_that_was_chosen(
    files: Path, tmp_path: Path
) -> None:
    style, clip = tmp_path / "bright.style.safetensors", tmp_path / "dull.mat"
    StyleDistribution(torch.ones(16), torch.ones(16)).save(style)
    savemat(clip, {"coeff": np.random.default_rng(0).normal(size=(20, 257)).astype("f4")})
    video = tmp_path / "video.mp4"
    schedule = f"0:{style},0.2:prior,0.3:{clip}"
    generate_video(request(files, video, style=schedule, size=None, steps=None, fps="10"))
    manifest = json.loads(get_manifest_path(video).read_text())
    assert [(each["name"], each["sha256"]) for each in manifest["inputs"]["style"]] == [
        (path.name, hash_file(path)) for path in (style, clip)
    ]
    arguments = manifest["arguments"]
    assert arguments["style"] == "0:bright.style.safetensors,0.2:prior,0.3:dull.mat"
    chosen = {name: arguments[name] for name in ("device", "dtype", "size", "steps", "model")}
    assert chosen == {
        "device": str(select_device(None)),
        "dtype": select_precision(None, select_device(None)),
        "size": 128,
        "steps": 25,
        "model": "checkpoint",
    }
    assert manifest["machine"] == {"device": chosen["device"], "threads": torch.get_num_threads()}
    assert manifest["checkpoint"]["source"] == "checkpoint"
    for folder in (files, tmp_path):
        assert str(folder) not in get_manifest_path(video).read_text()


def test_a_style_clip_is_not_written_over(files: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a video, for all we know")
    with pytest.raises(ConfigurationError, match="is an input"):
        generate_video(request(files, clip, style=str(clip)))
    assert clip.read_bytes() == b"a video, for all we know"


def test_all_that_is_asked_for_reaches_the_pipeline(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CalledError(Exception):
        pass

    def call(self: SVPTalkingHeadPipeline, *arguments: Any, **options: Any) -> None:
        raise CalledError(options)

    monkeypatch.setattr(SVPTalkingHeadPipeline, "__call__", call)
    asked = {
        **{"steps": 3, "guidance_scale": 1.1, "audio_guidance_scale": 1.2},
        **{"style_guidance_scale": 1.3, "reference_attention_scale": 0.7},
        **{"audio_attention_scale": 0.8, "style_attention_scale": 0.9, "style_temperature": 0.6},
        **{"num_styles": 2, "context_length": 20, "context_overlap": 5, "head_motion_scale": 0.5},
    }
    with pytest.raises(CalledError) as caught:
        generate_video(request(files, tmp_path / "video.mp4", fps="30", **asked))
    (given,) = caught.value.args
    names = {"steps": "num_inference_steps", "num_styles": "num_videos_per_style"}
    assert {name: given[names.get(name, name)] for name in asked} == asked
    assert (given["height"], given["width"], given["fps"]) == (64, 64, 30)


def test_what_is_not_asked_for_is_the_checkpoints_and_what_is_stays() -> None:
    blank = GenerationRequest(Path("a.png"), Path("a.wav"), Path("v.mp4"))
    defaults = CallDefaults(fps=Fraction(25), context_length=24, context_overlap=4, detail_scale=2)
    filled = fill_call(blank, defaults)
    assert (filled.context_length, filled.context_overlap, filled.detail_scale) == (24, 4, 2)
    asked = replace(blank, context_length=12, context_overlap=0, detail_scale=0)
    filled = fill_call(asked, defaults)
    assert (filled.context_length, filled.context_overlap, filled.detail_scale) == (12, 0, 0)


def test_a_video_is_as_many_times_as_large_as_its_detail(files: Path, tmp_path: Path) -> None:
    generate_video(request(files, tmp_path / "v.mp4", detail_scale=3))
    assert_fits(tmp_path / "v.mp4", 0.4, Fraction(25), 192)
    manifest = json.loads(get_manifest_path(tmp_path / "v.mp4").read_text())
    arguments = manifest["arguments"]
    assert (arguments["size"], arguments["detail_scale"]) == (64, 3)
    with pytest.raises(ConfigurationError, match="from 0 to 8 where 64 pixels are generated"):
        generate_video(request(files, tmp_path / "w.mp4", detail_scale=9))
    with pytest.raises(ConfigurationError, match="make a video 16896 pixels wide, side by side"):
        generate_video(request(files, tmp_path / "w.mp4", detail_scale=8, num_styles=33))


def test_guidance_that_was_not_distilled_is_refused_before_weights_are_loaded() -> None:
    blank = GenerationRequest(Path("a.png"), Path("a.wav"), Path("v.mp4"))
    ranges = {"guidance_scale": [1, 2], "style_guidance_scale": [1, 4]}
    unet = {"guidance_ranges": ranges}
    check_guidance(blank, unet)
    check_guidance(replace(blank, style_guidance_scale=4.0, guidance_scale=1.5), unet)
    check_guidance(replace(blank, style_guidance_scale=9.0), {"guidance_ranges": None})
    with pytest.raises(ConfigurationError, match="--style-guidance-scale must be from 1 to 4"):
        check_guidance(replace(blank, style_guidance_scale=4.5), unet)
    with pytest.raises(ConfigurationError, match="--guidance-scale must be from 1 to 2"):
        check_guidance(replace(blank, guidance_scale=3.0, style_guidance_scale=2.0), unet)


def test_several_performances(files: Path, tmp_path: Path) -> None:
    paths = generate_video(request(files, tmp_path / "video.mp4", num_styles=3))
    assert [path.name for path in paths] == [
        "video.mp4",
        "video-1.mp4",
        "video-2.mp4",
        "video-3.mp4",
    ]
    joined, *singles = (next(read_frames(path)).astype(int) for path in paths)
    assert joined.shape == (64, 192, 3)
    for index, single in enumerate(singles):
        part = joined[:, 64 * index : 64 * (index + 1)]
        assert np.abs(part - single).mean() < 8  # both went through H.264
    assert np.abs(singles[0] - singles[1]).mean() > 8
    assert all(get_manifest_path(path).is_file() for path in paths)


def test_a_style_file_changes_the_video(files: Path, tmp_path: Path) -> None:
    def generate(name: str, **changes: Any) -> np.ndarray:
        generate_video(request(files, tmp_path / name, style_temperature=0.0, **changes))
        return np.stack(list(read_frames(tmp_path / name))).astype(int)

    videos = []
    for index, sign in enumerate((1.0, -1.0)):
        path = tmp_path / f"{index}.style.safetensors"
        StyleDistribution(sign * torch.ones(16), torch.ones(16)).save(path)
        videos.append(generate(f"{index}.mp4", style=str(path)))
        assert np.array_equal(videos[-1], generate(f"{index}-again.mp4", style=str(path)))
    assert np.abs(videos[0] - videos[1]).mean() > 2
    assert np.abs(videos[0] - generate("voice.mp4", style="from_audio")).mean() > 2


class FoundFaces:
    """A detector that knows its answer."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.faces = [
            Face(
                np.asarray(box, np.float32),
                np.asarray(box[:2], np.float32) + 4 * np.arange(16).reshape(8, 2) / 16,
                0.9,
            )
            for box in boxes
        ]

    def detect(self, image: Image.Image) -> list[Face]:
        return self.faces


def test_the_largest_face_is_taken_with_a_warning(files: Path, tmp_path: Path) -> None:
    two = FoundFaces((0, 0, 20, 20), (60, 30, 100, 70))
    video = tmp_path / "video.mp4"
    with pytest.warns(UserWarning, match="2 faces"):
        generate_video(request(files, video, detect_face=True), detector=two)
    other = tmp_path / "other.mp4"
    generate_video(request(files, other, detect_face=True, face_index=1), detector=two)
    assert not np.array_equal(next(read_frames(video)), next(read_frames(other)))


def test_head_motion_of_keypoints_at_its_own_tempo(files: Path, tmp_path: Path) -> None:
    base = np.array(
        [[30, 40], [30, 50], [70, 50], [70, 40], [50, 40], [50, 46], [40, 40], [60, 40]],
        np.float32,
    )
    np.save(tmp_path / "portrait.npy", base)
    swing = base + np.array([[[10 * np.sin(i / 3), 0]] for i in range(50)], np.float32)
    np.save(tmp_path / "driver.npy", swing)

    def generate(name: str, **changes: Any) -> np.ndarray:
        generate_video(
            request(files, tmp_path / name, portrait_keypoints=tmp_path / "portrait.npy", **changes)
        )
        return np.stack(list(read_frames(tmp_path / name))).astype(int)

    still = generate("still.mp4")
    moved = generate("moved.mp4", head_keypoints=tmp_path / "driver.npy")
    slower = generate(
        "slower.mp4", head_keypoints=tmp_path / "driver.npy", head_keypoints_fps="12.5"
    )
    assert np.abs(still - moved).mean() > 0.5
    assert np.abs(moved - slower).mean() > 0.2


def test_the_head_moves_by_itself_unless_it_is_to_be_still(files: Path, tmp_path: Path) -> None:
    def generate(name: str, **changes: Any) -> tuple[np.ndarray, str]:
        video = tmp_path / f"{name}.mp4"
        shown = {"image": PORTRAITS[0], "model": None, "size": None, "detect_face": True}
        generate_video(request(files, video, **{**shown, **changes}))
        manifest = json.loads(get_manifest_path(video).read_text())
        frames = np.stack(list(read_frames(video))).astype(int)
        return frames, manifest["arguments"]["head_motion"]

    moved, by_default = generate("moved")
    asked, generated = generate("asked", head_motion="generated")
    still, held = generate("still", head_motion="still")
    unmoved, none = generate("unmoved", head_motion_scale=0.0)
    assert (by_default, generated, held, none) == ("generated", "generated", "still", "still")
    assert np.array_equal(moved, asked)
    assert np.array_equal(unmoved, still)
    assert np.abs(moved[-1] - still[-1]).mean() > 1


def test_on_the_command_line(files: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    arguments = [files / "portrait.png", files / "speech.wav", "-o", video, "--steps", 1]
    arguments += ["--no-detect-face"]
    command = [sys.executable, "-m", "svp_diffusers", "generate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unlike those" in done.stderr  # svp-tiny knows no portraits of noise
    assert_fits(video, 0.4, Fraction(25), 256)


def test_killed_while_writing_it_leaves_no_video(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir()
    audio = write_speech(tmp_path / "speech.wav", 20.0)
    arguments = [files / "portrait.png", audio, "-o", folder / "video.mp4", "--steps", 1]
    arguments += ["--guidance-scale", 1, "--size", 64, "--model", files / "checkpoint"]
    arguments += ["--no-detect-face"]
    command = [sys.executable, "-m", "svp_diffusers", "generate", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(folder.iterdir()):  # writing has begun
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "video.mp4").exists()
    assert not get_manifest_path(folder / "video.mp4").exists()
