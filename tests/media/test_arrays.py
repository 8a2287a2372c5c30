"""NumPy's files are read as `numpy.load` reads them, and believed no further than their bytes."""

import io
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from svp_diffusers.media import arrays
from svp_diffusers.media.arrays import parse_array, read_array, read_arrays


def save(array: np.ndarray, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def claim(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    """An array whose header says this."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize("dtype", ["f2", "f8", ">i4", "u1", "?", "U5"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 3)])
def test_what_numpy_saves_is_read(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    for order in ("C", "F"):
        again = parse_array(save(np.asarray(array, order=order)))
        assert again.dtype == array.dtype
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header"),
        (b"hello", "header"),
        (save(np.zeros(3, np.float32))[:-1], "11 bytes follow"),
        (save(np.zeros(3, np.float32)) + b"0", "13 bytes follow"),
        (save(np.array([{}], object), allow_pickle=True), "holds object"),
        (save(np.zeros(2, [("x", "f4")])), "not numbers"),
        (claim(f"({10**12}, 64)"), "0 bytes follow"),
        (claim("(-1, -1)", data=b"1234"), "4 bytes follow"),
        (claim(f"({2**62}, 4)"), "0 bytes follow"),
        (claim("(1,)", descr="'nonsense'"), "header"),
        (claim("(1,)", descr="(" * 3000), "header"),
        (claim("((" * 3000), "header"),
        (claim("(x,)"), "header"),
        (claim("(1.5,)"), "header"),
    ],
)
def test_other_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_array(data)


def test_an_archive_gives_the_arrays_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for write in (np.savez, np.savez_compressed):
        write(path, values=np.arange(6.0).reshape(2, 3), name="x", pickled=np.array([{}], object))
        found = read_arrays(path, ("values", "name", "missing"))
        assert set(found) == {"values", "name"}
        np.testing.assert_array_equal(found["values"], np.arange(6.0).reshape(2, 3))
        assert str(found["name"]) == "x"


def test_archives_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for data in (b"", b"hello", b"PK\x03\x04" + bytes(40), save(np.zeros(3))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="no archive"):
            read_arrays(path, ["values"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("values.npy", save(np.zeros(3)))
    with pytest.raises(ValueError, match="compressed in a way"):
        read_arrays(path, ["values"])


def test_a_small_archive_of_a_huge_array_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAXIMUM_BYTES", 2**20)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, values=np.zeros((2**24,), np.uint8))
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 1 MiB"):
        read_arrays(path, ["values"])
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()
    path.write_bytes(save(np.zeros(2**21, np.uint8)))
    with pytest.raises(ValueError, match="more than 1 MiB"):
        read_array(path)


def test_damage_is_never_more_than_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    np.savez(path, expression=np.ones((5, 4), np.float32), space="bfm64", fps=25)
    archive = path.with_suffix(".npz").read_bytes()
    whole = save(np.ones((5, 4), np.float32))
    draw = random.Random(0)
    refused = 0
    for _ in range(600):
        damaged = bytearray(draw.choice([whole, archive]))
        for _ in range(draw.choice([1, 1, 4])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([None, draw.randrange(len(damaged))])])
        for read in (read_array, lambda given: read_arrays(given, ("expression", "space", "fps"))):
            try:
                read(path)
            except ValueError:
                refused += 1
    assert refused > 600  # the other format, at least
