"""What the portraits promise: the same bytes again, nobody twice, and truth that can be measured.

The measurements colour one person by parts: blue skin, green lips, brows and hair, red irises. A
pixel then tells what it belongs to, whatever the shading.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers import (
    HeadPose,
    Identity,
    draw_portrait,
    locate_head_keypoints,
    sample_identity,
)
from svp_diffusers.talkers.geometry import HEAD_CENTRE
from svp_diffusers.talkers.portrait import UNDRAWN_COEFFICIENTS
from svp_diffusers.talkers.svg import VIEW

SIZE = 480
UNIT = SIZE / VIEW[2]
"""Pixels of a canvas unit."""

PERSON = replace(
    sample_identity(0),
    skin=(0.25, 0.30, 0.90),
    lips=(0.05, 0.80, 0.05),
    hair=(0.05, 0.80, 0.05),
    iris=(0.90, 0.05, 0.05),
    background=(0.9, 0.9, 0.9),
    background_low=(0.9, 0.9, 0.9),
    cloth=(0.9, 0.9, 0.9),
    hair_style="shaved",
    clothes="crew_neck",
    beard="none",
    glasses=0.0,
    blush=0.0,
    freckles=0.0,
    make_up=0.0,
    eye_height=3.6,
    ear_size=0.01,
)


def draw(
    rig: dict[str, float], pose: HeadPose | None = None, person: Identity = PERSON
) -> np.ndarray:
    return np.asarray(draw_portrait(person, SIZE, rig, pose)).astype(float) / 255


def box(image: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Cut a box given in head coordinates (origin between the eyes, canvas units)."""
    columns = [round((HEAD_CENTRE[0] - VIEW[0] + x) * UNIT) for x in (left, right)]
    rows = [round((HEAD_CENTRE[1] - VIEW[1] + y) * UNIT) for y in (top, bottom)]
    return image[rows[0] : rows[1], columns[0] : columns[1]]


def is_green(image: np.ndarray) -> np.ndarray:
    return image[..., 1] > 1.25 * np.maximum(image[..., 0], image[..., 2])


def is_red(image: np.ndarray) -> np.ndarray:
    return image[..., 0] > 1.6 * np.maximum(image[..., 1], image[..., 2])


def is_blue(image: np.ndarray) -> np.ndarray:
    return image[..., 2] > 1.15 * np.maximum(image[..., 0], image[..., 1])


def lips(image: np.ndarray) -> np.ndarray:
    return is_green(box(image, -16, 12, 16, 36))


def half(mask: np.ndarray, side: str) -> np.ndarray:
    """The half of a mask on one side of the subject."""
    middle = mask.shape[1] // 2
    return mask[:, middle:] if side == "Left" else mask[:, :middle][:, ::-1]


def mouth_opening(image: np.ndarray) -> float:
    """Pixels between the uppermost and the lowest lip pixel of a column that are not lip."""
    mask = lips(image)
    return float(sum(np.ptp(np.flatnonzero(c)) + 1 - c.sum() for c in mask.T if c.any()))


def mouth_width(image: np.ndarray) -> float:
    return float(np.ptp(np.flatnonzero(lips(image).any(0))))


def corner(side: str) -> Callable[[np.ndarray], float]:
    """Height of a corner of the mouth: mean of the outermost quarter unit, positive is up."""

    def measure(image: np.ndarray) -> float:
        mask = half(lips(image), side)
        outermost = np.flatnonzero(mask.any(0)).max()
        rows, _ = np.nonzero(mask[:, outermost - round(0.25 * UNIT) : outermost + 1])
        return -float(rows.mean())

    return measure


def half_width(side: str) -> Callable[[np.ndarray], float]:
    return lambda image: float(np.flatnonzero(half(lips(image), side).any(0)).max())


