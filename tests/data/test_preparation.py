"""Whole videos through the preparation: what is kept, corrected and refused."""

import csv
import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from drawn_videos import (
    SquareDetector,
    draw_frame,
    draw_frames,
    make_sound,
    rotate_by_metadata,
    write_video,
)
from PIL import Image
from preparing import SETTINGS, prepare_here, prepare_one, run_here

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.preparation.recording import PartOutcome, VideoOutcome, prepare_video
from svp_diffusers.data.preparation.report import write_report
from svp_diffusers.data.preparation.run import prepare
from svp_diffusers.data.preparation.sources import Source, list_sources
from svp_diffusers.data.shards import verify
from svp_diffusers.errors import DatasetError, FaceError
from svp_diffusers.media.face_track import FaceTrack

pytest.importorskip("scenedetect", reason="the extra `data` is not installed")
pytest.importorskip("silero_vad", reason="the extra `data` is not installed")


@pytest.fixture(scope="module")
def unsuitable(tmp_path_factory):
    """A good video and every kind of broken or unsuitable file."""
    folder = tmp_path_factory.mktemp("unsuitable")
    sound = make_sound(3)
    write_video(folder / "good.mp4", draw_frames(75), sound=sound)
    write_video(folder / "no_sound.mp4", draw_frames(75, background=61))
    write_video(folder / "no_video.m4a", None, sound=sound)
    write_video(folder / "three_fps.mp4", draw_frames(9), fps=3, sound=sound)
    write_video(folder / "two_frames.mp4", draw_frames(2), sound=make_sound(0.08))
    cut = [*draw_frames(25, background=20), *draw_frames(75, background=200)]
    write_video(folder / "cut_after_one_second.mp4", cut, sound=make_sound(4))
    phone = list(draw_frames(75, background=62))
    for frame in phone:
        frame[:20] = 250
    write_video(folder / "phone.mp4", phone, sound=sound)
    rotate_by_metadata(folder / "phone.mp4")
    times = list(np.cumsum([0, *([20, 20, 80] * 25)])[:75])
    variable = draw_frames(75, background=63)
    write_video(folder / "variable.mp4", variable, sound=sound, times=[int(t) for t in times])
    pair = [draw_frame(faces=[(5, 30), (80, 30)])] * 75
    write_video(folder / "two_faces.mp4", pair, sound=sound)
    write_video(folder / "no_face.mp4", [draw_frame(faces=[])] * 75, sound=sound)
    write_video(folder / "silent.mp4", draw_frames(75, background=64), sound=0 * sound)
    small = [draw_frame(faces=[(40, 40)], size=10)] * 75
    write_video(folder / "small_face.mp4", small, sound=sound)
    data = (folder / "good.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(data[: len(data) // 2])
    fast = write_video(
        folder / "fast.mp4", draw_frames(75), sound=sound, options={"movflags": "faststart"}
    )
    data = fast.read_bytes()
    (folder / "truncated_faststart.mp4").write_bytes(data[: len(data) * 2 // 3])
    fast.unlink()
    (folder / "zero_bytes.mp4").touch()
    (folder / "text.mp4").write_text("not a video at all\n" * 100)
    write_video(folder / "video.txt", draw_frames(75, background=65), sound=sound)
    (folder / "twin.mp4").write_bytes((folder / "good.mp4").read_bytes())
    write_video(folder / "<b>refused & co.mp4", draw_frames(75, background=66), sound=sound)
    (folder / "metadata.csv").write_text(
        "file,speaker,consent\n<b>refused & co.mp4,anna,no\ngood.mp4,ben,yes\n"
    )
    return folder


@pytest.fixture(scope="module")
def prepared(unsuitable, tmp_path_factory):
    directory = tmp_path_factory.mktemp("prepared") / "clips"
    outcomes = prepare_here([unsuitable], directory, metadata=unsuitable / "metadata.csv")
    return directory, outcomes


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("no_sound.mp4", "no sound", "pictures only"),
        ("no_video.m4a", "no video", "sound only"),
        ("three_fps.mp4", "frame rate too low", "3.00 frames a second"),
        ("two_frames.mp4", "too short", "2 frames, 0.08 s"),
        ("two_faces.mp4", "several faces", "in 75 of 75 frames"),
        ("no_face.mp4", "no face", "in 75 of 75 frames"),
        ("silent.mp4", "silent", "is silent"),
        ("small_face.mp4", "face too small", "a crop of 20 pixels for frames of 64"),
        ("truncated.mp4", "truncated file", "without its index"),
        ("truncated_faststart.mp4", "truncated file", "of the 3.00 s it declares"),
        ("zero_bytes.mp4", "empty file", "0 bytes"),
        ("text.mp4", "not a media file", "cannot be decoded"),
        ("metadata.csv", "not a media file", "cannot be decoded"),
        ("twin.mp4", "duplicate", "good.mp4"),
        ("<b>refused & co.mp4", "consent refused", "consent: no"),
    ],
)
def test_an_unsuitable_file_is_refused_with_its_reason(prepared, name, reason, detail):
    outcome = prepared[1][name]
    assert [part.reason for part in outcome.parts] == [reason]
    assert detail in outcome.parts[0].detail
    assert outcome.parts[0].key is None


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("phone.mp4", "stored rotated by"),
        ("variable.mp4", "variable frame rate, made constant at 25 fps"),
        ("video.txt", "extension .txt, content mov,mp4"),
    ],
)
def test_what_can_be_corrected_is_kept_with_a_note(prepared, name, note):
    outcome = prepared[1][name]
    assert [bool(part.key) for part in outcome.parts] == [True]
    assert any(text.startswith(note) for text in outcome.notes)


