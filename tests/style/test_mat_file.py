"""MATLAB files are read as SciPy reads them, and never believed further than their bytes."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from svp_diffusers.expression import mat_file
from svp_diffusers.expression.mat_file import read_variable

OTHERS = {"matrix": np.eye(30), "text": "words", "cell": np.array([1, "a"], object), "s": {"x": 1}}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "i8"])
def test_a_variable_is_what_scipy_reads(tmp_path: Path, compressed: bool, dtype: str) -> None:
    path = tmp_path / "a.mat"
    values = (50 * np.random.default_rng(0).random((7, 257))).astype(dtype)
    savemat(path, {**OTHERS, "coeff": values, "x": [1]}, do_compression=compressed)
    np.testing.assert_array_equal(read_variable(path, "coeff"), values.astype("f4"))
    np.testing.assert_array_equal(read_variable(path, "matrix"), np.eye(30))
    assert read_variable(path, "coef") is None
    assert read_variable(path, "coefficient") is None


def test_real_files_are_what_scipy_reads(real_data: Path) -> None:
    files = sorted((real_data / "expressions").rglob("*.mat"))
    assert files
    for path in files:
        expected = loadmat(path)["coeff"].astype(np.float32)
        np.testing.assert_array_equal(read_variable(path, "coeff"), expected)


def test_what_holds_no_real_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {**OTHERS, "complex": np.ones((2, 2)) * 1j})
    for name in ("text", "cell", "s", "complex"):
        with pytest.raises(ValueError, match="no array of real numbers"):
            read_variable(path, name)


def element(kind: int, content: bytes, size: int | None = None) -> bytes:
    return struct.pack("<2I", kind, len(content) if size is None else size) + content


def variable(shape: tuple[int, ...], numbers: bytes) -> bytes:
    flags = element(6, struct.pack("<2I", 7, 0))
    dimensions = element(5, struct.pack(f"<{len(shape)}i", *shape))
    name = element(1, b"coeff\0\0\0", 5)
    return element(14, flags + dimensions + name + element(7, numbers))


def write(path: Path, content: bytes, level: int = 0x0100) -> Path:
    path.write_bytes(b" " * 124 + struct.pack("<H", level) + b"IM" + content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (variable((10**6, 257), b""), "claims to be"),
        (variable((-1, -1), b"1234" * 2), "claims to be"),
        (variable((), b"1234" * 2), "claims to be"),
        (variable((2**31 - 1,) * 8, b"1234" * 2), "claims to be"),
        (element(14, b"", 2**31), "more than there are"),
        (element(15, zlib.compress(variable((2, 1), b"1234" * 2))[:-20]), "more than|cut short"),
        (element(15, b"not compressed"), "damaged"),
        (element(14, b""), "cut short"),
        (element(9, b"12345678"), "type 9"),
        (b"1234", "ends within"),
    ],
)
def test_a_file_that_claims_more_than_it_has_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_variable(write(tmp_path / "a.mat", content), "coeff")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", b"", level=0x0200)
    with pytest.raises(ValueError, match="save it with -v7"):
        read_variable(path, "coeff")
    path.write_text("hello")
    with pytest.raises(ValueError, match="does not begin"):
        read_variable(path, "coeff")


def test_a_small_file_of_a_huge_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mat_file, "MAXIMUM_BYTES", 2**16)
    for dtype in ("f4", "u1"):  # a byte becomes four
        savemat(tmp_path / "a.mat", {"coeff": np.zeros((200, 257), dtype)}, do_compression=True)
        with pytest.raises(ValueError, match="more than"):
            read_variable(tmp_path / "a.mat", "coeff")


def test_damage_is_never_more_than_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    files = []
    for compressed in (False, True):
        savemat(path, {"z": 1, "coeff": np.ones((3, 257), "f4")}, do_compression=compressed)
        files.append(path.read_bytes())
    draw = random.Random(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(draw.choice(files))
        for _ in range(draw.choice([1, 2, 8])):
            damaged[draw.randrange(min(len(damaged), 300))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([None, draw.randrange(len(damaged))])])
        try:
            read_variable(path, "coeff")
        except ValueError:
            refused += 1
    assert refused > 300
