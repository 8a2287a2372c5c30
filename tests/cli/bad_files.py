"""Files that are not what their names say, by kind: each a function that makes one in a folder."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

MakeFile = Callable[[Path], Path]

VOICE = (0.3 * np.sin(np.arange(16000) / 20)).astype(np.float32)
NOISE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def written(name: str, content: bytes | str) -> MakeFile:
    """A file of that name with that content."""
    data = content.encode() if isinstance(content, str) else content

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def saved_picture(name: str, picture: Image.Image, kind: str, **options: object) -> MakeFile:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return written(name, stream.getvalue())


def sound(name: str, samples: np.ndarray, rate: int = 16000, subtype: str = "FLOAT") -> MakeFile:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, subtype=subtype, format="WAV")
    return written(name, stream.getvalue())


def missing(name: str) -> MakeFile:
    return lambda folder: folder / name


def folder_named(name: str) -> MakeFile:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def fifo(name: str) -> MakeFile:
    """A pipe that nobody writes into: reading it would never end."""

    def make(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return make


def device(name: str) -> MakeFile:
    """A link to a device that never ends."""

    def make(folder: Path) -> Path:
        (folder / name).symlink_to("/dev/zero")
        return folder / name

    return make


def silent_video(folder: Path) -> Path:
    path = folder / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def arrays(name: str, **values: object) -> MakeFile:
    stream = io.BytesIO()
    np.savez(stream, **values)  # type: ignore[arg-type]
    return written(name, stream.getvalue())


def array(name: str, values: np.ndarray) -> MakeFile:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return written(name, stream.getvalue())


def claiming(name: str, shape: str, dtype: str = "<f4") -> MakeFile:
    """A `.npy` of a hundred bytes whose header claims more."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return written(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())


def zipped(name: str, entries: Mapping[str, bytes]) -> MakeFile:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
    return written(name, stream.getvalue())


def everywhere(name: str) -> dict[str, MakeFile]:
    """What is wrong with a file of any kind."""
    return {
        "missing": missing(f"gone{name}"),
        "of a name too long": missing("x" * 300 + name),
        "empty": written(f"empty{name}", b""),
        "a folder": folder_named(f"folder{name}"),
        "a pipe": fifo(f"pipe{name}"),
        "a device": device(f"device{name}"),
    }


PNG = saved_picture("p.png", Image.fromarray(NOISE), "PNG")
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"


def cut(make: MakeFile, part: float) -> MakeFile:
    def made(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        return path

    return made


PICTURES: dict[str, MakeFile] = {
    **everywhere(".png"),
    "text": written("text.png", "not a picture\n" * 40),
    "cut short": cut(PNG, 0.5),
    "of one pixel": saved_picture("1.png", Image.new("RGB", (1, 1)), "PNG"),
    "narrow": saved_picture("n.png", Image.new("RGB", (63, 400)), "PNG"),
    "animated": saved_picture(
        "a.gif",
        Image.fromarray(NOISE),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(255 - NOISE)],
    ),
    "an EPS": written("e.png", EPS),
    "an ICNS": saved_picture("i.png", Image.new("RGB", (128, 128)), "ICNS"),
    "a TGA": saved_picture("t.png", Image.fromarray(NOISE), "TGA"),
    "a PDF": written("d.png", b"%PDF-1.7\n1 0 obj\n" * 9),
    "an SVG": written("s.png", "<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>"),
    "sound": sound("w.png", VOICE),
    "huge": written(
        "h.png",
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0, 0),
    ),
}

