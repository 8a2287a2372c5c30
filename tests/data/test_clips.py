import io
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from PIL import Image

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.errors import DatasetError


def test_a_clip_survives_encoding(make_clip):
    sample = make_clip(frames=7)
    decoded = encode_clip(sample).decode()
    assert decoded.fps == Fraction(25)
    assert decoded.metadata == sample.metadata
    assert decoded.expression_space == "arkit52"
    np.testing.assert_array_equal(decoded.expression, sample.expression)
    np.testing.assert_array_equal(decoded.head_keypoints, sample.head_keypoints)
    # 16-bit sound: half a step. JPEG at quality 95 on a smooth picture: a few grey levels.
    assert np.abs(decoded.waveform - sample.waveform).max() <= 0.5 / 32768 + 1e-7
    assert np.abs(decoded.frames.astype(int) - sample.frames).max() <= 4
    assert np.abs(decoded.reference.astype(int) - sample.reference).max() <= 4


def test_the_same_clip_gives_the_same_bytes(make_clip):
    assert encode_clip(make_clip()) == encode_clip(make_clip())
    assert encode_clip(make_clip(seed=1)).members != encode_clip(make_clip(seed=2)).members


def test_a_span_carries_its_own_sound_and_arrays(make_clip):
    sample = make_clip(frames=9)
    span = encode_clip(sample).decode(3, 5)
    assert span.frames.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(span.expression, sample.expression[3:5])
    np.testing.assert_allclose(span.waveform, sample.waveform[3 * 640 : 5 * 640], atol=2e-5)
    np.testing.assert_array_equal(span.reference, encode_clip(sample).decode().reference)


def test_a_clip_may_have_no_reference(make_clip):
    clip = encode_clip(replace(make_clip(), reference=None))
    assert clip.members.keys() == encode_clip(make_clip()).members.keys() - {"reference.jpg"}
    assert clip.decode().reference is None


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (0, 6)])
def test_a_span_outside_the_clip_is_refused(make_clip, start, stop):
    with pytest.raises(DatasetError, match="not inside clip"):
        encode_clip(make_clip(frames=5)).decode(start, stop)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "a.b"}, "a key has"),
        ({"metadata": {}}, "split"),
        ({"waveform": np.full(10, np.nan, np.float32)}, "finite"),
        ({"waveform": np.zeros(10)}, "float32"),
        ({"frames": np.zeros((5, 32, 32), np.uint8)}, "frames must be"),
        ({"frames": np.zeros((0, 32, 32, 3), np.uint8)}, "no frame"),
        ({"expression": np.zeros((4, 52), np.float32)}, "one row for each"),
        ({"head_keypoints": np.zeros((5, 4, 2), np.float32)}, "head_keypoints must be"),
        ({"expression_space": None}, "go together"),
        ({"reference": np.zeros((32, 30, 3), np.uint8)}, "reference is .* beside frames of"),
        ({"reference": np.zeros((32, 32, 3))}, "float64, beside frames of .* uint8"),
        ({"reference_latents": np.zeros((4, 4, 4), np.float16)}, "beside no frames"),
    ],
)
def test_an_inconsistent_clip_is_refused(make_clip, change, message):
    with pytest.raises(DatasetError, match=message):
        encode_clip(replace(make_clip(), **change))


def test_a_damaged_member_is_named(make_clip):
    clip = encode_clip(make_clip(key="who"))
    broken = replace(clip, members={**clip.members, "000001.jpg": b"\xff\xd8nothing"})
    with pytest.raises(DatasetError, match="'who' is damaged"):
        broken.decode()


def encode_picture(width: int, height: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, kind)
    return stream.getvalue()


def claim_to_be_huge(picture: bytes) -> bytes:
    """The JPEG with 65535 as its height and width."""
    place = picture.index(b"\xff\xc0") + 5
    return picture[:place] + b"\xff" * 4 + picture[place + 4 :]


def encode_sound(samples: int, rate: int = 16_000, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((samples, channels)), rate, format="FLAC")
    return stream.getvalue()


def encode_rows(*shape: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(shape, np.float32))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("000001.jpg", claim_to_be_huge(encode_picture(32, 32)), "exceeds limit"),
        ("000001.jpg", encode_picture(32, 32, "L"), "000001.jpg is"),
        ("000001.jpg", encode_picture(31, 32), "000001.jpg is"),
        ("000001.jpg", encode_picture(32, 32, kind="PNG"), "identify"),
        ("reference.jpg", encode_picture(64, 64), "reference.jpg is"),
        ("flac", encode_sound(32_000), "32000"),
        ("flac", encode_sound(3200, 8000), "8000"),
        ("flac", encode_sound(3200, channels=2), "3200, 16000, 2"),
        ("flac", b"fLaC", ""),
        ("expression.npy", encode_rows(4, 52), "(4, 52)"),
        ("expression.npy", encode_rows(5), "(5,)"),
        ("head_keypoints.npy", encode_rows(6, 8, 2), "(6, 8, 2)"),
        ("head_keypoints.npy", b"", "header"),
    ],
)
def test_a_member_that_is_not_what_the_header_says_is_refused(make_clip, name, data, message):
    clip = encode_clip(make_clip(key="who"))
    wrong = replace(clip, members={**clip.members, name: data})
    with pytest.raises(DatasetError, match=f"'who' is damaged.*{re.escape(message)}"):
        wrong.decode()
