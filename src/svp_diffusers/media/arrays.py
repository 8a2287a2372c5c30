"""Arrays in NumPy's files, read without trust in any size that a file claims.

`numpy.load` takes memory for what a header claims, and an archive may hold a thousand times what it
weighs. Here memory is taken for bytes that are there, and for a bounded number of them.
"""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAXIMUM_BYTES = 2**27
"""Of a file and of an array: more than an hour of 64 coefficients at 60 frames per second."""
_KINDS = "biufU"  # truth values, integers, numbers, text
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def parse_array(data: bytes) -> NDArray[Any]:
    """The array of numbers or of text that `numpy.save` wrote.

    Raises:
        ValueError: the bytes are not such an array, whole and alone.
    """
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    except Exception as error:  # the header is a Python literal: its parser fails in many ways
        raise ValueError(f"its header is not one that numpy.save writes ({error})") from error
    if dtype.kind not in _KINDS:
        raise ValueError(f"it holds {dtype}, not numbers or text")
    claimed, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if claimed != there or min(shape, default=1) < 0:
        raise ValueError(f"its header says {shape} {dtype}, but {there} bytes follow")
    stream.seek(0)
    array: NDArray[Any] = np.load(stream, allow_pickle=False)
    return array


def read_array(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file.

    Raises:
        ValueError: it is none, or too large.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return parse_array(_check_size(file.read(MAXIMUM_BYTES + 1)))


def read_arrays(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that a `.npz` file has.

    Raises:
        ValueError: it is no such file, one of the arrays is none, or is too large.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            return {
                name: parse_array(_read_entry(archive, f"{name}.npy"))
                for name in names
                if f"{name}.npy" in there
            }
    except (OSError, ValueError):
        raise
    except Exception as error:  # of zipfile, zlib or struct, each of which has its own
        raise ValueError(f"it is no archive that numpy.savez wrote ({error})") from error


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.compress_type not in _METHODS:
        raise ValueError(f"{name} is compressed in a way that numpy.savez does not use")
    with archive.open(entry) as file:
        return _check_size(file.read(MAXIMUM_BYTES + 1))


def _check_size(data: bytes) -> bytes:
    if len(data) > MAXIMUM_BYTES:
        raise ValueError(f"it has more than {MAXIMUM_BYTES >> 20} MiB")
    return data