def lip_edge(side: str, upper: bool) -> Callable[[np.ndarray], float]:
    """Height of the lips' outer edge, 2 to 5 units from the middle, positive is up."""

    def measure(image: np.ndarray) -> float:
        mask = half(lips(image), side)[:, round(2 * UNIT) : round(5 * UNIT)]
        edge = mask.argmax(0) if upper else len(mask) - mask[::-1].argmax(0)
        return -float(edge.mean())

    return measure


def lip_height(image: np.ndarray) -> float:
    return -float(np.nonzero(lips(image))[0].mean())


def lip_centre(image: np.ndarray) -> float:
    return float(np.nonzero(lips(image))[1].mean())


def lip_thickness(upper: bool) -> Callable[[np.ndarray], float]:
    """Pixels of one lip in the middle of the open mouth."""

    def measure(image: np.ndarray) -> float:
        mask = lips(image)
        middle = mask[:, mask.shape[1] // 2 - 10 : mask.shape[1] // 2 + 10]
        inside = [np.flatnonzero(column) for column in middle.T]
        parts = [np.split(rows, [np.argmax(np.diff(rows)) + 1]) for rows in inside]
        return float(np.mean([len(part[0 if upper else 1]) for part in parts]))

    return measure


def half_area(side: str) -> Callable[[np.ndarray], float]:
    return lambda image: float(half(lips(image), side).sum())


def chin(image: np.ndarray) -> float:
    """Sideways place of the lower lip's lowest part."""
    mask = lips(image)
    rows, columns = np.nonzero(mask)
    return float(columns[rows > rows.max() - 0.4 * UNIT].mean())


def face_width(image: np.ndarray) -> float:
    """Width of the face below the cheekbones."""
    row = is_blue(box(image, -30, 14, 30, 14.3)).any(0)
    return float(np.ptp(np.flatnonzero(row)))


def eye(image: np.ndarray, side: str) -> np.ndarray:
    left = PERSON.eye_spacing * (1 if side == "Left" else -1) - 7
    return box(image, left, -6, left + 14, 6)


def eye_opening(side: str) -> Callable[[np.ndarray], float]:
    """Pixels of the white and the iris."""

    def measure(image: np.ndarray) -> float:
        part = eye(image, side)
        return float(((part.min(-1) > 0.55) | is_red(part)).sum())

    return measure


def lower_lid(side: str) -> Callable[[np.ndarray], float]:
    """Height of the lowest iris or white pixels, positive is up."""

    def measure(image: np.ndarray) -> float:
        part = eye(image, side)
        rows, _ = np.nonzero((part.min(-1) > 0.55) | is_red(part))
        return -float(np.sort(rows)[-40:].mean())

    return measure


def gaze(side: str, axis: int) -> Callable[[np.ndarray], float]:
    """Place of the iris along an axis (0 down, 1 right)."""
    return lambda image: float(np.nonzero(is_red(eye(image, side)))[axis].mean())


def brow(side: str, part: str) -> Callable[[np.ndarray], float]:
    """Height of the inner or outer half of a brow, positive is up."""
    inner, outer = PERSON.eye_spacing - 4.6, PERSON.eye_spacing + 4.4
    middle = (inner + outer) / 2
    near, far = (inner, middle) if part == "inner" else (middle, outer)
    sign = 1 if side == "Left" else -1

    def measure(image: np.ndarray) -> float:
        left, right = sorted((sign * near, sign * far))
        return -float(np.nonzero(is_green(box(image, left, -14.5, right, -3)))[0].mean())

    return measure


def nostril(side: str) -> Callable[[np.ndarray], float]:
    """Height of the darkest pixels beside the nose's base, positive is up."""
    left = 0.8 if side == "Left" else -4.8

    def measure(image: np.ndarray) -> float:
        part = box(image, left, PERSON.nose_length - 4, left + 4, PERSON.nose_length + 2).sum(-1)
        return -float(np.nonzero(part < np.sort(part.ravel())[60])[0].mean())

    return measure


def negative(measure: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    return lambda image: -measure(image)


OPEN = {"jawOpen": 0.5}
SWEEPS: list[tuple[str, dict[str, float], Callable[[np.ndarray], float]]] = [
    ("jawOpen", {}, mouth_opening),
    ("mouthClose", {"jawOpen": 1.0}, negative(mouth_opening)),
    ("mouthFunnel", OPEN, negative(mouth_width)),
    ("mouthPucker", {}, negative(mouth_width)),
    ("mouthLeft", {}, lip_centre),
    ("mouthRight", {}, negative(lip_centre)),
    ("jawLeft", OPEN, chin),
    ("jawRight", OPEN, negative(chin)),
    ("mouthRollLower", OPEN, negative(lip_thickness(upper=False))),
    ("mouthRollUpper", OPEN, negative(lip_thickness(upper=True))),
    ("mouthShrugLower", {}, lip_height),
    ("mouthShrugUpper", {}, lip_height),
    ("cheekPuff", {}, face_width),
    ("browInnerUp", {}, brow("Left", "inner")),
    ("browInnerUp", {}, brow("Right", "inner")),
    *[
        sweep
        for side in ("Left", "Right")
        for sweep in (
            (f"mouthSmile{side}", {}, corner(side)),
            (f"mouthFrown{side}", {}, negative(corner(side))),
            (f"mouthStretch{side}", {}, half_width(side)),
            (f"mouthDimple{side}", {}, half_width(side)),
            (f"mouthPress{side}", {}, negative(half_area(side))),
            (f"mouthUpperUp{side}", {}, lip_edge(side, upper=True)),
            (f"mouthLowerDown{side}", {}, negative(lip_edge(side, upper=False))),
            (f"browDown{side}", {}, negative(brow(side, "inner"))),
            (f"browOuterUp{side}", {}, brow(side, "outer")),
            (f"eyeBlink{side}", {}, negative(eye_opening(side))),
            (f"eyeWide{side}", {}, eye_opening(side)),
            (f"eyeSquint{side}", {}, negative(eye_opening(side))),
            (f"cheekSquint{side}", {}, lower_lid(side)),
            (f"eyeLookUp{side}", {f"eyeWide{side}": 1}, negative(gaze(side, 0))),
            (f"eyeLookDown{side}", {f"eyeWide{side}": 1}, gaze(side, 0)),
            (f"noseSneer{side}", {}, nostril(side)),
        )
    ],
    ("eyeLookOutLeft", {}, gaze("Left", 1)),
    ("eyeLookInLeft", {}, negative(gaze("Left", 1))),
    ("eyeLookOutRight", {}, negative(gaze("Right", 1))),
    ("eyeLookInRight", {}, gaze("Right", 1)),
]


@pytest.mark.parametrize(
    ("name", "rig", "measure"), SWEEPS, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(SWEEPS)]
)
def test_a_coefficient_moves_its_feature_steadily(
    name: str, rig: dict[str, float], measure: Callable[[np.ndarray], float]
) -> None:
    values = [measure(draw({**rig, name: share})) for share in np.linspace(0, 1, 5)]

    steps = np.diff(values)
    # Half a pixel of 480, a seventh of one of 128, is what the edge of a pixel mask can jitter.
    assert (steps > -0.5).all(), values
    assert values[-1] - values[0] > 1.5, values


def test_lips_that_are_drawn_together_close_what_the_jaw_has_opened() -> None:
    rounded = mouth_opening(draw({**OPEN, "mouthPucker": 0.5}))
    assert rounded < 0.6 * mouth_opening(draw(OPEN))


def test_every_coefficient_is_measured_or_declared_undrawn() -> None:
    measured = {name for name, *_ in SWEEPS}

    assert measured | set(UNDRAWN_COEFFICIENTS) == set(ARKIT_BLENDSHAPES)
    assert not measured & set(UNDRAWN_COEFFICIENTS)


@pytest.mark.parametrize("name", UNDRAWN_COEFFICIENTS)
def test_undrawn_coefficients_change_nothing(name: str) -> None:
    assert np.array_equal(draw({name: 1.0}), draw({}))


POSES = [
    HeadPose(),
    HeadPose(yaw=0.25),
    HeadPose(yaw=-0.25, pitch=0.1),
    HeadPose(pitch=-0.2, roll=0.15),
    HeadPose(roll=-0.2, x=0.05, y=-0.03, scale=0.9),
]


@pytest.mark.parametrize("pose", POSES)
def test_eye_keypoints_are_the_irises(pose: HeadPose) -> None:
    image = draw({"eyeWideLeft": 1.0, "eyeWideRight": 1.0}, pose)
    keypoints = SIZE * locate_head_keypoints(PERSON, pose)

    reach = round(4.5 * UNIT)
    for x, y in keypoints[6:]:
        left, top = round(x) - reach, round(y) - reach
        rows, columns = np.nonzero(is_red(image[top : top + 2 * reach, left : left + 2 * reach]))
        # The middle of the iris' extent: its glints and pupil are not red.
        found = np.array([columns.min() + columns.max() + 1, rows.min() + rows.max() + 1]) / 2
        error = np.linalg.norm(found - (x - left, y - top)) * 128 / SIZE
        assert error < 0.5


@pytest.mark.parametrize("pose", [HeadPose(), HeadPose(yaw=0.2), HeadPose(yaw=-0.2)])
def test_jaw_keypoints_are_on_the_edge_of_the_face(pose: HeadPose) -> None:
    # Hair of the skin's colour does not hide the edge.
    image = draw({}, pose, replace(PERSON, hair=PERSON.skin))
    keypoints = SIZE * locate_head_keypoints(PERSON, pose)

    for index, outermost in ((0, np.min), (1, np.min), (2, np.max), (3, np.max)):
        x, y = keypoints[index]
        edge = outermost(np.flatnonzero(is_blue(image[int(y)]))) + (0.5 if index < 2 else 1.0)
        assert abs(edge - x) * 128 / SIZE < 0.5


def test_keypoints_follow_the_head_and_not_the_face() -> None:
    rest = locate_head_keypoints(PERSON, HeadPose())
    turned = locate_head_keypoints(PERSON, HeadPose(yaw=0.2))
    shifted = locate_head_keypoints(PERSON, HeadPose(x=0.1, y=-0.05))

    assert rest.shape == (8, 2)
    np.testing.assert_allclose(shifted - rest, np.broadcast_to([0.1, -0.05], (8, 2)), atol=1e-12)
    # Parallax: the nose bridge lies before the eyes, the eyes before the jaw's ends.
    bridge, eyes, jaw = (
        (turned - rest)[part, 0].mean() for part in (slice(4, 6), slice(6, 8), slice(0, 4))
    )
    assert bridge > eyes > jaw


def test_the_same_person_is_drawn_with_the_same_bytes() -> None:
    first = draw_portrait(sample_identity(11), 96, {"jawOpen": 0.4}, HeadPose(yaw=0.1))
    second = draw_portrait(sample_identity(11), 96, {"jawOpen": 0.4}, HeadPose(yaw=0.1))

    assert first.tobytes() == second.tobytes()
    assert first.size == (96, 96)


def test_threads_draw_what_one_draws() -> None:
    people = [sample_identity(seed) for seed in range(12)]
    alone = [draw_portrait(person, 64).tobytes() for person in people]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda person: draw_portrait(person, 64).tobytes(), people * 4))

    assert together == alone * 4


def test_nobody_comes_twice() -> None:
    people = {sample_identity(seed) for seed in range(500)}
    faces = {draw_portrait(sample_identity(seed), 32).tobytes() for seed in range(60)}

    assert len(people) == 500
    assert len(faces) == 60