def test_a_shot_of_one_second_is_refused_and_the_next_one_kept(prepared):
    outcome = prepared[1]["cut_after_one_second.mp4"]
    short, kept = sorted(outcome.parts, key=lambda part: part.start)
    assert (short.start, short.stop, short.reason) == (0.0, 1.0, "shot too short")
    assert (kept.start, kept.stop, kept.reason) == (1.0, 4.0, "")
    assert "2 shots" in outcome.notes


def test_the_result_verifies_and_holds_what_was_kept(prepared):
    directory, outcomes = prepared
    assert verify(directory) == []
    dataset = ClipDataset(str(directory))
    kept = [part.key for outcome in outcomes.values() for part in outcome.parts if part.key]
    assert sorted(kept) == sorted(entry.key for entry in dataset.entries)
    assert len(kept) == 5
    good = next(clip for clip in map(dataset.__getitem__, range(5)) if "good" in clip.key).decode()
    assert good.frames.shape == (75, 64, 64, 3)
    assert good.waveform.shape == (3 * 16000,)
    assert good.metadata["speaker"] == "ben"
    assert good.metadata["split"] == "train"
    assert not (directory / "work").exists()


def test_a_rotated_video_is_upright_in_the_dataset(prepared):
    directory, _ = prepared
    dataset = ClipDataset(str(directory))
    index = next(i for i, entry in enumerate(dataset.entries) if "phone" in entry.key)
    frame = dataset[index].decode(0, 1).frames[0].mean(axis=2)
    assert frame[:, -6:].min() > 200  # the bright bar, stored at the top, turned to the right
    assert frame[:, :6].max() < 100


