"""`svp data prepare` as a user runs it: in processes, killed and started again, on Ray."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from drawn_videos import draw_frames, write_video

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import verify
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.video import read_frames

pytest.importorskip("scenedetect", reason="the extra `data` is not installed")
pytest.importorskip("silero_vad", reason="the extra `data` is not installed")

SVP = [sys.executable, "-c", "from svp_diffusers.cli.main import main; main()"]
RESULTS = ("index.json", "report.csv", "report.html", "train-000000.tar")


def prepare_command(folder, output, *options, size=64):
    template = "{parent}/{stem}.npy"
    return [
        *(*SVP, "data", "prepare", str(folder), "-o", str(output)),
        # The drawn squares have no expression, and to see those of the real clips takes minutes.
        *("--no-expressions", "--face-files", template, "--size", str(size), *options),
    ]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def talking_videos(tmp_path_factory):
    """Six videos whose drawn faces come with synthetic speech and keypoint files."""
    pytest.importorskip("espeakng_loader", reason="the extra `data` is not installed")
    from svp_diffusers.talkers.speech import synthesise_speech

    folder = tmp_path_factory.mktemp("talking")
    speech, _ = synthesise_speech("The seven small boats came home before the rain.")
    frames = int(len(speech) / 16_000 * 25)
    for index in range(6):
        video = folder / f"{index}.mp4"
        write_video(video, draw_frames(frames, background=40 + 10 * index), sound=speech)
        np.save(video.with_suffix(".npy"), np.tile(np.float32([44, 28, 84, 68]), (frames, 1)))
    return folder


def kill_when_started(command, work):
    """Run until one video is done, then kill -9 the parent alone; its workers must end too."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(work.glob("*/outcome.json")):
        assert process.poll() is None
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


@pytest.fixture(scope="module")
def prepared(talking_videos, tmp_path_factory):
    """The dataset of a run that nobody interrupted."""
    directory = tmp_path_factory.mktemp("prepared") / "clips"
    done = run(prepare_command(talking_videos, directory))
    assert done.returncode == 0, done.stderr
    assert "6 files: 6 clips kept" in done.stdout
    return directory


@pytest.mark.slow
def test_killed_and_restarted_it_ends_with_the_same_files(prepared, talking_videos, tmp_path):
    command = prepare_command(talking_videos, tmp_path / "killed", "--workers", "2")
    kill_when_started(command, tmp_path / "killed" / "work")
    assert not (tmp_path / "killed" / "index.json").exists()
    again = run(command)
    assert again.returncode == 0, again.stderr
    assert not again.stderr.startswith("0 of 6")  # it did not start anew
    assert_same_files(prepared, tmp_path / "killed")


def assert_same_files(directory, other):
    for name in RESULTS:
        assert (directory / name).read_bytes() == (other / name).read_bytes()


def test_what_the_command_prepares_verifies(talking_videos, tmp_path):
    command = prepare_command(talking_videos / "0.mp4", tmp_path / "clips", "--workers", "1")
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert "1 files: 1 clips kept" in done.stdout
    assert verify(tmp_path / "clips") == []


def test_errors_are_one_line(tmp_path):
    failed = run(prepare_command(tmp_path / "nowhere", tmp_path / "out"))
    assert failed.returncode == 1
    assert failed.stderr == f"error: {tmp_path / 'nowhere'} matches no file\n"


@pytest.mark.slow
def test_real_clips_become_shards_with_their_sound_in_place(real_data, tmp_path):
    clips = real_data / "clips"
    command = prepare_command(clips, tmp_path / "killed", "--workers", "2", size=128)
    command[command.index("{parent}/{stem}.npy")] = "{parent}/head_keypoints.npy"
    kill_when_started(command, tmp_path / "killed" / "work")
    assert run(command).returncode == 0
    whole = [part.replace("killed", "whole") for part in command]
    assert run(whole).returncode == 0
    assert_same_files(tmp_path / "whole", tmp_path / "killed")
    assert verify(tmp_path / "whole") == []

    dataset = ClipDataset(str(tmp_path / "whole"))
    assert len(dataset) == 10
    for index in range(len(dataset)):
        clip = dataset[index].decode()
        assert clip.head_keypoints_layout == "v3"
        folder = clips / clip.key.rsplit("_clip", 1)[0]
        start = clip.metadata["start_seconds"]
        check_alignment(clip, folder / "clip.mp4", start)


def check_alignment(clip, path, start):
    """The clip's sound and pictures are found in the source where the metadata say, +- 1 frame."""
    source = to_mono(read_audio(path))
    offset = round(start * 16_000)
    shifts = range(-1280, 1281, 16)
    middle = clip.waveform[4000:20_000]
    match = [middle @ source[offset + 4000 + s : offset + 20_000 + s] for s in shifts]
    assert abs(shifts[int(np.argmax(match))]) <= 640
    wanted = round(start * 25) + 20
    around = list(read_frames(path))[wanted - 4 : wanted + 5]
    side = 512 / 128
    small = [frame[:: int(side), :: int(side)].astype(int) for frame in around]
    distance = [np.abs(frame - clip.frames[20]).mean() for frame in small]
    assert abs(int(np.argmin(distance)) - 4) <= 1


@pytest.mark.slow
def test_ray_gives_the_same_files_as_processes(prepared, talking_videos, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    on_ray = run(prepare_command(talking_videos, tmp_path / "ray", "--ray", "local"))
    assert on_ray.returncode == 0, on_ray.stderr
    assert_same_files(prepared, tmp_path / "ray")


@pytest.mark.slow
def test_a_missing_ray_cluster_is_named(talking_videos, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    failed = run(prepare_command(talking_videos, tmp_path / "ray", "--ray", "auto"))
    assert failed.returncode == 1
    assert "error: no Ray cluster answers at 'auto'" in failed.stderr
