"""Reading the weights of a TensorFlow Lite file in the order in which its operators use them."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import CheckpointError

IDENTIFIER = b"TFL3"
# Of the schema's `BuiltinOperator` and `TensorType`.
OPERATORS = {0: "add", 3: "convolution", 4: "depthwise", 18: "multiply"}
UNPACK = {6, 124}  # DEQUANTIZE (float16 to float32) and DENSIFY, of constants
FLOATS = {0: "<f4", 1: "<f2"}
# Of `SparseIndexVector`.
INDICES = {1: "<i4", 2: "<u2", 3: "u1"}
SPARSE = 1


@dataclass(frozen=True)
class Weight:
    """A constant that an operator reads.

    operator: what reads it: one of `OPERATORS`, or the number of another
    name: of the tensor that the operator makes
    values: in the file's own layout: (out, height, width, in) for a convolution, (1, height, width,
        channels) for one by channel
    """

    operator: str
    name: str
    values: NDArray[np.floating]


def read_tflite_weights(data: bytes, source: str) -> list[Weight]:
    """The floating-point constants of the first graph, in the order of its operators.

    Whole numbers (shapes, paddings) are left out: they say how the graph is wired. Source: the
    FlatBuffers format, and TensorFlow Lite's `schema.fbs`.

    Raises:
        CheckpointError: for what is not such a file, or is damaged.
    """
    if data[4:8] != IDENTIFIER:
        raise CheckpointError(f"{source} is not a TensorFlow Lite file.")
    try:
        return _read_weights(_Table.root(data))
    except (struct.error, IndexError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} is damaged ({error}); get it again.") from error


def _read_weights(model: "_Table") -> list[Weight]:
    # Codes below 128 have a field of their own, from the time when there were no others.
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors = graph.tables(0)
    constants: dict[int, NDArray[np.floating]] = {}
    for index, tensor in enumerate(tensors):
        kind = FLOATS.get(tensor.number(1, "b"))
        values = buffers[tensor.number(2, "I")].vector(0, "u1")
        if len(values) and kind is not None:
            shape, sparsity = tensor.vector(0, "<i4"), tensor.table(6)
            values = values.view(kind)
            constants[index] = (
                values.reshape(shape) if sparsity is None else _unpack(values, shape, sparsity)
            )
    weights: list[Weight] = []
    for operator in graph.tables(3):
        code = codes[operator.number(0, "I")]
        inputs, outputs = operator.vector(1, "<i4"), operator.vector(2, "<i4")
        if code in UNPACK:
            constants[int(outputs[0])] = constants[int(inputs[0])]
            continue
        name = tensors[outputs[0]].text(3)
        weights += [
            Weight(OPERATORS.get(code, str(code)), name, constants[int(index)])
            for index in inputs
            if int(index) in constants
        ]
    return weights


def _unpack(
    values: NDArray[np.floating], shape: NDArray[np.int32], sparsity: "_Table"
) -> NDArray[np.floating]:
    """A sparse tensor in full. Only its last dimension may be sparse, as in compressed rows.

    Raises `ValueError` for other layouts.
    """
    *dense, last = [dimension.number(0, "b") for dimension in sparsity.tables(2)]
    blocks, order = sparsity.vector(1, "<i4"), sparsity.vector(0, "<i4")
    if len(blocks) or any(dense) or last != SPARSE or (np.diff(order) != 1).any():
        raise ValueError("a sparse tensor is not in compressed rows")
    columns = sparsity.tables(2)[-1]
    segments, indices = _read_indices(columns, 2), _read_indices(columns, 4)
    full = np.zeros((int(np.prod(shape[:-1])), int(shape[-1])), values.dtype)
    rows = np.repeat(np.arange(len(full)), np.diff(segments))
    full[rows, indices] = values
    return full.reshape(shape)


def _read_indices(dimension: "_Table", kind: int) -> NDArray[np.int64]:
    """The numbers after the field that says how they are stored."""
    table = dimension.table(kind + 1)
    if table is None:
        raise ValueError("a sparse tensor has no indices")
    return table.vector(0, INDICES[dimension.number(kind, "B")]).astype(np.int64)


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers: `position` is where it starts in `data`."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data)[0])

    def _field(self, index: int) -> int | None:
        """Where a field is; None if the file leaves it at its default."""
        entries = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        offset = 4 + 2 * index
        if offset >= struct.unpack_from("<H", self.data, entries)[0]:
            return None
        place = struct.unpack_from("<H", self.data, entries + offset)[0]
        return self.position + place if place else None

    def number(self, index: int, code: str) -> int:
        place = self._field(index)
        return 0 if place is None else struct.unpack_from(f"<{code}", self.data, place)[0]

    def table(self, index: int) -> "_Table | None":
        place = self._field(index)
        if place is None:
            return None
        return _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def vector(self, index: int, dtype: str) -> NDArray[Any]:
        place = self._field(index)
        if place is None:
            return np.empty(0, dtype)
        place += struct.unpack_from("<I", self.data, place)[0]
        length = struct.unpack_from("<I", self.data, place)[0]
        return np.frombuffer(self.data, dtype, length, place + 4)

    def text(self, index: int) -> str:
        return self.vector(index, "u1").tobytes().decode()

    def tables(self, index: int) -> list["_Table"]:
        place = self._field(index)
        if place is None:
            return []
        offsets = self.vector(index, "<u4")
        place += struct.unpack_from("<I", self.data, place)[0] + 4
        return [_Table(self.data, place + 4 * i + int(to)) for i, to in enumerate(offsets)]
