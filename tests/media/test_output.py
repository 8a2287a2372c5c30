import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from svp_diffusers.errors import MediaError, OutputError
from svp_diffusers.media.output import (
    atomic_folder,
    atomic_path,
    check_output,
    restore_folder,
)
from svp_diffusers.media.video import probe, write_video

from .samples import make_frames

# A video of noise, which H.264 cannot make small; it can be slow enough to be interrupted.
WRITE_NOISE = """
import resource, sys, time
from fractions import Fraction
import numpy as np
from svp_diffusers.errors import OutputError
from svp_diffusers.media.video import write_video

path, limit, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

def frames():
    generator = np.random.default_rng(0)
    for _ in range(100):
        time.sleep(pause)
        yield generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)

try:
    write_video(path, frames(), Fraction(25))
except OutputError as error:
    sys.exit(f"OutputError: {error}")
"""


def start_writing(path: Path, limit: int = 0, pause: float = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_NOISE, str(path), str(limit), str(pause)],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def write_half_and_fail(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_run_keeps_the_older_file_and_leaves_no_half_one(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("older")
    with pytest.raises(error):
        write_half_and_fail(path, error)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "a.txt"):
        pass


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a.mp4", "is a file, not a folder"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_output(path)
        with pytest.raises(OutputError, match=message):
            write_video(path, make_frames(5), Fraction(25))
    with pytest.raises(OutputError, match=r"a\.avi must end in \.mp4 or \.mov"):
        check_output(tmp_path / "a.avi", ".mp4", ".mov")
    assert check_output(tmp_path / "A.MP4", ".mp4")
    assert check_output(tmp_path / "deep" / "down" / "a.mp4")
    assert not (tmp_path / "deep").exists()


def test_frames_that_fail_midway_leave_no_file(tmp_path):
    def frames():
        yield from make_frames(30)
        raise MediaError("the source broke")

    with pytest.raises(MediaError, match="the source broke"):
        write_video(tmp_path / "a.mp4", frames(), Fraction(25))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path):
    path = tmp_path / "a.mp4"
    process = start_writing(path, pause=0.03)
    while not any(partial.stat().st_size for partial in tmp_path.glob(".partial-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert not path.exists()
    write_video(path, make_frames(5), Fraction(25))
    assert probe(path).frames == 5


@pytest.mark.parametrize("limit", [100, 100_000, 500_000])
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, limit):
    _, message = start_writing(tmp_path / "a.mp4", limit).communicate()
    assert message.startswith("OutputError"), message
    assert "cannot be written" in message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_is_an_error_and_leaves_no_file(small_disk):
    _, message = start_writing(small_disk / "a.mp4").communicate()
    assert message.startswith("OutputError"), message
    assert "No space left" in message
    assert list(small_disk.iterdir()) == []


def test_the_noise_fits_when_nothing_limits_it(tmp_path):
    process = start_writing(tmp_path / "a.mp4")
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert (tmp_path / "a.mp4").stat().st_size > 500_000


def test_folders_above_the_output_are_made(tmp_path):
    with atomic_path(tmp_path / "some" / "where" / "a.txt") as temporary:
        temporary.write_text("a file")
    with atomic_folder(tmp_path / "an" / "other" / "place") as temporary:
        (temporary / "a.txt").write_text("a file")
    assert (tmp_path / "some" / "where" / "a.txt").is_file()
    assert (tmp_path / "an" / "other" / "place" / "a.txt").is_file()


def test_a_folder_takes_the_place_of_the_older_one_when_it_is_complete(tmp_path):
    folder = tmp_path / "run" / "vae"
    for name in ("a", "b"):
        with atomic_folder(folder) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["b"]
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as temporary:
        (temporary / "c").write_text(str(1 / 0))
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert list(folder.parent.iterdir()) == [folder]
    (tmp_path / "file").touch()
    for blocked in (tmp_path / "file", tmp_path / "file" / "vae"):
        with pytest.raises(OutputError, match="cannot be written"), atomic_folder(blocked):
            pass


original_rename = Path.rename


def rename_is_refused(path: Path, target: Path) -> Path:
    if ".partial-" in str(path):  # the new folder, not the older one
        raise OSError(28, "No space left on device")
    return original_rename(path, target)


def test_the_older_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    with atomic_folder(folder) as temporary:
        (temporary / "older").touch()
    monkeypatch.setattr(Path, "rename", rename_is_refused)
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic_folder(folder) as temporary,
    ):
        (temporary / "newer").touch()
    assert [path.name for path in folder.iterdir()] == ["older"]
    assert list(tmp_path.iterdir()) == [folder]


KILLED = """
import os, shutil, sys
from pathlib import Path
from svp_diffusers.media.output import atomic_folder

original_rename, left = Path.rename, int(sys.argv[2])

def rename(path, target):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    return original_rename(path, target)

Path.rename = rename
shutil.rmtree = lambda *_: os._exit(9)
with atomic_folder(Path(sys.argv[1])) as temporary:
    (temporary / "newer").touch()
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_process_killed_while_it_replaces_a_folder_loses_none(tmp_path, renames):
    folder = tmp_path / "checkpoint"
    with atomic_folder(folder) as temporary:
        (temporary / "older").touch()
    command = [sys.executable, "-c", KILLED, str(folder), str(renames)]
    assert subprocess.run(command, check=False).returncode == 9
    restore_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["newer" if renames == 2 else "older"]
    with atomic_folder(folder) as temporary:
        (temporary / "newest").touch()
    assert [path.name for path in folder.iterdir()] == ["newest"]
    assert not list(tmp_path.glob(".replaced-*"))
