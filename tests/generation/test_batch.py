"""`svp batch`: many lines, each video made once, whatever goes wrong."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from svp_diffusers.errors import ConfigurationError, MediaError, OutputError
from svp_diffusers.generation.batch.lines import read_lines
from svp_diffusers.generation.batch.report import FAILED, KEPT, MADE, Outcome, describe_progress
from svp_diffusers.generation.batch.run import make_batch
from svp_diffusers.generation.batch.worker import Job, Worker
from svp_diffusers.generation.batch.workers import in_processes
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.media.locking import hold
from svp_diffusers.media.manifest import get_manifest_path, hash_file

from .conftest import write_speech
from .test_generation import request


def line(files: Path, output: str, **changes: Any) -> dict[str, Any]:
    """A line that the tiny pipeline makes in a second."""
    arguments = {
        "image": str(files / "portrait.png"),
        "audio": str(files / "speech.wav"),
        "output": output,
        "model": str(files / "checkpoint"),
        "steps": 1,
        "size": 64,
        "guidance_scale": 1.0,
        "detect_face": False,
    }
    return {**arguments, **changes}


def write_manifest(path: Path, lines: Sequence[dict[str, Any] | str]) -> Path:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def here(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Run jobs in this process."""
    worker = Worker(None)
    yield from map(worker.run, jobs)


def results(outcomes: Sequence[Outcome]) -> list[str]:
    return [each.result for each in outcomes]


