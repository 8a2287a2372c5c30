import sys

import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import CheckpointError, FaceError, MissingDependencyError
from svp_diffusers.media.faces import (
    Face,
    InsightFaceDetector,
    face_from_bbox,
    head_keypoints_from_landmarks,
    select_face,
    track_head,
)
from svp_diffusers.pipelines.head_svp import crop_around_face


def make_face(left: float, top: float, side: float) -> Face:
    bbox = np.array([left, top, left + side, top + side], dtype=np.float32)
    return Face(bbox, np.full((8, 2), left, dtype=np.float32), 0.9)


class Detector:
    """Finds the faces it was told, frame after frame."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)

    def detect(self, image: Image.Image) -> list[Face]:
        return self.answers.pop(0)


def test_the_only_face_is_taken_without_a_word(recwarn):
    face = make_face(10, 10, 40)
    assert select_face([face]) is face
    assert not recwarn.list


def test_the_largest_of_several_faces_is_taken_with_a_warning():
    small, large = make_face(0, 0, 20), make_face(50, 50, 40)
    with pytest.warns(UserWarning, match="2 faces were found"):
        assert select_face([small, large]) is large


def test_an_index_chooses_a_face_by_size_without_a_warning(recwarn):
    small, large = make_face(0, 0, 20), make_face(50, 50, 40)
    assert select_face([small, large], index=0) is large
    assert select_face([small, large], index=1) is small
    assert not recwarn.list
    for index in (2, -1):
        with pytest.raises(FaceError, match="0 to 1"):
            select_face([small, large], index)


def test_no_face_is_an_error():
    with pytest.raises(FaceError, match="no face was found"):
        select_face([])


def test_head_keypoints_leave_the_mouth_out():
    landmarks = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    keypoints = head_keypoints_from_landmarks(landmarks)
    assert keypoints.shape == (8, 2)
    np.testing.assert_array_equal(keypoints[:6], landmarks[[0, 1, 15, 16, 27, 28]])
    np.testing.assert_allclose(keypoints[6], landmarks[36:42].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(keypoints[7], landmarks[42:48].mean(axis=0), rtol=1e-6)
    landmarks[48:] += 50  # the mouth opens
    landmarks[5:12] += 50  # and the chin falls
    np.testing.assert_array_equal(head_keypoints_from_landmarks(landmarks), keypoints)


def test_a_box_given_by_hand_needs_no_detector():
    face = face_from_bbox((20, 30, 120, 160), width=200, height=160)
    assert face.bbox.tolist() == [20, 30, 120, 160]
    assert face.keypoints is None
    assert face.area == 13000


@pytest.mark.parametrize(
    "bbox",
    [
        (20, 30, 20, 150),
        (120, 30, 20, 150),
        (-1, 30, 120, 150),
        (20, 30, 120, 161),
        (20, 30, 120),
        (20, 30, float("nan"), 150),
    ],
)
def test_impossible_boxes_are_errors(bbox):
    with pytest.raises(FaceError, match="face box"):
        face_from_bbox(bbox, width=200, height=160)


@pytest.mark.parametrize("bbox", [(80, 60, 120, 110), (0, 0, 40, 40), (150, 100, 200, 160)])
def test_a_crop_is_square_and_maps_points_to_the_same_pixels(bbox):
    pixels = np.zeros((160, 200, 3), dtype=np.uint8)
    x, y = round((bbox[0] + bbox[2]) / 2), round((bbox[1] + bbox[3]) / 2)
    pixels[y - 3 : y + 3, x - 3 : x + 3] = 255
    crop = crop_around_face(Image.fromarray(pixels), np.array(bbox, dtype=np.float32), 256)
    assert crop.image.size == (256, 256)
    grey = np.asarray(crop.image)[..., 0].astype(float)
    seen = np.array([(grey.sum(0) * np.arange(256)).sum(), (grey.sum(1) * np.arange(256)).sum()])
    # Pixel centres lie half a pixel off their index, before and after scaling.
    mapped = crop.map_points(np.array([[x, y]]))[0] - 0.5
    np.testing.assert_allclose(seen / grey.sum(), mapped, atol=0.5)


def test_a_crop_is_two_faces_wide_where_the_picture_allows():
    image = Image.new("RGB", (400, 300))
    crop = crop_around_face(image, np.array([150, 100, 200, 150], dtype=np.float32), 200)
    assert (crop.left, crop.top, crop.scale) == (125, 75, 2.0)
    crop = crop_around_face(image, np.array([50, 20, 300, 290], dtype=np.float32), 150)
    assert (crop.top, crop.scale) == (0, 0.5)
    crop = crop_around_face(image, np.array([0, 250, 50, 300], dtype=np.float32), 100)
    assert (crop.left, crop.top, crop.scale) == (0, 200, 1)
    crop = crop_around_face(image, np.array([200, 0, 250, 50], dtype=np.float32), 100)
    assert (crop.left, crop.top, crop.scale) == (175, 0, 1)


def test_tracking_follows_one_person():
    left, right = make_face(0, 0, 40), make_face(100, 0, 30)
    moved = [make_face(104, 0, 50), make_face(4, 0, 30)]
    frames = [np.zeros((64, 200, 3), dtype=np.uint8)] * 2
    with pytest.warns(UserWarning, match="2 faces"):
        tracked = track_head(frames, Detector([left, right], moved))
    assert tracked.shape == (2, 8, 2)
    assert tracked[:, 0, 0].tolist() == [0, 4]
    three = np.ones((3, 2), dtype=np.float32)
    face = Face(left.bbox, None, 0.9, v3_keypoints=three)
    assert np.array_equal(track_head(frames[:1], Detector([face]), "v3"), three[None])


def test_a_detector_without_keypoints_cannot_track():
    frames = [np.zeros((64, 64, 3), dtype=np.uint8)]
    with pytest.raises(FaceError, match="Detector gives no head8 keypoints"):
        track_head(frames, Detector([face_from_bbox((0, 0, 40, 40), 64, 64)]))


def test_a_frame_without_a_face_is_named():
    frames = [np.zeros((64, 64, 3), dtype=np.uint8)] * 2
    with pytest.raises(FaceError, match="frame 1"):
        track_head(frames, Detector([make_face(0, 0, 40)], []))
    with pytest.raises(FaceError, match="no frames"):
        track_head([], Detector())


def test_without_insightface_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(MissingDependencyError, match=r"svp-diffusers\[faces\]"):
        InsightFaceDetector()


def test_without_face_models_the_error_says_what_they_are_and_where_they_belong(tmp_path):
    pytest.importorskip("insightface", reason="insightface is not installed (extra: faces)")
    with pytest.raises(CheckpointError, match="non-commercial") as error:
        InsightFaceDetector(root=tmp_path)
    assert str(tmp_path / "models" / "buffalo_l") in str(error.value)
    assert list(tmp_path.iterdir()) == []
