"""Google's published Face Landmarker becomes the networks of the package, key by key."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from svp_diffusers.conversion.face_landmarker import (
    GEOMETRY,
    convert_face_landmarker,
    name_weights,
    read_canonical_mesh,
)
from svp_diffusers.conversion.tflite import Weight, read_tflite_weights
from svp_diffusers.errors import CheckpointError
from svp_diffusers.media.landmarks import CHECKPOINT


@pytest.fixture(scope="module")
def bundle(real_data: Path) -> Path:
    return real_data / "face_landmarker" / "face_landmarker.task"


@pytest.fixture(scope="module")
def full_range(real_data: Path) -> Path:
    return real_data / "face_landmarker" / "face_detection_full_range_sparse.tflite"


def test_the_published_files_give_the_weights_of_the_package(
    bundle: Path, full_range: Path
) -> None:
    converted = convert_face_landmarker(bundle, full_range)
    packaged = load_file(CHECKPOINT / "diffusion_pytorch_model.safetensors")
    assert converted.state_dict().keys() == packaged.keys()
    for name, value in converted.state_dict().items():
        assert torch.equal(value, packaged[name].float()), name
    assert sum(value.numel() for value in packaged.values()) == 2_262_325


def test_the_notice_names_the_files_by_their_hashes(bundle: Path, full_range: Path) -> None:
    notice = (CHECKPOINT / "NOTICE.md").read_text()
    for path in (bundle, full_range):
        assert path.name in notice
        assert hashlib.sha256(path.read_bytes()).hexdigest() in notice
    assert "Apache" in notice


def test_another_network_does_not_fit(bundle: Path, real_data: Path) -> None:
    dense = real_data / "face_landmarker" / "face_detection_full_range.tflite"
    with pytest.raises(CheckpointError, match=r"has 182 weights|has \d+ weights, not"):
        convert_face_landmarker(bundle, dense)


def test_missing_and_damaged_files_are_named(
    bundle: Path, full_range: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="No file at"):
        convert_face_landmarker(tmp_path / "absent.task", full_range)
    broken = tmp_path / "broken.task"
    broken.write_bytes(bundle.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a Face Landmarker bundle"):
        convert_face_landmarker(broken, full_range)
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(full_range.read_bytes()[:200_000])
    with pytest.raises(CheckpointError, match="damaged"):
        convert_face_landmarker(bundle, cut)
    with pytest.raises(CheckpointError, match="not a TensorFlow Lite file"):
        convert_face_landmarker(bundle, bundle)


def test_the_canonical_mesh_is_a_head_in_centimetres(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as parts:
        data = parts.read(GEOMETRY)
    weights = read_canonical_mesh(data, "the bundle")
    left, right = weights["canonical_mesh"][[33, 263]]
    assert 8 < float((right - left).norm()) < 11  # outer corners of the eyes
    assert int((weights["procrustes_weights"] > 0).sum()) == 33
    with pytest.raises(CheckpointError, match="not the geometry of a face"):
        read_canonical_mesh(data[:500], "the bundle")


def test_every_weight_is_accounted_for() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.PReLU(2))
    kernel = Weight("convolution", "conv", np.arange(6, dtype=np.float32).reshape(2, 1, 1, 3))
    bias = Weight("convolution", "conv", np.zeros(2, np.float32))
    slope = Weight("54", "prelu", np.ones((1, 1, 2), np.float32))
    named = name_weights(network, [kernel, bias, slope], "a file")
    assert named["0.weight"].flatten().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(CheckpointError, match="a file has 2 weights, not 3"):
        name_weights(network, [kernel, bias], "a file")
    with pytest.raises(CheckpointError, match=r"prelu of a file is \(1, 1, 2\), 0.weight"):
        name_weights(network, [slope, bias, kernel], "a file")
    constant = Weight("multiply", "half", np.float32(0.75).reshape(()))
    with pytest.raises(CheckpointError, match=r"constant of 0\.75, not 0\.5"):
        name_weights(network, [kernel, bias, slope, constant], "a file")


def test_other_bytes_are_no_network() -> None:
    with pytest.raises(CheckpointError, match="not a TensorFlow Lite file"):
        read_tflite_weights(b"a text of no weight", "a text")
