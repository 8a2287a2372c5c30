"""Google's face networks in PyTorch: as MediaPipe, at every size, differentiable."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker, FaceLandmarks
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS

IRISES = [468, 473]


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return load_face_landmarker().requires_grad_(False)


def read_image(picture: Path | Image.Image) -> torch.Tensor:
    if isinstance(picture, Path):
        picture = Image.open(picture)
    pixels = torch.tensor(np.asarray(picture.convert("RGB"))).permute(2, 0, 1)[None]
    return pixels / 127.5 - 1


def find_largest(landmarker: FaceLandmarker, image: torch.Tensor) -> FaceLandmarks:
    return landmarker(image, landmarker.detect(image)[0].rectangles()[:1])


def eye_distance(landmarks: torch.Tensor) -> torch.Tensor:
    left, right = landmarks[..., IRISES, :2].unbind(-2)
    return (left - right).norm(dim=-1)


def landmark_error(landmarks: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean distance, as a share of the distance of the eyes."""
    distance = (landmarks[..., :2] - expected[..., :2]).norm(dim=-1).mean(-1)
    return float((distance / eye_distance(expected)).max())


def angle_between(pose: torch.Tensor, expected: torch.Tensor) -> float:
    """Degrees between the rotations of two poses (4, 4), exact for small ones too."""
    chord = (pose[:3, :3] - expected[:3, :3]).norm() / 8**0.5
    return float(2 * torch.rad2deg(torch.arcsin(chord.clamp(max=1))))


def golden_pictures(folder: Path) -> dict[Path, list[torch.Tensor]]:
    """Landmarks, coefficients and pose that MediaPipe 1.2.3 gives for pictures."""
    with np.load(folder / "face_landmarker" / "golden_samples.npz") as golden:
        pictures = {
            path: [golden[f"{path.stem}/{key}"] for key in ("landmarks", "blendshapes", "matrix")]
            for path in PORTRAITS[2:]  # the drawn ones
        }
    with np.load(folder / "face_landmarker" / "golden_data.npz") as golden:
        for path in [*folder.glob("portraits/*"), *folder.glob("clips/*/reference.jpg")]:
            name = f"img|{path.parent.name}/{path.name}"
            pictures[path] = [golden[f"{name}|{key}"] for key in "pbm"]
    return {
        path: [torch.tensor(value).float() for value in values] for path, values in pictures.items()
    }


def test_pictures_give_what_mediapipe_gives(landmarker: FaceLandmarker, real_data: Path) -> None:
    pictures = golden_pictures(real_data)
    assert len(pictures) == 13
    for path, (landmarks, blendshapes, pose) in pictures.items():
        found = find_largest(landmarker, read_image(path))
        # MediaPipe's arithmetic is float16 in places, and its crop is of whole 1/32 pixels.
        assert landmark_error(found.landmarks[0], landmarks) < 0.003, path
        depth = (found.landmarks[0, :, 2] - landmarks[:, 2]).abs().mean()
        assert depth < 0.003 * eye_distance(landmarks), path
        assert (found.blendshapes[0, :51] - blendshapes[1:]).abs().max() < 0.02, path
        assert angle_between(found.pose[0], pose) < 0.25, path
        assert found.presence > 0.99, path


def test_the_pose_is_mediapipes_where_the_landmarks_are(
    landmarker: FaceLandmarker, real_data: Path
) -> None:
    for path, (landmarks, _, pose) in golden_pictures(real_data).items():
        with Image.open(path) as picture:
            width, height = picture.size
        estimated = landmarker.estimate_pose(landmarks[None], height, width)[0]
        assert angle_between(estimated, pose) < 0.02, path
        assert (estimated - pose).abs().max() < 0.01, path  # cm