SOUNDS: dict[str, MakeFile] = {
    **everywhere(".wav"),
    "text": written("text.wav", "not sound\n" * 40),
    "a playlist": written("list.m3u8", "#EXTM3U\n#EXTINF:2,\nspeech.wav\n#EXT-X-ENDLIST\n"),
    "a list in disguise": written("list.wav", "ffconcat version 1.0\nfile speech.wav\n"),
    "an SDP": written("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
    "cut short": cut(sound("cut.wav", VOICE), 0.5),
    "silent": sound("silent.wav", 0 * VOICE),
    "a click": sound("click.wav", VOICE[:100]),
    "without samples": sound("none.wav", VOICE[:0]),
    "NaN": sound("nan.wav", np.full(16000, np.nan, np.float32)),
    "infinite": sound("inf.wav", np.full(16000, np.inf, np.float32)),
    "unscaled": sound("loud.wav", VOICE * 32768),
    "upside down": sound("anti.wav", np.stack([VOICE, -VOICE], axis=1)),
    "of 100 Hz": sound("slow.wav", VOICE, 100),
    "of 10 MHz": sound("fast.wav", VOICE, 10_000_000),
    "a picture": saved_picture("p.wav", Image.fromarray(NOISE), "PNG"),
    "a video without sound": silent_video,
    "numbers": array("n.wav", VOICE),
}

KEYPOINTS: dict[str, MakeFile] = {
    **everywhere(".npy"),
    "text": written("text.npy", "not numbers\n" * 40),
    "pickled": array("o.npy", np.array([{}], dtype=object)),
    "NaN": array("n.npy", np.full((8, 2), np.nan, np.float32)),
    "of another number": array("m.npy", np.zeros((7, 2), np.float32)),
    "flat": array("f.npy", np.zeros(16, np.float32)),
    "words": array("w.npy", np.full((8, 2), "x")),
    "complex": array("c.npy", np.zeros((8, 2), complex)),
    "claims a million million rows": claiming("b.npy", "(1000000000000, 8, 2)"),
    "claims negative rows": claiming("g.npy", "(-1, 8, 2)"),
    "runs code": claiming("r.npy", "__import__('os').getpid()"),
}

GOOD_TRACK = {"expression": np.zeros((60, 52), np.float32), "space": "arkit52", "fps": 25}

TRACKS: dict[str, MakeFile] = {
    **{f"{kind} .npz": make for kind, make in everywhere(".npz").items()},
    **{f"{kind} .mat": make for kind, make in everywhere(".mat").items()},
    **{f"{kind} .csv": make for kind, make in everywhere(".csv").items()},
    "text .npz": written("t.npz", "hello" * 99),
    "an empty .npz": zipped("e.npz", {}),
    "a .npz of text": zipped(
        "z.npz", {"expression.npy": b"hello", "space.npy": b"", "fps.npy": b""}
    ),
    "a .npz that claims terabytes": zipped(
        "c.npz",
        dict.fromkeys(("expression.npy", "space.npy", "fps.npy"), b"\x93NUMPY\x01\x00\x00\x00"),
    ),
    "a .npz without fps": arrays("f.npz", expression=GOOD_TRACK["expression"], space="arkit52"),
    "a .npz of fps 0.001": arrays("s.npz", **{**GOOD_TRACK, "fps": 0.001}),
    "a .npz of fps nan": arrays("n.npz", **{**GOOD_TRACK, "fps": np.nan}),
    "a .npz of fps 1e300": arrays("h.npz", **{**GOOD_TRACK, "fps": 1e300}),
    "a .npz of fps in words": arrays("w.npz", **{**GOOD_TRACK, "fps": "fast"}),
    "a .npz of two fps": arrays("2.npz", **{**GOOD_TRACK, "fps": np.array([25, 30])}),
    "a .npz of another space": arrays("o.npz", **{**GOOD_TRACK, "space": "flame"}),
    "a .npz of NaN": arrays("nan.npz", **{**GOOD_TRACK, "expression": np.full((60, 52), np.nan)}),
    "a .npz of words": arrays("x.npz", **{**GOOD_TRACK, "expression": np.full((60, 52), "x")}),
    "a .npz of one axis": arrays("1.npz", **{**GOOD_TRACK, "expression": np.zeros(52)}),
    "a .npz of no frames": arrays("0.npz", **{**GOOD_TRACK, "expression": np.zeros((0, 52))}),
    "a .npz of objects": arrays("obj.npz", **{**GOOD_TRACK, "expression": np.array([{}])}),
    "text .mat": written("t.mat", "hello" * 99),
    "a .mat of a header alone": written("h.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"),
    "a .mat cut in a variable": written(
        "v.mat",
        b"MATLAB 5.0 MAT-file".ljust(124)
        + b"\x00\x01IM"
        + struct.pack("<II", 14, 2**31)
        + b"x" * 80,
    ),
    "a binary .csv": written("b.csv", bytes(range(256)) * 9),
    "a .csv of other columns": written("o.csv", "a,b\n1,2\n"),
    "a .csv without rows": written("r.csv", "Timecode,BlendshapeCount\n"),
    "an unknown suffix": written("track.xyz", "hello"),
}

STYLES: dict[str, MakeFile] = {
    **everywhere(".style.safetensors"),
    "text": written("t.style.safetensors", "hello" * 99),
    "a header of a terabyte": written("h.style.safetensors", struct.pack("<Q", 2**40) + b"{}"),
    "a header that is no JSON": written("j.style.safetensors", struct.pack("<Q", 8) + b"notjson!"),
    "a header alone": written("o.style.safetensors", struct.pack("<Q", 2) + b"{}"),
    "a header of 100 levels": written(
        "d.style.safetensors", struct.pack("<Q", 200) + b"[" * 100 + b"]" * 100
    ),
    "weights of something else": written(
        "w.style.safetensors",
        struct.pack("<Q", 64)
        + json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
        .ljust(64)
        .encode()
        + bytes(4),
    ),
}

DOCUMENTS: dict[str, MakeFile] = {
    **everywhere(".yaml"),
    "a list": written("l.yaml", "- a\n- b\n"),
    "a word": written("w.yaml", "hello\n"),
    "nothing but a comment": written("c.yaml", "# nothing\n"),
    "no YAML": written("n.yaml", "a: [1, 2\nb: }"),
    "binary": written("b.yaml", bytes(range(256))),
    "in UTF-16": written("u.yaml", "output_dir: x\n".encode("utf-16")),
    "an alias": written("a.yaml", "output_dir: &x y\nseed: *x\n"),
    "a billion laughs": written(
        "laughs.yaml", "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30))
    ),
    "100 levels deep": written("d.yaml", "a: " + "[" * 100 + "]" * 100),
    "10,000 levels deep": written("dd.yaml", "a: " + "[" * 10_000 + "]" * 10_000),
    "of two documents": written("2.yaml", "---\na: 1\n---\nb: 2\n"),
    "of megabytes": written("m.yaml", "# " + "x" * 2**21),
    "a tag that runs code": written("t.yaml", "a: !!python/object/apply:os.getpid []\n"),
    "a key twice that is none": written("k.yaml", "? [a, b]\n: 1\n"),
    "an unknown key": written("x.yaml", "output_dir: x\nspeling: 3\n"),
    "a missing key": written("y.yaml", "steps: 3\n"),
}
