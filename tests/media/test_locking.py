"""Two at once, and what those leave that were killed."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from svp_diffusers.errors import OutputError
from svp_diffusers.media.locking import hold
from svp_diffusers.media.output import atomic_folder, atomic_path, remove_partial


def test_what_one_holds_another_does_not_get(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    with hold(path):
        with pytest.raises(OutputError, match=r"a.mp4 is being written by another process"):
            in_a_thread(lambda: hold(path, patience=0).__enter__())
        in_a_thread(lambda: hold(path, "other", patience=0).__enter__())
        in_a_thread(lambda: hold(tmp_path / "new" / "b.mp4", patience=0).__enter__())
    with hold(path, patience=0):
        pass


def in_a_thread(run) -> None:
    raised: list[BaseException] = []

    def target() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_nothing_of_a_lock_stays(tmp_path: Path) -> None:
    with hold(tmp_path / "a.mp4"):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


COUNT = """
import json, sys
from pathlib import Path
from svp_diffusers.media.locking import hold
from svp_diffusers.media.output import atomic_path
path = Path(sys.argv[1])
for _ in range(25):
    with hold(path, "count", patience=60):
        number = json.loads(path.read_text())
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(number + 1))
"""


def test_of_changes_by_several_processes_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "number.json"
    path.write_text("0")
    command = [sys.executable, "-c", COUNT, str(path)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert json.loads(path.read_text()) == 75
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from svp_diffusers.media.output import atomic_folder, atomic_path
make = {"file": atomic_path, "folder": atomic_folder}[sys.argv[2]]
with make(Path(sys.argv[1])) as temporary:
    (temporary / "part" if sys.argv[2] == "folder" else temporary).write_text("half")
    os._exit(9)
"""


@pytest.mark.parametrize(("kind", "make"), [("file", atomic_path), ("folder", atomic_folder)])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, kind: str, make) -> None:
    path = tmp_path / "train-000000.tar"
    command = [sys.executable, "-c", KILLED, str(path), kind]
    assert subprocess.run(command, check=False).returncode == 9
    assert list(tmp_path.glob(".partial-*"))
    assert not path.exists()
    with make(path) as temporary:
        assert not (temporary / "part").exists()
        (temporary / "whole" if kind == "folder" else temporary).write_text("whole")
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_any_name_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-1.tar").touch()
    (tmp_path / ".partial-2").mkdir()
    (tmp_path / ".partial-2" / "a").touch()
    (tmp_path / "kept").touch()
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]


def test_a_name_that_is_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.mp4"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