def read_report(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_line_gives_the_bytes_of_svp_generate(files: Path, tmp_path: Path) -> None:
    manifest = write_manifest(
        tmp_path / "m.jsonl",
        [line(files, "a.mp4", seed=1), line(files, "below/b.mp4", num_styles=2, style="prior")],
    )
    outcomes = make_batch(manifest, tmp_path / "out", here)
    assert results(outcomes) == [MADE, MADE]
    generate_video(request(files, tmp_path / "a.mp4", seed=1))
    assert hash_file(tmp_path / "out" / "a.mp4") == hash_file(tmp_path / "a.mp4")
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.mp4*")}
    videos = ["a.mp4", "below/b.mp4", "below/b-1.mp4", "below/b-2.mp4"]
    assert made == {*videos, *(f"{name}.json" for name in videos)}
    assert not (tmp_path / "out" / ".work").exists()


def test_a_rate_is_a_number_or_a_text(files: Path, tmp_path: Path) -> None:
    lines = [line(files, f"{number}.mp4", fps=fps) for number, fps in enumerate([12, 12.5, "25/2"])]
    read = read_lines(write_manifest(tmp_path / "m.jsonl", lines), tmp_path / "out")
    assert [each.request and each.request.fps for each in read] == ["12", "12.5", "25/2"]


def test_given_again_only_what_differs_is_made(files: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("portrait.png", "speech.wav"):
        shutil.copy(files / name, own)
    lines = [line(files, f"{i}.mp4", image=str(own / "portrait.png"), seed=i) for i in range(3)]
    lines.append(line(files, "3.mp4", audio=str(own / "speech.wav")))
    out = tmp_path / "out"
    manifest = write_manifest(tmp_path / "m.jsonl", lines)
    assert results(make_batch(manifest, out, here)) == [MADE] * 4
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")}
    assert results(make_batch(manifest, out, here)) == [KEPT] * 4
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")} == before

    older = get_manifest_path(out / "0.mp4")  # of a version without an option that is not used
    known = json.loads(older.read_text())
    del known["request"]["detail_scale"]
    older.write_text(json.dumps(known))
    assert results(make_batch(manifest, out, here)) == [KEPT] * 4

    lines[0]["seed"] = 7  # another request
    (out / "1.mp4").write_bytes(b"damaged")
    get_manifest_path(out / "2.mp4").unlink()
    write_speech(own / "speech.wav", 0.2)  # another input under the same name
    write_manifest(manifest, lines)
    assert results(make_batch(manifest, out, here)) == [MADE] * 4
    assert results(make_batch(manifest, out, here)) == [KEPT] * 4

    moved = own.rename(tmp_path / "moved")  # where inputs lie does not matter
    for each in lines:
        each["image"] = each["image"].replace(str(own), str(moved))
        each["audio"] = each["audio"].replace(str(own), str(moved))
    write_manifest(manifest, lines)
    assert results(make_batch(manifest, out, here)) == [KEPT] * 4


BAD: dict[str, tuple[Any, str, str]] = {
    "no JSON": ("portrait.png speech.wav", "ConfigurationError", "Invalid JSON"),
    "no object": ("[1]", "ConfigurationError", "object"),
    "not UTF-8": ('{"image": "\udcff"}', "ConfigurationError", "Invalid JSON"),
    "nested without end": ("[" * 10**5, "ConfigurationError", "recursion"),
    "longer than a mebibyte": (f'{{"image": "{"x" * 2**20}"}}', "ConfigurationError", "1 MiB"),
    "without an output": ({"output": ...}, "ConfigurationError", "output: Field required"),
    "an unknown option": ({"styel": "happy"}, "ConfigurationError", "styel"),
    "a number as text": ({"steps": "1"}, "ConfigurationError", "steps"),
    "not a number": ('{"guidance_scale": NaN}', "ConfigurationError", ""),
    "an output outside": ({"output": "../x.mp4"}, "ConfigurationError", "must lie below"),
    "an absolute output": ({"output": "/tmp/x.mp4"}, "ConfigurationError", "must lie below"),
    "an output in the work folder": ({"output": ".work/x.mp4"}, "ConfigurationError", "hidden"),
    "an output of another line": ({"output": "good.mp4"}, "ConfigurationError", "line 1 makes"),
    "an output in another's": ({"output": "good.mp4/x.mp4"}, "ConfigurationError", "line 1 makes"),
    "a performance of another": (
        {"output": "good.mp4", "num_styles": 2},
        "ConfigurationError",
        "line 1 makes good.mp4",
    ),
    "performances without end": ({"num_styles": 10**12}, "ConfigurationError", "1 to 100"),
    "no such portrait": ({"image": "=cmd|' /C calc'!A0"}, "MediaError", "does not exist"),
    "no such style": ({"style": "furious"}, "StyleError", "unknown style"),
    "no such checkpoint": ({"model": "nowhere/at-all"}, "CheckpointError", "neither"),
    "a picture as speech": ({"audio": "portrait.png"}, "MediaError", "audio"),
    "an impossible value": ({"style_temperature": -1}, "ConfigurationError", "from 0 to 100"),
    "a failure of ours": ({"seed": 2**70}, "", ""),
}


def test_bad_lines_are_rows_of_the_report_and_the_others_are_made(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines: list[Any] = [line(files, "good.mp4")]
    for number, (wrong, _, _) in enumerate(BAD.values()):
        if isinstance(wrong, str):
            lines.append(wrong)
            continue
        if wrong.get("audio"):
            wrong = {"audio": str(files / wrong["audio"])}
        changed = {**line(files, f"{number}.mp4"), **wrong}
        lines.append({key: value for key, value in changed.items() if value is not ...})
    lines += ["", line(files, "last.mp4")]
    manifest = tmp_path / "m.jsonl"
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    manifest.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode("utf-8", "surrogateescape"))
    out = tmp_path / "out"
    outcomes = make_batch(manifest, out, here)
    assert results(outcomes) == [MADE, *[FAILED] * len(BAD), MADE]
    assert outcomes[-1].line == len(BAD) + 3  # as an editor counts, empty lines too
    for row, (what, (_, kind, words)) in zip(read_report(out)[1:-1], BAD.items(), strict=True):
        assert row["error"] == kind if kind else row["error"], what
        assert words in row["message"], what
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values()), what
    assert sorted(path.name for path in out.glob("*.mp4")) == ["good.mp4", "last.mp4"]


def test_a_video_is_not_written_over_an_input(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_batch(write_manifest(tmp_path / "m.jsonl", [line(files, "a.mp4")]), out, here)
    sound = (out / "a.mp4").read_bytes()
    manifest = write_manifest(
        tmp_path / "m.jsonl", [line(files, "a.mp4", audio=str(out / "a.mp4"))]
    )
    (outcome,) = make_batch(manifest, out, here)
    assert outcome.error == "ConfigurationError"
    assert (out / "a.mp4").read_bytes() == sound


def test_what_a_killed_batch_finished_is_moved_and_the_rest_deleted(
    files: Path, tmp_path: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [line(files, "below/a.mp4")])
    make_batch(manifest, tmp_path / "whole", here)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole/below").iterdir()}
    out = tmp_path / "out"  # as if killed between the moves of the video and of its manifest
    for name, folder in (("a.mp4", out / "below"), ("a.mp4.json", out / ".work/1/below")):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(whole[name])
    (out / ".work/.partial-x/2").mkdir(parents=True)
    (out / ".work/.lock-x-file").touch()
    (out / ".work/7/below/a.mp4").mkdir(parents=True)  # of a line that could not be moved
    (out / ".work/7/below/a.mp4/b.mp4").touch()
    assert results(make_batch(manifest, out, here)) == [KEPT]
    assert {path.name: path.read_bytes() for path in (out / "below").iterdir()} == whole
    assert not (out / ".work").exists()


def test_a_batch_reports_while_it_is_at_work(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svp_diffusers.generation.batch.run.REPORT_SECONDS", 0.0)
    folder = tmp_path / "out"
    seen: list[int] = []

    def end(jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            yield job.end(KEPT)
            seen.append(len(read_report(folder)))

    lines = [line(files, f"{number}.mp4") for number in range(3)]
    make_batch(write_manifest(tmp_path / "m.jsonl", [*lines, "{}"]), folder, end)
    assert seen == [2, 3, 4]


def test_warnings_are_notes(files: Path, tmp_path: Path) -> None:
    boxed = line(files, "a.mp4", detect_face=True, bbox=[10, 10, 90, 90])
    (outcome,) = make_batch(write_manifest(tmp_path / "m.jsonl", [boxed]), tmp_path, here)
    assert outcome.result == MADE
    assert "no face is seen in the box" in outcome.notes


def test_two_batches_do_not_write_to_one_folder(files: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [line(files, "a.mp4")])
    with hold(tmp_path / "out", "batch"), pytest.raises(OutputError, match="another"):
        make_batch(manifest, tmp_path / "out", here)


def test_a_manifest_without_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(ConfigurationError, match="no lines"):
        make_batch(tmp_path / "empty.jsonl", tmp_path / "out", here)
    with pytest.raises(MediaError, match="does not exist"):
        make_batch(tmp_path / "none.jsonl", tmp_path / "out", here)


def test_rate_and_time_left_are_of_the_videos_made_now() -> None:
    outcomes = [Outcome(i, "", each) for i, each in enumerate([KEPT] * 5 + [MADE] * 4 + [FAILED])]
    assert describe_progress(outcomes, 40, 120.0) == (
        "10 of 40 lines: 4 made, 5 kept, 1 failed; 2.0 videos a minute, 0:15:00 left"
    )


def test_before_anything_is_made_a_batch_says_what_it_is_doing() -> None:
    assert describe_progress([], 3, 0.0) == "0 of 3 lines: 0 made, 0 kept, 0 failed; starting"
    assert describe_progress([Outcome(1, "", KEPT)], 3, 9.0) == (
        "1 of 3 lines: 0 made, 1 kept, 0 failed; comparing what is there"
    )
    assert describe_progress([Outcome(1, "", KEPT)], 1, 9.0) == (
        "1 of 1 lines: 0 made, 1 kept, 0 failed"
    )


# In processes of their own: what takes long to start is marked slow.


def command(manifest: Path, out: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "svp_diffusers", "batch"),
        *(str(manifest), "-o", str(out), *options),
    ]


def hash_videos(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.glob("*.mp4"))}


@pytest.mark.slow(minutes=3)
def test_200_lines_killed_five_times_are_each_made_once(files: Path, tmp_path: Path) -> None:
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    lines: list[Any] = [
        line(files, f"{i:03}.mp4", image=str(tmp_path / f"{i % 4}.png"), seed=i) for i in range(200)
    ]
    bad = ["nonsense", *({"image": "none.png"},) * 9]
    manifest = write_manifest(tmp_path / "m.jsonl", [*lines, *bad])
    out = tmp_path / "out"
    made: dict[str, tuple[int, int]] = {}
    for kill in range(5):
        batch = subprocess.Popen(command(manifest, out, "--workers", str(1 + kill % 2)))
        there = len(made)
        while len(list(out.glob("*.mp4"))) < min(there + 10 + 7 * kill, 190):
            assert batch.poll() is None
            time.sleep(0.05)
        os.kill(batch.pid, signal.SIGKILL)
        batch.wait()
        deadline = time.monotonic() + 60
        while any(
            str(manifest) in (each.info["cmdline"] or ())
            for each in psutil.process_iter(["cmdline"])
        ):
            assert time.monotonic() < deadline
        time.sleep(1)  # workers see that their parent is gone
        for path in out.glob("*.mp4"):
            state = path.stat()
            known = made.setdefault(path.name, (state.st_ino, state.st_mtime_ns))
            assert known == (state.st_ino, state.st_mtime_ns), f"{path.name} was made twice"
    last = subprocess.run(command(manifest, out, "--workers", "2"))
    assert last.returncode == 1
    rows = read_report(out)
    counts = {kind: sum(row["result"] == kind for row in rows) for kind in (MADE, KEPT, FAILED)}
    assert counts[FAILED] == 10
    assert counts[MADE] + counts[KEPT] == 200
    assert counts[KEPT] >= len(made)
    for path in out.glob("*.mp4"):
        state = path.stat()
        assert made.get(path.name, (state.st_ino, state.st_mtime_ns))[0] == state.st_ino
        assert json.loads(get_manifest_path(path).read_text())["output"]["sha256"] == hash_file(
            path
        )
    assert not [path for path in [*tmp_path.iterdir(), *out.iterdir()] if path.name[0] == "."]
    assert len(hash_videos(out)) == 200
    for i in range(0, 200, 25):
        changes = {"image": tmp_path / f"{i % 4}.png", "seed": i}
        generate_video(request(files, tmp_path / f"{i:03}.mp4", **changes))
        assert hash_file(tmp_path / f"{i:03}.mp4") == hash_file(out / f"{i:03}.mp4")


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_line_only(files: Path, tmp_path: Path) -> None:
    write_speech(tmp_path / "long.wav", 60)
    long = line(files, "long.mp4", audio=str(tmp_path / "long.wav"), steps=20)
    lines = [line(files, "0.mp4"), long, line(files, "2.mp4")]
    manifest = write_manifest(tmp_path / "m.jsonl", lines)

    def kill_the_long(outcomes: Sequence[Outcome], total: int) -> None:
        if len(outcomes) == 1:
            children = psutil.Process().children()
            (worker,) = [each for each in children if "resource_tracker" not in str(each.cmdline())]
            worker.kill()

    outcomes = make_batch(manifest, tmp_path / "out", in_processes(1), kill_the_long)
    assert results(outcomes) == [MADE, FAILED, MADE]
    assert "want of memory" in outcomes[1].message


@pytest.mark.slow
def test_one_and_two_workers_and_ray_give_the_same_bytes(files: Path, tmp_path: Path) -> None:
    lines = [line(files, f"{i}.mp4", seed=i, style="prior") for i in range(6)]
    manifest = write_manifest(tmp_path / "m.jsonl", lines)
    runs = {"one": ["--workers", "1"], "two": ["--workers", "2"]}
    try:
        import ray  # noqa: F401

        runs["ray"] = ["--ray", "local", "--workers", "2"]
    except ImportError:
        pass
    found = []
    for name, options in runs.items():
        subprocess.run(command(manifest, tmp_path / name, *options), check=True)
        found.append(hash_videos(tmp_path / name))
    assert len(found[0]) == 6
    assert all(each == found[0] for each in found)
