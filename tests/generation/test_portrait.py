"""The face of a user's picture is found, cut out as the checkpoints know it, and never lost."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.generation.portrait import Portrait, prepare_portraits
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.faces import Face, describe_face
from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS

SIZE = 128


@pytest.fixture(scope="module")
def detector() -> LandmarkFaceDetector:
    return LandmarkFaceDetector()


def prepare(picture: Image.Image, detector: LandmarkFaceDetector, **options) -> Portrait:
    request = GenerationRequest(
        image=Path("picture.png"), audio=Path("a.wav"), output=Path("v.mp4"), **options
    )
    faces = [request.face_index]
    return prepare_portraits(request, faces, picture, SIZE, "head8", detector)[0]


def eyes_of(portrait: Portrait) -> np.ndarray:
    return portrait.keypoints[6:]


def true_eyes(number: int, scale: float) -> np.ndarray:
    return np.load(PORTRAIT_KEYPOINTS[number])[6:] * scale


@pytest.mark.parametrize("number", range(4))
def test_the_samples_are_taken_whole_with_the_eyes_where_they_are(detector, number, recwarn):
    picture = read_image(PORTRAITS[number])
    portrait = prepare(picture, detector)
    assert portrait.crop.scale == SIZE / picture.width
    truth = true_eyes(number, portrait.crop.scale)
    assert np.abs(eyes_of(portrait) - truth).max() < 0.05 * (truth[1, 0] - truth[0, 0])
    assert not recwarn.list


def save_copies(folder: Path) -> dict[str, Path]:
    """The first sample as a phone, a printer and a designer would save it."""
    picture = Image.open(PORTRAITS[0]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    picture.convert("CMYK").save(folder / "print.jpg", quality=95)
    clear = picture.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    clear.save(folder / "clear.png")
    picture.convert("L").save(folder / "grey.png")
    picture.resize((4000, 4000)).save(folder / "large.jpg")
    picture.resize((200, 200)).save(folder / "small.png")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("copy", ["turned", "print", "clear", "grey", "large", "small"])
def test_copies_of_a_picture_are_the_same_portrait(detector, tmp_path, copy):
    portrait = prepare(read_image(save_copies(tmp_path)[copy]), detector)
    truth = true_eyes(0, SIZE / 256)
    assert np.abs(eyes_of(portrait) - truth).max() < 0.06 * (truth[1, 0] - truth[0, 0])


def test_a_face_in_a_corner_is_cut_out(detector):
    sample = Image.open(PORTRAITS[1]).convert("RGB")
    picture = Image.new("RGB", (900, 600), (90, 120, 150))
    picture.paste(sample, (600, 300))
    portrait = prepare(picture, detector)
    assert portrait.crop.left > 500
    assert portrait.crop.top > 200
    eyes = eyes_of(portrait)
    assert eyes[1, 0] - eyes[0, 0] > 0.15 * SIZE


def two_people() -> Image.Image:
    picture = Image.new("RGB", (700, 300), (90, 120, 150))
    picture.paste(Image.open(PORTRAITS[0]).convert("RGB").resize((280, 280)), (10, 10))
    picture.paste(Image.open(PORTRAITS[1]).convert("RGB").resize((200, 200)), (450, 50))
    return picture


def test_of_two_faces_the_largest_is_taken_and_the_other_can_be_chosen(detector):
    picture = two_people()
    with pytest.warns(UserWarning, match="2 faces"):
        largest = prepare(picture, detector)
    assert largest.crop.left < 100
    second = prepare(picture, detector, face_index=1)
    assert second.crop.left > 400
    boxed = prepare(picture, detector, bbox=(490.0, 100.0, 610.0, 230.0))
    assert boxed.crop.left > 400
    assert boxed.keypoints is not None
    second_eyes, boxed_eyes = (
        eyes_of(each) / each.crop.scale + (each.crop.left, each.crop.top)
        for each in (second, boxed)
    )
    assert np.abs(second_eyes - boxed_eyes).max() < 4


def test_a_picture_without_a_face_says_what_to_do(detector):
    with pytest.raises(FaceError, match=r"picture\.png.*--bbox.*--no-detect-face"):
        prepare(Image.new("RGB", (200, 200), "green"), detector)


def test_the_middle_is_taken_where_no_face_is_looked_for(detector):
    portrait = prepare(Image.new("RGB", (300, 200), "green"), detector, detect_face=False)
    assert (portrait.crop.left, portrait.crop.top) == (50, 0)
    assert portrait.keypoints is None


@pytest.mark.parametrize("detect_face", [True, False])
def test_keypoints_given_by_hand_move_and_grow_with_the_picture(detector, tmp_path, detect_face):
    """The eyes stay where they are in the face, whatever is cut out and whatever its size."""
    picture = Image.new("RGB", (900, 600), (90, 120, 150))
    picture.paste(Image.open(PORTRAITS[1]).convert("RGB").resize((512, 512)), (200, 44))
    given = np.load(PORTRAIT_KEYPOINTS[1]) * 2 + np.array([200, 44])
    np.save(tmp_path / "keypoints.npy", given.astype(np.float32))
    options = {"detect_face": detect_face, "portrait_keypoints": tmp_path / "keypoints.npy"}
    portrait = prepare(picture, detector, **options)
    crop = portrait.crop
    expected = (given - [crop.left, crop.top]) * crop.scale
    assert crop.scale != 1
    np.testing.assert_allclose(portrait.keypoints, expected, atol=1e-3)
    if detect_face:
        found = prepare(picture, detector)
        assert np.abs(eyes_of(portrait) - eyes_of(found)).max() < 0.02 * SIZE


def test_a_box_without_a_face_is_taken_with_a_warning(detector):
    with pytest.warns(UserWarning, match="no face is seen in the box"):
        portrait = prepare(
            Image.new("RGB", (300, 300), "green"), detector, bbox=(80.0, 80.0, 200.0, 200.0)
        )
    assert portrait.keypoints is None


def make_face(bridge: float = 50.0, box: tuple[float, ...] = (20, 20, 120, 120)) -> Face:
    keypoints = np.zeros((8, 2), np.float32)
    keypoints[:, 0] = (0, 5, 95, 100, bridge, bridge, 30, 70)
    return Face(np.array(box, np.float32), keypoints, 1.0)


def test_what_would_spoil_a_video_is_named():
    assert describe_face(make_face(), 200, 200) == []
    assert "turned away by about 31 degrees" in describe_face(make_face(80), 200, 200)[0]
    assert describe_face(make_face(70), 200, 200) == []
    assert "cut off" in describe_face(make_face(box=(-10, 20, 90, 120)), 200, 200)[0]
    assert "40 pixels" in describe_face(make_face(box=(20, 20, 60, 60)), 200, 200)[0]


def test_real_faces_are_found(real_data, detector):
    folders = (real_data / "portraits", real_data / "clips")
    pictures = [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]
    assert len(pictures) == 11
    for path in pictures:
        portrait = prepare(read_image(path), detector)
        eyes = eyes_of(portrait)
        assert 0.12 * SIZE < eyes[1, 0] - eyes[0, 0] < 0.35 * SIZE, path
        assert ((eyes > 0.15 * SIZE) & (eyes < 0.8 * SIZE)).all(), path
