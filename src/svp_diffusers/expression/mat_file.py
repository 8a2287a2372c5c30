"""One array of a MATLAB file, read without trust in any size that the file claims.

SciPy's reader takes memory for what a damaged file claims, and some end the process. The format is
level 5 of MathWorks' "MAT-File Format", which `scipy.io.savemat`, MATLAB (`-v7`) and Octave write.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAXIMUM_BYTES = 2**27
"""Of a file, and of what is decompressed of it: half an hour of `coeff` in doubles (our choice)."""
_HEADER_BYTES, _TAG_BYTES = 128, 8
_MATRIX, _COMPRESSED = 14, 15
# Flags, dimensions and name begin an array; names have 63 characters at most.
_START_BYTES = 1024
_STORED_AS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_CLASSES_OF_NUMBERS, _COMPLEX = range(6, 16), 0x0800


def read_variable(path: Path, name: str) -> NDArray[np.float32] | None:
    """The array of real numbers that a `.mat` file has under a name, or None if it has no such.

    Raises:
        ValueError: the file is damaged, of another level or too large, or holds no numbers there.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAXIMUM_BYTES + 1)
    if len(data) > MAXIMUM_BYTES:
        raise ValueError(f"it has more than {MAXIMUM_BYTES >> 20} MiB")
    byte_order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER_BYTES])
    if byte_order is None:
        raise ValueError("it does not begin as a MATLAB file does")
    if struct.unpack(f"{byte_order}H", data[124:126]) != (0x0100,):
        raise ValueError("it is not of level 5: save it with -v7")
    wanted = name.encode()
    for kind, content in _split(data[_HEADER_BYTES:], byte_order):
        if kind == _COMPRESSED:
            start = _inflate(content, _START_BYTES)[_TAG_BYTES:]
            if _read_elements(start, byte_order, 3)[2][1] != wanted:
                continue
            ((kind, content),) = _read_elements(_inflate(content, MAXIMUM_BYTES), byte_order, 1)
        if kind != _MATRIX:
            raise ValueError(f"it has an element of type {kind} in place of a variable")
        if _read_elements(content, byte_order, 3)[2][1] == wanted:
            return _parse_array(content, byte_order)
    return None


def _split(data: bytes, byte_order: str) -> Iterator[tuple[int, bytes]]:
    """The elements that data consist of: their type and content."""
    place = 0
    while place < len(data):
        tag = data[place : place + _TAG_BYTES]
        if len(tag) < _TAG_BYTES:
            raise ValueError("it ends within an element")
        kind, size = struct.unpack(f"{byte_order}2I", tag)
        if kind >> 16:  # a small element: its content is in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = place + 4, place + _TAG_BYTES
        else:
            start = place + _TAG_BYTES
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > min(end, len(data)):
            raise ValueError(f"an element claims {size} bytes, more than there are")
        yield kind, data[start : start + size]
        place = end


def _inflate(content: bytes, most: int) -> bytes:
    """The first bytes of compressed content."""
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from error


def _read_elements(content: bytes, byte_order: str, number: int) -> list[tuple[int, bytes]]:
    """The first elements of a variable: flags, dimensions, name, numbers."""
    elements = list(islice(_split(content, byte_order), number))
    if len(elements) < number:
        raise ValueError("it has a variable that is cut short")
    return elements


def _parse_array(content: bytes, byte_order: str) -> NDArray[np.float32]:
    (_, flags), (_, dimensions), _, (stored, numbers) = _read_elements(content, byte_order, 4)
    (flag,) = struct.unpack(f"{byte_order}I", flags[:4].ljust(4))
    if flag & 0xFF not in _CLASSES_OF_NUMBERS or flag & _COMPLEX or stored not in _STORED_AS:
        raise ValueError("the variable is no array of real numbers")
    shape = struct.unpack(
        f"{byte_order}{len(dimensions) // 4}i", dimensions[: len(dimensions) & ~3]
    )
    dtype = np.dtype(f"{byte_order}{_STORED_AS[stored]}")
    count = math.prod(shape)
    if min(shape, default=-1) < 0 or count * dtype.itemsize != len(numbers):
        raise ValueError(f"the variable claims to be {shape}, but has {len(numbers)} bytes")
    if 4 * count > MAXIMUM_BYTES:
        raise ValueError(f"the variable has more than {MAXIMUM_BYTES >> 20} MiB")
    with np.errstate(over="ignore"):  # infinite, which whoever takes the numbers refuses
        return np.frombuffer(numbers, dtype).reshape(shape, order="F").astype(np.float32)
