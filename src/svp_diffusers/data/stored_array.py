"""An array in NumPy's file format of which single rows can be read."""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import DatasetError

_HEADER = 128
"""Bytes that NumPy writes before the values of an array of a few dimensions."""
_MOST_ROW_BYTES = 2**24  # latents of a frame of 2048 pixels are half a megabyte

ReadBytes = Callable[[int, int], bytes]
"""From the first byte of a file and the one after the last to these bytes."""


class StoredArray:
    """An array that stays where it is; `shape` and `dtype` are known.

    Args:
        read: reads bytes of its file.
        name: for messages.

    Raises:
        DatasetError: it is damaged.
    """

    def __init__(self, read: ReadBytes, name: str) -> None:
        self._read, self.name = read, name
        header = io.BytesIO(read(0, _HEADER))
        try:
            if np.lib.format.read_magic(header) != (1, 0):
                raise ValueError("an unknown version of NumPy's format")
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(header)
            if self.dtype.kind not in "biuf" or not self.shape or min(self.shape) < 0:
                raise ValueError(f"it claims to be {self.shape} {self.dtype}")
            if math.prod(self.shape[1:]) * self.dtype.itemsize > _MOST_ROW_BYTES:
                raise ValueError(f"it claims rows of {self.shape[1:]}")
        except Exception as error:  # the header is a Python literal: its parser fails in many ways
            raise DatasetError(f"{name} is damaged ({error}); run `svp data verify`") from error
        self._first = header.tell()

    def read_rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows `(n,)`, in this order; rows that follow each other are read together.

        Raises:
            DatasetError: there is no such row, or it cannot be read.
        """
        wanted, places = np.unique(rows, return_inverse=True)
        if wanted[0] < 0 or wanted[-1] >= self.shape[0]:
            raise DatasetError(f"{self.name} has {self.shape[0]} rows; row {wanted[-1]} is wanted")
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        data = b"".join(
            self._read(self._first + int(run[0]) * size, self._first + (int(run[-1]) + 1) * size)
            for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        )
        if len(data) != size * len(wanted):
            raise DatasetError(f"{self.name} ends before its last row; run `svp data verify`")
        return np.frombuffer(data, self.dtype).reshape(len(wanted), *self.shape[1:])[places]
