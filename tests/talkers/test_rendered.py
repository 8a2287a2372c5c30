"""Rendered talkers: the rig and the truth of the drawn ones, on heads like photographs."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.media.landmarks import find_landmarks, load_face_landmarker
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.rendered.assets import FOLDER, load_head_model, load_places
from svp_diffusers.talkers.rendered.portrait import locate_head_keypoints, render_portrait
from svp_diffusers.talkers.rendered.renderer import Renderer
from svp_diffusers.talkers.rendered.shot import sample_rendered_identity, sample_shot

SIZE = 128


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return load_face_landmarker()


@pytest.fixture(scope="module")
def somebody() -> Renderer:
    return Renderer(sample_rendered_identity(301), SIZE)


def test_the_head_has_the_52_coefficients_and_is_small_enough_to_ship() -> None:
    head = load_head_model()

    assert head.vertices.shape == (6296, 3)
    assert head.target_names[:52] == ARKIT_BLENDSHAPES
    assert (np.abs(head.expressions).max((1, 2)) > 0.01).all()
    assert not any("child" in name or "baby" in name for name in head.target_names)
    assert len(load_places()) == 18
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.5e6


def test_the_same_seed_gives_the_same_picture_in_another_process(somebody: Renderer) -> None:
    code = (
        "import hashlib; from svp_diffusers.talkers.rendered.portrait import render_portrait;"
        "from svp_diffusers.talkers.rendered.shot import sample_rendered_identity as sample;"
        "picture = render_portrait(sample(301), 128, {'jawOpen': 0.5});"
        "print(hashlib.sha256(picture.tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()

    here = somebody.draw({"jawOpen": 0.5}, HeadPose())
    assert hashlib.sha256(here.tobytes()).hexdigest() == there


def test_a_picture_does_not_depend_on_those_before_it(somebody: Renderer) -> None:
    first = somebody.draw({}, HeadPose())
    somebody.draw({"jawOpen": 1.0}, HeadPose(yaw=0.3))

    np.testing.assert_array_equal(somebody.draw({}, HeadPose()), first)


@pytest.mark.parametrize("seed", [1, 5, 11])
def test_head_keypoints_lie_where_landmarks_of_faces_are_found(
    landmarker: FaceLandmarker, seed: int
) -> None:
    identity = sample_rendered_identity(seed)
    pose = HeadPose(yaw=0.15, pitch=-0.05, roll=0.1, x=0.02, scale=1.05)
    faces, _ = find_landmarks(np.asarray(render_portrait(identity, 256, pose=pose)), landmarker)

    found = faces.head_keypoints("head8")[0].numpy() / 256
    known = locate_head_keypoints(identity, pose)
    apart = np.linalg.norm(found - known, axis=1) / np.linalg.norm(known[7] - known[6])
    assert apart[4:].max() < 0.12  # bridge and eyes
    assert apart[:4].max() < 0.20  # the edge of the face has no exact place


def test_a_person_can_be_shown_in_several_shots() -> None:
    assert sample_shot(3, 0) != sample_shot(3, 1)
    assert sample_rendered_identity(3, 0).person == sample_rendered_identity(3, 1).person


# MediaPipe's numbers of two points of the face whose distance a coefficient changes.
LIPS, CORNERS, LIDS, BROW_AND_EYE = (13, 14), (61, 291), (159, 145), (107, 133)
CHANGES = {
    "jawOpen": (LIPS, 0.1),
    "mouthSmile": (CORNERS, 0.03),
    "mouthPucker": (CORNERS, -0.12),
    "eyeBlink": (LIDS, -0.05),
    "browInnerUp": (BROW_AND_EYE, 0.02),
    "browDown": (BROW_AND_EYE, -0.02),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_coefficient_moves_what_its_name_says(
    somebody: Renderer, landmarker: FaceLandmarker, name: str
) -> None:
    names = {name, f"{name}Left", f"{name}Right"} & set(ARKIT_BLENDSHAPES)
    (first, second), expected = CHANGES[name]
    apart = []
    for amount in (0.0, 0.8):
        picture = somebody.draw(dict.fromkeys(names, amount), HeadPose())
        points = find_landmarks(picture, landmarker)[0].landmarks[0, :, :2].numpy()
        eyes = np.linalg.norm(points[33] - points[263])
        apart.append(np.linalg.norm(points[first] - points[second]) / eyes)
    change = apart[1] - apart[0]
    assert change / expected > 1


def test_lips_that_are_drawn_together_close_what_the_jaw_has_opened(
    landmarker: FaceLandmarker,
) -> None:
    person = Renderer(sample_rendered_identity(1), SIZE)
    openings = []
    for pucker in (0.0, 0.8):
        picture = person.draw({"jawOpen": 0.5, "mouthPucker": pucker}, HeadPose())
        upper, lower = find_landmarks(picture, landmarker)[0].landmarks[0, LIPS, :2].numpy()
        openings.append(np.linalg.norm(upper - lower))
    assert openings[1] < 0.75 * openings[0]


@pytest.mark.parametrize(
    ("pose", "moves"),
    [
        (HeadPose(yaw=0.2), (1, 0)),
        (HeadPose(pitch=0.2), (0, 1)),
        (HeadPose(x=0.1), (1, 0)),
        (HeadPose(y=0.1), (0, 1)),
    ],
)
def test_a_pose_moves_the_face_as_it_does_drawn_ones(
    somebody: Renderer, pose: HeadPose, moves: tuple[int, int]
) -> None:
    bridge = somebody.locate_head_keypoints(pose)[4] - somebody.locate_head_keypoints(HeadPose())[4]
    assert bridge[moves.index(1)] > 0.02
    assert abs(bridge[moves.index(0)]) < 0.01