def test_the_report_names_every_input_and_escapes_it(prepared, unsuitable):
    directory, outcomes = prepared
    with (directory / "report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["file"]) for row in rows} == set(unsuitable.iterdir())
    assert all(row["key"] if row["result"] == "kept" else row["reason"] for row in rows)
    page = (directory / "report.html").read_text()
    assert "&lt;b&gt;refused &amp; co.mp4" in page
    assert "<b>" not in page
    pictures = sum(bool(part.thumbnail) for o in outcomes.values() for part in o.parts)
    assert page.count("data:image/jpeg;base64,") == pictures
    assert pictures > 10


def test_keypoints_follow_the_face_into_the_crop(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    prepare_one(tmp_path / "a.mp4", tmp_path / "out")
    clip = ClipDataset(str(tmp_path / "out"))[0].decode()
    detector = SquareDetector()
    for frame, keypoints in zip(clip.frames, clip.head_keypoints, strict=True):
        box = detector.detect(Image.fromarray(frame))[0].bbox
        # The threshold of the detector moves the edge of a scaled square by up to a pixel.
        np.testing.assert_allclose(keypoints[0], box[:2], atol=1.5)
        np.testing.assert_allclose(keypoints[2], box[2:], atol=1.5)


@pytest.mark.parametrize("fps", [25, 30, Fraction(24000, 1001)])
@pytest.mark.parametrize("variable", [False, True])
def test_sound_and_picture_stay_together(tmp_path, fps, variable):
    """A flash and a click at 2.6 s are found in the same frame of the second clip."""
    rate = 44_100
    sound = make_sound(4, rate) * 0.02
    sound[round(2.6 * rate) : round(2.6 * rate) + 400] = 0.9
    step = 1000 / float(fps)
    times = [round(step * (i + (0.4 if variable and i % 2 else 0))) for i in range(int(4 * fps))]
    flashing = [abs(t - 2600) < step for t in times]
    frames = [draw_frame(flash=flash) for flash in flashing]
    write_video(tmp_path / "a.mp4", frames, fps, sound, times if variable else None, rate)
    halves = replace(SETTINGS, minimum_seconds=1, maximum_seconds=2)
    prepare_one(tmp_path / "a.mp4", tmp_path / "out", halves)
    clips = ClipDataset(str(tmp_path / "out"))
    clip = clips[1].decode()
    assert len(clips) == 2
    assert clip.metadata["start_seconds"] == pytest.approx(2, abs=0.05)
    flash = np.flatnonzero(clip.frames[:, :5, :, 1].mean(axis=(1, 2)) > 150).mean()
    click = np.argmax(np.abs(clip.waveform) > 0.3) / 16_000 * 25
    assert abs(flash - click) < 1
    assert clip.fps == 25


def test_a_long_shot_is_cut_into_equal_parts(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(175), sound=make_sound(7))
    outcome = prepare_one(
        tmp_path / "a.mp4",
        tmp_path / "out",
        replace(SETTINGS, minimum_seconds=1, maximum_seconds=3),
    )
    assert [(part.start, part.stop) for part in outcome.parts] == [
        (0.0, 2.32),
        (2.32, 4.64),
        (4.64, 7.0),
    ]


def test_sound_that_ends_early_ends_the_clip(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(100), sound=make_sound(3))
    outcome = prepare_one(tmp_path / "a.mp4", tmp_path / "out")
    assert outcome.parts[0].stop == pytest.approx(3, abs=0.05)
    assert outcome.notes == ("sound ends 1.0 s before the picture",)


def test_sound_of_an_unknown_kind_is_refused(tmp_path):
    video = tmp_path / "a.mkv"
    write_video(video, draw_frames(75), sound=make_sound(3), container_format="matroska")
    video.write_bytes(video.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    outcome = prepare_one(video, tmp_path / "out")
    assert outcome.parts[0].reason == "damaged file"
    assert "of a kind that FFmpeg does not know" in outcome.parts[0].detail


def test_a_finished_dataset_is_left_alone(prepared, unsuitable):
    with pytest.raises(DatasetError, match="already holds a finished dataset"):
        prepare_here([unsuitable / "good.mp4"], prepared[0])


@pytest.mark.parametrize(
    ("rows", "shape", "keypoints"),
    [
        (np.tile([[54, 40], [74, 40], [64, 51]], (75, 1, 1)), (3, 2), "v3"),
        (np.tile([44, 28, 84, 68], (75, 1)), None, None),
    ],
)
def test_faces_may_be_given_as_files(tmp_path, rows, shape, keypoints):
    video = write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    np.save(tmp_path / "a.npy", rows.astype(np.float32))
    sources = list_sources([str(tmp_path)], face_files="{parent}/{stem}.npy")
    assert [source.path for source in sources] == [video]
    prepare(sources, tmp_path / "out", SETTINGS, None, run_here)
    clip = ClipDataset(str(tmp_path / "out"))[0]
    assert clip.header["head_keypoints"] == keypoints
    if shape:
        points = clip.decode().head_keypoints
        assert points.shape == (75, *shape)
        assert ((points > 0) & (points < 64)).all()


@pytest.mark.parametrize(
    ("rows", "detail"),
    [
        (np.zeros((74, 3, 2)), "74 rows, the video 75 frames"),
        (np.zeros((75, 5, 2)), "expected an array"),
        (np.full((75, 4), "left"), "expected an array"),
        (b"\x93NUMPY damaged", "its header is not one"),
        (None, "does not exist"),
    ],
)
def test_an_unusable_face_file_is_named(tmp_path, rows, detail):
    video = write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    if isinstance(rows, bytes):
        (tmp_path / "a.npy").write_bytes(rows)
    elif rows is not None:
        np.save(tmp_path / "a.npy", rows)
    source = Source(video, {"split": "train"}, tmp_path / "a.npy")
    outcome = prepare_video(source, SETTINGS, tmp_path / "out", None)
    assert outcome.parts[0].reason == "unusable face file"
    assert detail in outcome.parts[0].detail


def test_the_index_knows_no_path_of_the_machine(prepared, unsuitable):
    text = (prepared[0] / "index.json").read_text()
    assert json.loads(text)
    assert str(unsuitable) not in text


def write_expressions(path, frames):
    values = np.tile(np.linspace(0, 1, frames, dtype=np.float32)[:, None], (1, 52))
    np.savez(path, expression=values, space="arkit52", fps=25)
    return values


def test_expressions_may_be_given_as_files(tmp_path):
    write_video(tmp_path / "a.mp4", draw_frames(100), sound=make_sound(4))
    values = write_expressions(tmp_path / "a.npz", 99)
    listing = {"expression_files": "{parent}/{stem}.npz"}
    halves = replace(SETTINGS, minimum_seconds=1, maximum_seconds=2)
    outcomes = prepare_here([tmp_path], tmp_path / "out", halves, **listing)
    assert list(outcomes) == ["a.mp4"]
    first, second = map(ClipDataset(str(tmp_path / "out")).__getitem__, (0, 1))
    assert first.header["expression_space"] == "arkit52"
    np.testing.assert_array_equal(first.decode().expression, values[:50])
    held = np.concatenate([values[50:], values[-1:]])
    np.testing.assert_array_equal(second.decode().expression, held)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(range(256))])
def test_a_broken_file_of_expressions_is_a_line_in_the_report_and_the_rest_goes_on(
    tmp_path, content
):
    for name, background in (("a", 40), ("b", 50)):
        frames = draw_frames(75, background=background)
        write_video(tmp_path / f"{name}.mp4", frames, sound=make_sound(3))
    (tmp_path / "a.npz").write_bytes(content)
    write_expressions(tmp_path / "b.npz", 75)
    listing = {"expression_files": "{parent}/{stem}.npz"}
    outcomes = prepare_here([tmp_path], tmp_path / "out", **listing)
    assert [part.reason for part in outcomes["a.mp4"].parts] == ["unusable expression file"]
    assert [part.reason for part in outcomes["b.mp4"].parts] == [""]


def test_a_name_in_another_encoding_is_prepared_and_readable(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    write_video(tmp_path / "cafe.mp4", draw_frames(75), sound=make_sound(3)).rename(tmp_path / name)
    prepare_here([tmp_path], tmp_path / "out")
    clip = ClipDataset(str(tmp_path / "out"))[0]
    assert clip.metadata["source"] == r"caf\udce9.mp4"
    for report in ("report.csv", "report.html"):
        assert r"caf\udce9.mp4" in (tmp_path / "out" / report).read_text(encoding="utf-8")


def test_no_cell_of_the_report_is_a_formula(tmp_path):
    part = PartOutcome(None, None, None, "damaged", "@detail", "")
    notes = ("=HYPERLINK(1)",)
    write_report([VideoOutcome("+path", "0", notes, (part,))], tmp_path)
    (row,) = csv.DictReader((tmp_path / "report.csv").open(newline=""))
    assert (row["file"], row["detail"], row["notes"]) == ("'+path", "'@detail", "'=HYPERLINK(1)")


def test_expressions_of_another_length_are_refused(tmp_path):
    video = write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    write_expressions(tmp_path / "a.npz", 60)
    source = Source(video, {"split": "train"}, expression_file=tmp_path / "a.npz")
    outcome = prepare_video(source, SETTINGS, tmp_path / "out", SquareDetector)
    assert outcome.parts[0].reason == "unusable expression file"
    assert "lasts 60 frames at 25 fps, the video 75" in outcome.parts[0].detail


def test_expressions_are_seen_in_the_cropped_frames(tmp_path, monkeypatch):
    seen = []

    def follow(frames, fps, source, landmarker):
        seen.extend(frames)
        if source != "the clip" or len(seen) > 75:
            raise FaceError("no face is seen in the clip")
        zeros = np.zeros((len(frames), 52), np.float32)
        return FaceTrack(zeros, np.zeros((1, 8, 2)), np.zeros((1, 3, 2)), ())

    monkeypatch.setattr(f"{prepare_video.__module__}.follow_face", follow)
    video = write_video(tmp_path / "a.mp4", draw_frames(75), sound=make_sound(3))
    settings = replace(SETTINGS, estimate_expressions=True)
    prepare_one(video, tmp_path / "out", settings)
    clip = ClipDataset(str(tmp_path / "out"))[0].decode()
    assert clip.expression.shape == (75, 52)
    assert {frame.shape for frame in seen} == {(64, 64, 3)}
    outcome = prepare_one(video, tmp_path / "blind", settings)
    assert outcome.parts[0].reason == "no expression found"
