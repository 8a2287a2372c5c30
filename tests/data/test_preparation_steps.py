"""Each step of the preparation by itself."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_videos import draw_frame, draw_frames, make_sound, write_video

from svp_diffusers.data.preparation.faces import (
    DetectedFace,
    FaceTracker,
    box_from_keypoints,
    complete_track,
    crop_frame,
    plan_crop,
)
from svp_diffusers.data.preparation.probing import probe_video
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.data.preparation.shots import ShotDetector, split_shots
from svp_diffusers.data.preparation.sources import list_sources
from svp_diffusers.data.preparation.speech import find_speech, measure_speech
from svp_diffusers.errors import ConfigurationError, DatasetError, MediaError
from svp_diffusers.media.faces import Face, face_from_bbox
from svp_diffusers.media.video import read_frames

FPS = Fraction(25)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 500}, "multiple of 8"),
        ({"minimum_seconds": 6.0}, "at least twice"),
        ({"minimum_seconds": 0.0}, "at least twice"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        PreparationSettings(**values)


# sources


def test_sources_are_found_in_folders_globs_and_lists(tmp_path, monkeypatch):
    for name in ("a/one.mp4", "a/b/two.mp4", "a/.hidden/no.mp4", "c.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'c.mov'}\n\n{tmp_path / 'a'}\n")

    def names(*inputs):
        return [str(source.path.relative_to(tmp_path)) for source in list_sources(inputs)]

    assert names(str(tmp_path / "a")) == ["a/b/two.mp4", "a/one.mp4"]
    assert names(str(tmp_path / "a"), str(tmp_path / "a/one.mp4")) == ["a/b/two.mp4", "a/one.mp4"]
    assert names(f"{tmp_path}/**/*.mp4") == ["a/b/two.mp4", "a/one.mp4"]
    assert names(f"@{tmp_path}/list.txt") == ["a/b/two.mp4", "a/one.mp4", "c.mov"]
    monkeypatch.chdir(tmp_path)
    assert names("c.mov") == ["c.mov"]
    with pytest.raises(MediaError, match="matches no file"):
        names("nothing*.mp4")


def test_metadata_go_to_their_video_and_gaps_are_noted(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("x")
    table = tmp_path / "metadata.csv"
    table.write_text("file,speaker,emotion,split\na.mp4,anna,,test\n")
    first, second = list_sources([f"{tmp_path}/*.mp4"], table)
    assert first.metadata == {"speaker": "anna", "split": "test"}
    assert second.metadata == {"split": "train"}
    assert (first.notes, second.notes) == ((), ("no row in metadata.csv",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speaker\nanna\n", "needs a `file`"),
        ("file,speaker\na.mp4\n", "all columns"),
        ("file,speaker\na.mp4,anna,more\n", "all columns"),
        ("file\na.mp4\na.mp4\n", "comes twice"),
        ("file,split\na.mp4,dev\n", "split must be one of"),
        ("file,consent\na.mp4,maybe\n", "consent must be"),
    ],
)
def test_malformed_metadata_are_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        list_sources([str(tmp_path / "a.mp4")], tmp_path / "m.csv")


def test_a_missing_table_and_a_wrong_template_are_named(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    with pytest.raises(DatasetError, match=r"nowhere\.csv cannot be read"):
        list_sources([str(tmp_path)], Path("nowhere.csv"))
    templates = ["{name}.npy", "{}.npy", "{0}", "{stem", "stem}", "{parent.__class__}", "{stem!r}"]
    for template in [*templates, "{stem:>99999999999}", "{{stem}}"]:
        with pytest.raises(DatasetError, match="may use"):
            list_sources([str(tmp_path)], face_files=template)
    (source,) = list_sources([str(tmp_path)], face_files="{parent}/faces/{stem}{stem}.npy")
    assert source.face_file == tmp_path / "faces/aa.npy"


# probing


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov"])
def test_times_are_those_of_the_stored_frames(tmp_path, container):
    path = tmp_path / f"a.{ {'matroska': 'mkv'}.get(container, container) }"
    times = [0, 40, 80, 200, 240] + [280 + 40 * i for i in range(60)]
    frames = [draw_frame(background=20 + 3 * index) for index in range(65)]
    write_video(path, frames, 25, make_sound(2.7), times, container_format=container)
    video = probe_video(path, PreparationSettings())
    np.testing.assert_allclose(video.times, np.array(times) / 1000, atol=1e-3)
    assert video.notes == ("variable frame rate, made constant at 25 fps",)
    shown = video.frame_shown(FPS, 8)
    assert shown.tolist() == [0, 1, 2, 2, 3, 3, 4, 5]  # the nearest of those at 0, 40, 80, 200 ms
    every = [frame.mean() for frame in read_frames(path)]
    constant = [frame.mean() for _, frame in zip(range(8), read_frames(path, FPS), strict=False)]
    assert len({round(mean) for mean in every[:8]}) == 8
    assert constant == [every[index] for index in shown]


def test_a_truncated_matroska_file_is_told_from_a_short_one(tmp_path):
    path = tmp_path / "a.mkv"
    write_video(path, draw_frames(150), 25, make_sound(6), container_format="matroska")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(RejectionError, match=r"truncated file: \d\.\d\d s of the 6\.\d\d s"):
        probe_video(path, PreparationSettings())


# shots


def test_cuts_are_found_where_they_are():
    pytest.importorskip("scenedetect", reason="the extra `data` is not installed")
    shots = ShotDetector(FPS)
    for index in range(120):
        background = 30 if index < 40 else 200 if index < 90 else 90
        shots.add(draw_frame(faces=[(40 + index / 10, 30)], background=background))
    assert shots.cuts == [40, 90]


def test_a_moving_face_is_no_cut():
    pytest.importorskip("scenedetect", reason="the extra `data` is not installed")
    shots = ShotDetector(FPS)
    for index in range(100):
        shots.add(draw_frame(faces=[(44 + 30 * np.sin(index / 4), 30)]))
    assert shots.cuts == []


def test_shots_are_split_evenly_and_completely():
    settings = PreparationSettings(minimum_seconds=2, maximum_seconds=4)
    parts, too_short = split_shots([30, 150], 401, settings)
    assert too_short == [range(30)]
    assert [len(part) for part in parts] == [60, 60, 83, 84, 84]
    assert parts[0].start == 30
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert parts[-1].stop == 401


# faces


class Scripted:
    """A detector that gives what it is told, a frame at a time."""

    def __init__(self, frames):
        self.frames = iter(frames)

    def detect(self, image):
        return [Face(np.array(box, np.float32), None, 1.0) for box in next(self.frames)]


def test_the_tracker_stays_with_one_face():
    main, other = (10, 10, 50, 50), (60, 10, 98, 48)
    tracker = FaceTracker(Scripted([[main], [other, main], [], [main, (0, 0, 5, 5)]]))
    for _ in range(4):
        tracker.add(draw_frame())
    track = tracker.track()
    np.testing.assert_array_equal(track.boxes[[0, 1, 3]], [main] * 3)
    assert np.isnan(track.boxes[2]).all()
    assert track.rivals.tolist() == [False, True, False, False]
    assert track.keypoints is None


def test_short_gaps_are_filled_linearly_and_noted():
    boxes = np.tile(np.arange(20, dtype=np.float32)[:, None], (1, 4))
    keypoints = np.tile(boxes[:, None, :2], (1, 8, 1))
    track = DetectedFace(boxes.copy(), keypoints.copy(), np.zeros(20, bool))
    track.boxes[[7, 8]] = np.nan
    track.keypoints[[7, 8]] = np.nan
    filled, notes = complete_track(track)
    np.testing.assert_allclose(filled.boxes, boxes)
    np.testing.assert_allclose(filled.keypoints, keypoints)
    assert notes == ("face interpolated in 2 of 20 frames",)
    track.boxes[9] = np.nan
    with pytest.raises(RejectionError) as caught:
        complete_track(track)
    assert caught.value.reason is Reason.NO_FACE


def test_a_rejection_travels_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(RejectionError(Reason.SILENT, "no sound at all")))
    assert (error.reason, error.detail) == (Reason.SILENT, "no sound at all")


@pytest.mark.parametrize("angle", [0, 0.4, -0.4])
def test_keypoints_tell_the_face_box(angle):
    """A frontal face of 100 pixels between the eyes, tilted: the box is about 300 pixels."""
    eyes = np.array([[-50.0, 0], [50, 0]])
    three = np.concatenate([eyes, [[0, 53]]])
    eight = np.concatenate([[[-115, 5], [-112, 40], [112, 40], [115, 5], [0, 0], [0, 20]], eyes])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for points in (three, eight):
        box = box_from_keypoints((points @ turn.T + 300)[None])[0]
        np.testing.assert_allclose(box[2:] - box[:2], 300, atol=1)
        centre = (box[:2] + box[2:]) / 2
        np.testing.assert_allclose(centre, turn @ [0, 50] + 300, atol=1)


def test_the_box_keeps_its_size_when_the_head_turns():
    """Eyes at half their distance, nose and jaw as far below as before."""
    three = np.array([[[-25.0, 0], [25, 0], [20, 53]]])
    width = box_from_keypoints(three)[0, 2] - box_from_keypoints(three)[0, 0]
    assert width > 290


def test_the_crop_follows_smoothly_inside_the_picture():
    generator = np.random.default_rng(0)
    centres = np.linspace([60, 240], [600, 240], 100) + generator.normal(0, 3, (100, 2))
    boxes = np.concatenate([centres - 50, centres + 50], axis=1)
    corners, side = plan_crop(boxes, 640, 480, FPS, 128)
    assert side == pytest.approx(200, rel=0.02)
    assert (corners >= 0).all()
    assert (corners <= (640 - side, 480 - side)).all()
    inside = slice(30, 70)
    steps = np.diff(corners[inside], axis=0)
    given = np.diff(boxes[inside, :2], axis=0)
    assert steps.std(axis=0).max() < 0.1 * given.std(axis=0).min()
    np.testing.assert_allclose(corners[inside] + side / 2, centres[inside], atol=10)


def test_the_crop_equals_that_of_a_portrait():
    """What the model sees in training is cut as the portrait is cut at inference."""
    from PIL import Image

    from svp_diffusers.pipelines.head_svp import crop_around_face

    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    face = face_from_bbox([150, 100, 230, 200], 400, 300)
    portrait = crop_around_face(Image.fromarray(picture), face.bbox, 64)
    corners, side = plan_crop(np.tile(face.bbox, (5, 1)), 400, 300, FPS, 64)
    cut = crop_frame(picture, corners[2], side, 64)
    np.testing.assert_array_equal(cut, np.asarray(portrait.image))


# speech


def test_a_hum_is_no_speech():
    pytest.importorskip("silero_vad", reason="the extra `data` is not installed")
    with pytest.raises(RejectionError) as caught:
        measure_speech(make_sound(3), PreparationSettings())
    assert caught.value.reason is Reason.LITTLE_SPEECH


def test_speech_is_found_where_it_is(real_data):
    pytest.importorskip("silero_vad", reason="the extra `data` is not installed")
    import torch

    from svp_diffusers.media.audio import read_audio, to_mono

    speech = to_mono(read_audio(real_data / "speech" / "chinese.wav"))
    silence = np.zeros(4 * 16_000, np.float32)
    threads = torch.get_num_threads()
    spans = find_speech(np.concatenate([silence, speech, silence]))
    assert torch.get_num_threads() == threads
    assert spans[0][0] == pytest.approx(len(silence), abs=8_000)
    assert spans[-1][1] == pytest.approx(len(silence) + len(speech), abs=8_000)
    measure = measure_speech(speech, PreparationSettings())
    assert measure.speech > 0.8
    assert -40 < measure.loudness_dbfs < -5


def test_missing_packages_are_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "silero_vad", None)
    monkeypatch.setitem(sys.modules, "scenedetect.detectors", None)
    with pytest.raises(ImportError, match=r"svp-diffusers\[data\]"):
        find_speech(make_sound(1))
    with pytest.raises(ImportError, match=r"svp-diffusers\[data\]"):
        ShotDetector(FPS)
