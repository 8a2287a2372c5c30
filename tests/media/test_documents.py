"""Documents that a user hands in are plain values within bounds, or refused with a reason."""

import time
from typing import Annotated

import pytest
from pydantic import Field

from svp_diffusers.media.documents import Description, check_document, parse_json, parse_yaml


def test_plain_json_and_yaml_are_read() -> None:
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": "d"}}
    assert parse_json('{"a": [1, 2.5, null, true, "é"], "b": {"c": "d"}}'.encode()) == value
    assert parse_yaml("a: [1, 2.5, null, true, é]\nb:\n  c: d\n".encode()) == value
    assert parse_yaml(b"") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999"),
        (b"1" * 5000, "digits"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a": ' * 100_000, "too deeply"),
    ],
)
def test_other_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(data)


BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: [", "expected"),
        (b"a: b: c", "mapping values"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"a: \x00", "special characters"),
        (b"a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (BILLION_LAUGHS.encode(), r"alias \(\*\)"),
        (b"a: &a [*a]", r"alias \(\*\)"),
        (b"[" * 1000, "nested more than 20"),
        (b"a: " + b"x" * 2**20, "more than 1 MiB"),
        (b"a: " + b"1" * 5000, "digits"),
        (b"a: 1\n---\nb: 2", "single document"),
        (b"a: 2026-99-99", "month"),
        (b"a: 1\nb: 2\na: 3", "says a twice"),
        (b"c:\n  a: 1\n  a: 3", "says a twice"),
        (b"a: !!map [1]", "expected a mapping"),
    ],
)
def test_other_yaml_is_refused_at_once(data: bytes, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_yaml(data)
    assert time.process_time() - begin < 1


class Clip(Description):
    name: str
    frames: Annotated[int, Field(ge=1)]
    rate: float = 25.0


class Clips(Description):
    clips: list[Clip]


def test_a_document_may_have_more_than_is_described() -> None:
    check_document({"clips": [{"name": "a", "frames": 3, "more": []}], "format": 1}, Clips)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"name": "a"}, r"clips\.0\.frames: Field required"),
        ({"name": "a", "frames": "3"}, r"clips\.0\.frames: .*integer, not '3'"),
        ({"name": "a", "frames": True}, r"clips\.0\.frames"),
        ({"name": "a", "frames": 3.0}, r"clips\.0\.frames"),
        ({"name": "a", "frames": 0}, r"clips\.0\.frames: .*greater than or equal to 1, not 0"),
        ({"name": 3, "frames": 3}, r"clips\.0\.name: .*string, not 3"),
        ({"name": "a", "frames": 3, "rate": float("nan")}, r"clips\.0\.rate: .*finite"),
        ("x" * 1000, r"clips\.0: .*, not 'x{1,60}\.\.\.$"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(clip: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_document({"clips": [clip]}, Clips)
    for other in (None, [], 3, {}):
        with pytest.raises(ValueError, match=r"it: |clips: "):
            check_document(other, Clips)
