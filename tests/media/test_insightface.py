"""The adapter over the real InsightFace, with models that are made here in its formats."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import CheckpointError
from svp_diffusers.media.faces import InsightFaceDetector

onnx = pytest.importorskip("onnx", reason="insightface is not installed (extra: faces)")
pytest.importorskip("insightface", reason="insightface is not installed (extra: faces)")

LANDMARKS = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 3)).astype(np.float32)


def save_model(path: Path, size: int, nodes: list, constants: dict, outputs: list[str]) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("image", kind, [1, 3, size, size])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


def save_detector(path: Path) -> None:
    """In SCRFD's format: two faces, found only where the picture is red."""
    constants = {"first": np.array([0]), "second": np.array([1]), "axis": np.array([1])}
    node = onnx.helper.make_node
    nodes = [
        node("Slice", ["image", "first", "second", "axis"], ["red_plane"]),
        node("ReduceMean", ["red_plane"], ["red"], axes=[1, 2, 3], keepdims=0),
    ]
    outputs = []
    for output, width in [("score", 1), ("box", 4), ("points", 10)]:
        for stride in (8, 16, 32):
            name = f"{output}_{stride}"
            values = np.zeros(((128 // stride) ** 2 * 2, width), dtype=np.float32)
            if output == "score" and stride == 32:
                values[[2 * (2 * 4 + 2), 2 * (1 * 4 + 1)]] = 0.9
            if output == "box" and stride == 32:
                values[2 * (2 * 4 + 2)] = 1.0  # 32 pixels to each side of (64, 64)
                values[2 * (1 * 4 + 1)] = 0.25  # 8 pixels to each side of (32, 32)
            constants[f"{name}_values"] = values
            nodes.append(node("Mul", [f"{name}_values", "red"], [name]))
            outputs.append(name)
    save_model(path, 128, nodes, constants, outputs)


def save_landmarks(path: Path) -> None:
    """In the format of the 68 landmarks: always the same ones, relative to the face."""
    values = np.zeros((1, 3309), dtype=np.float32)
    values[0, -204:] = LANDMARKS.ravel()
    nodes = [
        onnx.helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        onnx.helper.make_node("Sub", ["mean", "mean"], ["zero"], name="nothing"),
        onnx.helper.make_node("Add", ["values", "zero"], ["landmarks"]),
    ]
    save_model(path, 192, nodes, {"values": values}, ["landmarks"])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    save_detector(folder / "det_10g.onnx")
    save_landmarks(folder / "1k3d68.onnx")
    return folder


def test_faces_come_with_their_head_keypoints_the_largest_first(tmp_path, models):
    detector = InsightFaceDetector(root=tmp_path)
    large, small = detector.detect(Image.new("RGB", (128, 128), "red"))
    np.testing.assert_allclose(large.bbox, [32, 32, 96, 96], atol=0.5)
    np.testing.assert_allclose(small.bbox, [24, 24, 40, 40], atol=0.5)
    assert large.score == pytest.approx(0.9, abs=0.01)
    # Landmarks are relative to a square of 1.5 faces around the face.
    expected = 64 + LANDMARKS[[0, 1, 15, 16, 27, 28], :2] * 64 * 1.5 / 2
    np.testing.assert_allclose(large.keypoints[:6], expected, atol=0.5)
    # The detector's own points, all at the anchor: eyes and nose come first.
    np.testing.assert_allclose(large.get_keypoints("v3"), np.full((3, 2), 64), atol=0.5)


def test_pictures_reach_insightface_in_its_channel_order(tmp_path, models):
    detector = InsightFaceDetector(root=tmp_path)
    assert detector.detect(Image.new("RGB", (128, 128), "blue")) == []


def test_a_pack_without_landmarks_is_an_error(tmp_path, models):
    (models / "1k3d68.onnx").unlink()
    with pytest.raises(CheckpointError, match="68-landmark"):
        InsightFaceDetector(root=tmp_path)
