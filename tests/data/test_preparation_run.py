"""Runs over many videos: resumed, killed, repeated, in vain."""

from dataclasses import replace
from pathlib import Path

import pytest
from drawn_videos import (
    DEADLY,
    KillingDetector,
    SquareDetector,
    draw_frames,
    make_sound,
    write_video,
)
from preparing import SETTINGS, prepare_here, run_here

from svp_diffusers.data.preparation.run import in_processes, prepare
from svp_diffusers.data.preparation.sources import list_sources
from svp_diffusers.data.shards import verify
from svp_diffusers.errors import DatasetError, OutputError

pytest.importorskip("scenedetect", reason="the extra `data` is not installed")
pytest.importorskip("silero_vad", reason="the extra `data` is not installed")


def test_a_video_that_kills_whoever_reads_it_is_a_line_and_the_rest_goes_on(tmp_path):
    for name, background in (("a", 40), ("deadly", DEADLY), ("z", 50)):
        frames = draw_frames(75, background=background)
        write_video(tmp_path / f"{name}.mp4", frames, sound=make_sound(3))
    sources = list_sources([str(tmp_path)])
    outcomes = prepare(sources, tmp_path / "o", SETTINGS, KillingDetector, in_processes(2))
    kept = {Path(outcome.path).stem: bool(outcome.parts[0].key) for outcome in outcomes}
    assert kept == {"a": True, "deadly": False, "z": True}
    assert "the process that read it died" in outcomes[1].parts[0].detail
    assert verify(tmp_path / "o") == []


def test_work_that_is_done_is_not_done_again(tmp_path):
    videos = [
        write_video(tmp_path / f"{n}.mp4", draw_frames(75, background=n), sound=make_sound(3))
        for n in (40, 50)
    ]
    prepare_here(videos, tmp_path / "whole")
    sources = list_sources([str(video) for video in videos])

    class Killed(BaseException):
        pass

    def stop_after_one(jobs):
        jobs[0].run()
        yield
        raise Killed

    with pytest.raises(Killed):
        prepare(sources, tmp_path / "resumed", SETTINGS, SquareDetector, stop_after_one)
    assert not (tmp_path / "resumed" / "index.json").exists()
    ran = []

    def count(jobs):
        ran.extend(jobs)
        return run_here(jobs)

    prepare(sources, tmp_path / "resumed", SETTINGS, SquareDetector, count)
    assert [job.source.path for job in ran] == [videos[1]]
    for name in ("index.json", "report.csv", "report.html", "train-000000.tar"):
        whole, resumed = tmp_path / "whole" / name, tmp_path / "resumed" / name
        assert whole.read_bytes() == resumed.read_bytes()


def test_a_folder_is_prepared_by_one_process_at_a_time(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    sources, output = list_sources([str(tmp_path)]), tmp_path / "o"

    def start_another(jobs):
        with pytest.raises(OutputError, match="another process"):
            prepare(sources, output, SETTINGS, SquareDetector, run_here)
        return run_here(jobs)

    prepare(sources, output, SETTINGS, SquareDetector, start_another)
    assert sorted(path.name for path in output.iterdir()) == [
        "index.json",
        "report.csv",
        "report.html",
        "train-000000.tar",
    ]


def test_the_output_may_lie_inside_the_input(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))

    def stop(jobs):
        jobs[0].run()
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        prepare(list_sources([str(tmp_path)]), tmp_path / "o", SETTINGS, SquareDetector, stop)
    assert list(prepare_here([tmp_path], tmp_path / "o")) == ["a.mp4"]


def test_other_settings_or_a_changed_video_are_done_again(tmp_path):
    video = write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    names = set()

    def note(jobs):
        names.update(job.directory.name for job in jobs)
        raise KeyboardInterrupt

    def attempt(settings):
        with pytest.raises(KeyboardInterrupt):
            prepare(list_sources([str(video)]), tmp_path / "o", settings, SquareDetector, note)

    attempt(SETTINGS)
    attempt(SETTINGS)
    assert len(names) == 1
    attempt(replace(SETTINGS, size=32))
    assert len(names) == 2
    write_video(video, draw_frames(80), sound=make_sound(3))
    attempt(SETTINGS)
    assert len(names) == 3


def test_nothing_usable_is_an_error_with_a_report(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DatasetError, match=r"report\.html says why"):
        prepare_here([tmp_path / "empty.mp4"], tmp_path / "out")
    assert "empty file" in (tmp_path / "out" / "report.csv").read_text()
    assert not (tmp_path / "out" / "index.json").exists()
