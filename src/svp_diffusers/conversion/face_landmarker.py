"""Google's published Face Landmarker to our `FaceLandmarker`.

`python -m svp_diffusers.conversion.face_landmarker BUNDLE FULL_RANGE FOLDER` makes the networks of
the package from `face_landmarker.task` and `face_detection_full_range_sparse.tflite`; the NOTICE
beside them says where both are from.
"""

import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from svp_diffusers.conversion.state_dicts import StateDict, load_exactly
from svp_diffusers.conversion.tflite import Weight, read_tflite_weights
from svp_diffusers.errors import CheckpointError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.models.face_landmarker_svp import MESH_VERTICES, FaceLandmarker

# Each network of ours, and its file in the bundle.
NETWORKS = {
    "short_range_detector": "face_detector.tflite",
    "mesh": "face_landmarks_detector.tflite",
    "blendshapes": "face_blendshapes.tflite",
}
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
# A head of the mesh that MediaPipe does not read.
UNREAD_HEAD = "conv2d_152/Conv2D"
# Constants of the blendshape network that ours has in its code.
NORMALIZATION = {"multiply": 0.5, "add": 1e-6}


def convert_face_landmarker(bundle: Path, full_range: Path) -> FaceLandmarker:
    """Convert `face_landmarker.task` and the `face_detection_full_range_sparse.tflite`.

    Raises:
        CheckpointError: if a file is missing or damaged, or its weights do not fit.
    """
    model = FaceLandmarker(coefficient_names=ARKIT_BLENDSHAPES)
    parts = _read_bundle(bundle)
    files = {name: (parts[file], f"{file} of {bundle}") for name, file in NETWORKS.items()}
    files["full_range_detector"] = (_read(full_range), str(full_range))
    weights: StateDict = dict(read_canonical_mesh(parts[GEOMETRY], f"{GEOMETRY} of {bundle}"))
    for name, (data, source) in files.items():
        network = name_weights(model.get_submodule(name), read_tflite_weights(data, source), source)
        weights |= {f"{name}.{key}": value for key, value in network.items()}
    load_exactly(model, weights, f"{bundle} with {full_range}")
    return model


def name_weights(network: nn.Module, weights: list[Weight], source: str) -> StateDict:
    """Give the weights of a file the names of `network`, whose layers are in the order of its use.

    Raises:
        CheckpointError: if there are more or fewer, or one has another shape.
    """
    own = network.state_dict()
    weights = [weight for weight in weights if not _is_known(weight, source)]
    if len(own) != len(weights):
        raise CheckpointError(f"{source} has {len(weights)} weights, not {len(own)}.")
    named: StateDict = {}
    for (key, parameter), weight in zip(own.items(), weights, strict=True):
        value = _to_torch_layout(weight)
        if _without_ones(value.shape) != _without_ones(parameter.shape):
            raise CheckpointError(
                f"{weight.name} of {source} is {tuple(value.shape)}, "
                f"{key} is {tuple(parameter.shape)}."
            )
        named[key] = value.reshape(parameter.shape)
    return named


def _is_known(weight: Weight, source: str) -> bool:
    """Whether a weight is deliberately left behind."""
    if weight.values.ndim == 0:
        expected = NORMALIZATION.get(weight.operator)
        if expected is None or not np.isclose(weight.values, expected, rtol=0.01):
            raise CheckpointError(
                f"{weight.name} of {source} has a constant of {weight.values}, not {expected}."
            )
        return True
    return UNREAD_HEAD in weight.name


def _to_torch_layout(weight: Weight) -> Tensor:
    values = weight.values
    if values.ndim == 4 and weight.operator == "convolution":
        values = values.transpose(0, 3, 1, 2)
    elif values.ndim == 4 and weight.operator == "depthwise":
        values = values.transpose(3, 0, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _without_ones(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


def read_canonical_mesh(data: bytes, source: str) -> StateDict:
    """The canonical mesh (468, 3) in cm and the weights (468,) of its vertices in a Procrustes fit.

    Source: `geometry_pipeline_metadata.proto` and `mesh_3d.proto` of MediaPipe.

    Raises:
        CheckpointError: if that is not what the data holds.
    """
    procrustes_weights = torch.zeros(MESH_VERTICES)
    vertices: list[float] = []
    try:
        for field, value in _read_message(data):
            if field == 1 and isinstance(value, bytes):  # the mesh; each vertex is x, y, z, u, v
                vertices += [v for f, v in _read_message(value) if f == 3 and isinstance(v, float)]
            elif field == 2 and isinstance(value, bytes):  # one vertex of the fit
                entry = dict(_read_message(value))
                procrustes_weights[int(entry.get(1, 0))] = float(entry[2])
        mesh = torch.tensor(vertices).reshape(MESH_VERTICES, 5)[:, :3]
    except (struct.error, IndexError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{source} is not the geometry of a face ({error}).") from error
    return {"canonical_mesh": mesh, "procrustes_weights": procrustes_weights}


def _read_message(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a protocol buffer: their numbers and values."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        field, kind = key >> 3, key & 7
        if kind == 0:
            number, position = _read_varint(data, position)
            yield field, number
        elif kind == 5:
            yield field, struct.unpack_from("<f", data, position)[0]
            position += 4
        elif kind == 2:
            length, position = _read_varint(data, position)
            yield field, data[position : position + length]
            position += length
        else:
            raise ValueError(f"field {field} is of kind {kind}")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, position


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"No file at {path}: give the path of a published file.")
    return path.read_bytes()


def _read_bundle(path: Path) -> dict[str, bytes]:
    _read(path)
    try:
        with zipfile.ZipFile(path) as bundle:
            return {name: bundle.read(name) for name in (*NETWORKS.values(), GEOMETRY)}
    except (zipfile.BadZipFile, KeyError) as error:
        raise CheckpointError(f"{path} is not a Face Landmarker bundle: {error}.") from error


if __name__ == "__main__":
    bundle, full_range, folder = map(Path, sys.argv[1:])
    model = convert_face_landmarker(bundle, full_range)
    for network in model.children():
        network.half()  # as they are published, so that nothing is lost
    model.save_pretrained(folder)