def shrink(
    picture: Image.Image, box: torch.Tensor, share: float
) -> tuple[Image.Image, list[float]]:
    """The picture small on grey, so that the face in `box` has that share of the whole, and where
    the face is then."""
    size = 512
    scale = share * size / float(box[2] - box[0])
    small = picture.resize([max(1, round(scale * side)) for side in picture.size])
    canvas = Image.new("RGB", (size, size), (128, 128, 128))
    corner = ((size - small.width) // 2, (size - small.height) // 2)
    canvas.paste(small, corner)
    return canvas, (scale * box + torch.tensor(corner).repeat(2)).tolist()


def overlap(box: list[float], other: list[float]) -> float:
    """Intersection over union."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    inner = max(0, width) * max(0, height)
    area, other_area = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return inner / (area + other_area - inner)


# The short range finds 11, 6, 0, 0 and 0; the two detectors disagree on how large a face's box is.
@pytest.mark.parametrize(
    ("share", "least"), [(0.15, 11), (0.1, 11), (0.07, 11), (0.05, 9), (0.035, 7)]
)
def test_small_faces_are_found(
    landmarker: FaceLandmarker, real_data: Path, share: float, least: int
) -> None:
    found = 0
    for path in [*real_data.glob("portraits/*"), *real_data.glob("clips/*/reference.jpg")]:
        box = landmarker.detect(read_image(path))[0].boxes[0]
        canvas, expected = shrink(Image.open(path).convert("RGB"), box, share)
        detections = landmarker.detect(read_image(canvas))[0]
        assert len(detections) <= 1
        assert all(overlap(box, expected) > 0.3 for box in detections.boxes.tolist())
        found += len(detections)
    assert found >= least


def test_the_largest_face_comes_first_and_small_ones_beside_it(landmarker: FaceLandmarker) -> None:
    canvas = Image.new("RGB", (640, 480), (120, 140, 160))
    first, second = (Image.open(path).convert("RGB") for path in PORTRAITS[:2])
    canvas.paste(first.resize((130, 130)), (20, 60))
    canvas.paste(second.resize((240, 240)), (260, 100))
    detections = landmarker.detect(read_image(canvas))[0]
    centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
    assert len(detections) == 2
    assert 260 < centres[0, 0] < 500
    assert 20 < centres[1, 0] < 150


def test_a_picture_without_a_face_has_none(landmarker: FaceLandmarker) -> None:
    found = landmarker.detect(torch.zeros(2, 3, 60, 200))
    assert [len(detections) for detections in found] == [0, 0]
    assert found[0].rectangles().shape == (0, 5)
    assert len(landmarker(torch.zeros(0, 3, 60, 200), found[0].rectangles())) == 0


def test_people_of_the_samples_are_found_with_their_head_keypoints(
    landmarker: FaceLandmarker,
) -> None:
    for path, points in zip(PORTRAITS, PORTRAIT_KEYPOINTS, strict=True):
        found = find_largest(landmarker, read_image(path))
        expected = torch.tensor(np.load(points))
        scale = (expected[6] - expected[7]).norm()
        error = (found.head_keypoints()[0] - expected).norm(dim=-1) / scale
        # The truth of drawn and rendered heads is another anatomy than the landmarks'.
        assert error.mean() < 0.1
        assert error.max() < 0.17
        v3 = found.head_keypoints("v3")[0]
        assert torch.equal(v3[:2], found.head_keypoints("head8")[0, 6:])
        assert torch.allclose(v3[2], found.landmarks[0, [1, 4], :2].mean(0))


def test_a_face_at_the_rim_is_seen_with_the_rim_drawn_out(landmarker: FaceLandmarker) -> None:
    image = read_image(PORTRAITS[0])[:, :, 60:, 70:]
    found = find_largest(landmarker, image)
    rectangles = found.rectangles()
    wider = torch.nn.functional.pad(image, (80, 0, 80, 0), mode="replicate")
    shifted = landmarker(wider, rectangles + torch.tensor([80.0, 80, 0, 0, 0])).landmarks
    landmarks = landmarker(image, rectangles).landmarks
    assert rectangles[0, 0] - rectangles[0, 2] / 2 < -10  # beyond the rim
    torch.testing.assert_close(shifted[..., :2] - 80, landmarks[..., :2], atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("images", "rectangles"),
    [
        (torch.zeros(3, 64, 64), torch.zeros(1, 5)),
        (torch.zeros(1, 64, 64, 3), torch.zeros(1, 5)),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 5)),
        (torch.zeros(2, 3, 64, 64), torch.zeros(1, 5)),
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 4)),
    ],
)
def test_other_shapes_are_refused(
    landmarker: FaceLandmarker, images: torch.Tensor, rectangles: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match="must be"):
        landmarker(images, rectangles)


def test_an_unknown_layout_is_refused(landmarker: FaceLandmarker) -> None:
    found = landmarker(torch.zeros(1, 3, 64, 64), torch.tensor([[32.0, 32, 64, 64, 0]]))
    with pytest.raises(ValueError, match="layout"):
        found.head_keypoints("68")


def test_coefficients_are_named_in_arkit_order(landmarker: FaceLandmarker) -> None:
    assert tuple(landmarker.config.coefficient_names) == ARKIT_BLENDSHAPES
    found = find_largest(landmarker, read_image(PORTRAITS[0]))
    assert found.blendshapes.shape == (1, 52)
    assert found.blendshapes[0, ARKIT_BLENDSHAPES.index("tongueOut")] == 0


@pytest.mark.parametrize("degrees", [-30, 20, 90])
def test_a_turned_picture_has_turned_landmarks(landmarker: FaceLandmarker, degrees: int) -> None:
    picture = Image.open(PORTRAITS[0]).convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
    upright = find_largest(landmarker, read_image(picture))
    upright = landmarker(read_image(picture), upright.rectangles())
    turned_picture = read_image(picture.rotate(degrees, Image.Resampling.BICUBIC))
    radians = torch.deg2rad(torch.tensor(float(degrees)))
    cos, sin = radians.cos(), radians.sin()
    turn = torch.tensor([[cos, sin], [-sin, cos]])
    centre = torch.tensor([255.5, 255.5])
    expected = (upright.landmarks[0, :, :2] - centre) @ turn.T + centre
    rectangle = upright.rectangles()
    rectangle[0, :2] = turn @ (rectangle[0, :2] - centre) + centre
    rectangle[0, 4] -= radians
    turned = landmarker(turned_picture, rectangle)
    assert landmark_error(turned.landmarks[0], expected) < 0.01
    expected_pose = upright.pose[0].clone()
    expected_pose[:2] = turn.T @ expected_pose[:2]  # y is up there
    assert angle_between(turned.pose[0], expected_pose) < 1
    assert (turned.pose[0, :3, 3] - expected_pose[:3, 3]).norm() < 0.3  # cm, of about 26


def test_a_batch_gives_what_single_pictures_give(landmarker: FaceLandmarker) -> None:
    images = torch.cat([read_image(path) for path in PORTRAITS])
    together = landmarker.detect(images)
    for index, detections in enumerate(together):
        alone = landmarker.detect(images[index : index + 1])[0]
        assert torch.allclose(detections.boxes, alone.boxes, atol=0.01)
        assert torch.allclose(detections.keypoints, alone.keypoints, atol=0.01)
    rectangles = torch.cat([detections.rectangles() for detections in together])
    faces = landmarker(images, rectangles)
    for index in range(len(images)):
        alone = landmarker(images[index : index + 1], rectangles[index : index + 1])
        assert torch.allclose(faces[index : index + 1].landmarks, alone.landmarks, atol=0.01)
        assert torch.allclose(faces.blendshapes[index], alone.blendshapes[0], atol=1e-3)
        assert torch.allclose(faces.pose[index], alone.pose[0], atol=1e-2)


def test_gradients_reach_the_pixels() -> None:
    """Against finite differences, in float64, along the direction of each gradient."""
    landmarker = load_face_landmarker().double().requires_grad_(False)
    image = read_image(PORTRAITS[0]).double()
    rectangles = landmarker.detect(image)[0].rectangles()
    for part in ("landmarks", "blendshapes", "pose"):
        pixels = image.clone().requires_grad_()
        weights = torch.linspace(-1, 1, getattr(landmarker(image, rectangles), part).numel())

        def measure(
            image: torch.Tensor, part: str = part, weights: torch.Tensor = weights
        ) -> torch.Tensor:
            return (getattr(landmarker(image, rectangles), part).flatten() * weights).sum()

        (gradient,) = torch.autograd.grad(measure(pixels), pixels)
        direction = gradient / gradient.norm()
        step = 1e-6
        slope = (measure(image + step * direction) - measure(image - step * direction)) / (2 * step)
        assert slope > 0
        assert float(slope) == pytest.approx(float(gradient.norm()), rel=0.01), part


def test_bfloat16_networks_keep_exact_coordinates() -> None:
    landmarker = load_face_landmarker().requires_grad_(False)
    image = read_image(Image.open(PORTRAITS[0]).resize((1024, 1024)))
    exact = find_largest(landmarker, image)
    rough = landmarker.to(torch.bfloat16)(image.bfloat16(), exact.rectangles())
    exact = load_face_landmarker().requires_grad_(False)(image, exact.rectangles())
    assert rough.landmarks.dtype == torch.float32
    assert landmark_error(rough.landmarks, exact.landmarks) < 0.02


def test_a_call_leaves_nothing_behind(landmarker: FaceLandmarker) -> None:
    def attributes() -> list[set[str]]:
        return [set(vars(module)) for module in landmarker.modules()]

    before = attributes(), {name: value.clone() for name, value in landmarker.state_dict().items()}
    random_state = torch.get_rng_state()
    image = read_image(PORTRAITS[0])
    first, again = find_largest(landmarker, image), find_largest(landmarker, image)
    assert torch.equal(first.landmarks, again.landmarks)
    assert attributes() == before[0]
    assert all(torch.equal(before[1][name], v) for name, v in landmarker.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
