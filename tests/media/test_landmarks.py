"""Faces of pictures, and one face followed through a video."""

import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.media.faces import track_head
from svp_diffusers.media.landmarks import (
    LandmarkFaceDetector,
    find_landmarks,
    load_face_landmarker,
    track_landmarks,
)
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.face_landmarker_svp import DETECTION_THRESHOLD, FaceLandmarker
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS

IRISES = [468, 473]


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return load_face_landmarker()


def portrait(index: int, size: int = 256) -> Image.Image:
    return Image.open(PORTRAITS[index]).convert("RGB").resize((size, size))


def place(*placed: tuple[Image.Image, tuple[int, int]]) -> NDArray[np.uint8]:
    """Pictures on a grey one of 640x384."""
    canvas = Image.new("RGB", (640, 384), (128, 128, 128))
    for picture, corner in placed:
        canvas.paste(picture, corner)
    return np.array(canvas)


def eye_distance(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    left, right = np.moveaxis(landmarks[..., IRISES, :2], -2, 0)
    return np.linalg.norm(left - right, axis=-1)


def landmark_error(
    landmarks: NDArray[np.floating], expected: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Mean distance of the points of each face, as a share of the distance of the eyes."""
    distance = np.linalg.norm(landmarks[..., :2] - expected[..., :2], axis=-1).mean(-1)
    return distance / eye_distance(expected)


def test_drawn_people_are_found(landmarker: FaceLandmarker) -> None:
    detector = LandmarkFaceDetector(landmarker)
    for path, points in zip(PORTRAITS, PORTRAIT_KEYPOINTS, strict=True):
        (face,) = detector.detect(Image.open(path))
        expected = np.load(points)
        assert face.keypoints is not None
        assert face.v3_keypoints is not None
        scale = np.linalg.norm(expected[6] - expected[7])
        # The truth of drawn heads is another anatomy than the landmarks'.
        assert np.linalg.norm(face.keypoints - expected, axis=1).mean() < 0.09 * scale
        assert np.linalg.norm(face.v3_keypoints[:2] - expected[6:], axis=1).max() < 0.06 * scale
        left, top, right, bottom = face.bbox
        assert 50 < left < expected[6, 0] < expected[7, 0] < right < 206
        assert top < expected[6, 1] < bottom < 240
        assert 0.5 < face.score <= 1
        assert face.bbox.dtype == face.keypoints.dtype == np.float32


def test_faces_of_a_picture_come_largest_first(landmarker: FaceLandmarker) -> None:
    picture = place((portrait(0, 150), (10, 40)), (portrait(1, 220), (300, 100)))
    faces = LandmarkFaceDetector(landmarker).detect(Image.fromarray(picture))
    assert len(faces) == 2
    assert faces[0].area > faces[1].area
    assert faces[0].bbox[0] > 300
    assert faces[1].bbox[2] < 160


def test_what_is_no_face_is_not_one(landmarker: FaceLandmarker) -> None:
    """The detectors alone take some of these clouds for faces."""
    generator = torch.Generator().manual_seed(0)
    detector = LandmarkFaceDetector(landmarker)
    mistaken = 0
    for size in (4, 8, 16, 32) * 5:
        clouds = torch.randn(1, 3, size, size, generator=generator).clamp(-1, 1)
        clouds = torch.nn.functional.interpolate(clouds, (256, 256), mode="bilinear")
        mistaken += len(landmarker.detect(clouds, 0.4)[0])
        pixels = ((clouds[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy()
        assert detector.detect(Image.fromarray(pixels)) == []
    assert mistaken > 0


@pytest.mark.parametrize("width", [0.05, 0.1])
def test_small_faces_are_found(landmarker: FaceLandmarker, real_data: Path, width: float) -> None:
    detector = LandmarkFaceDetector(landmarker)
    found = 0
    pictures = [*real_data.glob("portraits/*"), *real_data.glob("clips/*/reference.jpg")]
    for path in pictures:
        picture = Image.open(path).convert("RGB")
        (face,) = detector.detect(picture)
        scale = width * 640 / (face.bbox[2] - face.bbox[0])
        small = picture.resize([round(scale * side) for side in picture.size])
        found += len(detector.detect(Image.fromarray(place((small, (150, 40))))))
    assert found == len(pictures) == 11


def moving(index: int, frames: int, empty: range = range(0)) -> Iterator[NDArray[np.uint8]]:
    """A portrait that moves to the right, 3 pixels a frame, and is away for some."""
    picture = portrait(index)
    for frame in range(frames):
        yield place() if frame in empty else place((picture, (40 + 3 * frame, 60)))


def test_a_face_is_followed_and_found_again(landmarker: FaceLandmarker) -> None:
    tracked = list(track_landmarks(moving(0, 14, range(5, 8)), landmarker))
    assert [face is None for face in tracked] == [index in range(5, 8) for index in range(14)]
    first = tracked[0]
    assert first is not None
    for index, face in enumerate(tracked):
        if face is not None:
            assert len(face) == 1
            expected = first.landmarks[0, :, :2].numpy() + np.array([3 * index, 0])
            assert landmark_error(face.landmarks[0].numpy(), expected) < 0.02


@pytest.mark.parametrize("corner", [(190, 60), (-60, 60), (430, 60), (190, -40), (190, 170)])
def test_a_followed_face_is_seen_as_in_the_whole_frame(
    landmarker: FaceLandmarker, corner: tuple[int, int]
) -> None:
    """Only its part of the frame is read, at the edges too, beyond which the nearest pixel is."""
    frame = place((portrait(0).rotate(30, fillcolor=(128, 128, 128)), corner))
    first, second = track_landmarks([frame, frame], landmarker)
    assert first is not None
    assert second is not None
    image = torch.from_numpy(frame).permute(2, 0, 1)[None] / 127.5 - 1
    whole = landmarker(image, first.rectangles())
    torch.testing.assert_close(second.landmarks, whole.landmarks, atol=2e-3, rtol=0)
    torch.testing.assert_close(second.blendshapes, whole.blendshapes, atol=1e-4, rtol=0)
    torch.testing.assert_close(second.pose, whole.pose, atol=1e-3, rtol=1e-4)


def test_a_video_without_faces_is_reported_frame_by_frame(landmarker: FaceLandmarker) -> None:
    assert list(track_landmarks(moving(0, 3, range(3)), landmarker)) == [None] * 3
    assert list(track_landmarks([], landmarker)) == []


def test_frames_are_taken_one_at_a_time_and_let_go(landmarker: FaceLandmarker) -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []

    def read() -> Iterator[NDArray[np.uint8]]:
        for frame in moving(1, 4):
            alive.append(weakref.ref(frame))
            yield frame

    for count, _ in enumerate(track_landmarks(read(), landmarker), start=1):
        assert len(alive) == count
        assert all(frame() is None for frame in alive[:-2])


def two_people() -> list[NDArray[np.uint8]]:
    """The first is larger; the second moves to the right."""
    return [
        place((portrait(0, 260), (20, 60)), (portrait(1, 200), (380 + 3 * frame, 80)))
        for frame in range(4)
    ]


@pytest.mark.parametrize(
    ("choice", "left", "right"),
    [
        ({"index": 0}, 20, 280),
        ({"index": 1}, 380, 600),
        ({"box": (430, 120, 530, 240)}, 380, 600),
        ({"box": (90, 100, 200, 260)}, 20, 280),
    ],
)
def test_one_of_several_faces_is_chosen(
    landmarker: FaceLandmarker, choice: dict, left: int, right: int
) -> None:
    for face in track_landmarks(two_people(), landmarker, **choice):
        assert face is not None
        assert left < face.boxes()[0, 0]
        assert face.boxes()[0, 2] < right


def test_without_a_choice_the_largest_is_followed_with_a_warning(
    landmarker: FaceLandmarker,
) -> None:
    with pytest.warns(UserWarning, match="2 faces were found"):
        (face,) = track_landmarks(two_people()[:1], landmarker)
    assert face is not None
    assert face.boxes()[0, 2] < 280


def test_a_face_that_does_not_exist_cannot_be_chosen(landmarker: FaceLandmarker) -> None:
    with pytest.raises(FaceError, match="there is no face 2"):
        list(track_landmarks(two_people(), landmarker, index=2))


def test_a_chosen_face_that_is_lost_is_not_mixed_up_with_another(
    landmarker: FaceLandmarker,
) -> None:
    alone = place((portrait(0, 260), (20, 60)))
    frames = two_people()
    frames[2:2] = [alone, alone]
    tracked = list(track_landmarks(frames, landmarker, index=1))
    assert [face is None for face in tracked] == [False, False, True, True, False, False]
    assert all(face.boxes()[0, 0] > 380 for face in tracked if face is not None)


def test_a_face_is_found_again_elsewhere_after_a_cut(landmarker: FaceLandmarker) -> None:
    frames = [place((portrait(0), corner)) for corner in ((10, 60), (380, 60))]
    before, after = track_landmarks(frames, landmarker)
    assert before is not None
    assert after is not None
    assert before.boxes()[0, 2] < 270
    assert after.boxes()[0, 0] > 380


def test_it_drives_what_other_detectors_drive(landmarker: FaceLandmarker) -> None:
    motion = track_head(moving(0, 3), LandmarkFaceDetector(landmarker))
    assert motion.shape == (3, 8, 2)
    np.testing.assert_allclose(np.diff(motion[..., 0], axis=0).mean(axis=1), 3, atol=0.5)
    assert track_head(moving(0, 1), LandmarkFaceDetector(landmarker), "v3").shape == (1, 3, 2)


def test_clips_give_what_mediapipe_gives(landmarker: FaceLandmarker, real_data: Path) -> None:
    """Every fifth frame of 3 seconds, against MediaPipe 1.2.3 on that frame alone."""
    folder = real_data / "clips" / "vasa_3"
    frames = [frame for _, frame in zip(range(75), read_frames(folder / "clip.mp4"), strict=False)]
    tracked = list(track_landmarks(frames, landmarker))
    assert None not in tracked
    landmarks, blendshapes = (
        np.concatenate([getattr(face, part).numpy() for face in tracked if face is not None])[::5]
        for part in ("landmarks", "blendshapes")
    )
    with np.load(real_data / "face_landmarker" / "golden_data.npz") as golden:
        expected = golden["clip|vasa_3|p"][: len(landmarks)]
        coefficients = golden["clip|vasa_3|b"][: len(landmarks), 1:]
    # Where the crop comes from the last frame, it is another one.
    assert landmark_error(landmarks, expected).mean() < 0.015
    assert np.abs(blendshapes[:, :51] - coefficients).mean() < 0.02
    keypoints = np.load(folder / "head_keypoints.npy")[: len(frames)]
    points = np.concatenate([f.head_keypoints("v3").numpy() for f in tracked if f is not None])
    distance = np.linalg.norm(keypoints[:, 0] - keypoints[:, 1], axis=-1)[:, None]
    assert (np.linalg.norm(points - keypoints, axis=-1) / distance).mean() < 0.05


def test_single_frames_give_what_mediapipe_gives(
    landmarker: FaceLandmarker, real_data: Path
) -> None:
    with np.load(real_data / "face_landmarker" / "golden_data.npz") as golden:
        for folder in sorted((real_data / "clips").iterdir()):
            expected, coefficients = (golden[f"clip|{folder.name}|{part}"][0] for part in "pb")
            frame = next(read_frames(folder / "clip.mp4"))
            image = torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1
            with torch.no_grad():
                faces = landmarker(image, landmarker.detect(image)[0].rectangles()[:1])
                # A second look, in a crop by the landmarks, changes little.
                rectangles = landmarker.detect(image, DETECTION_THRESHOLD)[0].rectangles()
                second = landmarker(image, landmarker(image, rectangles).rectangles())
            assert landmark_error(faces.landmarks[0].numpy(), expected) < 0.003
            assert np.abs(faces.blendshapes[0, :51].numpy() - coefficients[1:]).max() < 0.02
            again, scores = find_landmarks(frame, landmarker)
            assert len(again) == len(scores) == 1
            torch.testing.assert_close(again.landmarks, second.landmarks, atol=0.01, rtol=0)
            assert landmark_error(again.landmarks[0].numpy(), expected) < 0.03


def test_it_runs_without_a_network() -> None:
    program = """
import socket, sys

class NoSocket(socket.socket):
    def __init__(self, *arguments, **options):
        raise AssertionError("a socket was opened")

def refuse(*arguments, **options):
    raise AssertionError("a host was looked up")

socket.socket = NoSocket
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
from PIL import Image
from svp_diffusers.media.landmarks import LandmarkFaceDetector

print(len(LandmarkFaceDetector().detect(Image.open(sys.argv[1]))))
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(PORTRAITS[0])], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "1"
