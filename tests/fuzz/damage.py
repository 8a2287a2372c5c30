"""Damage to files: the same for the same number."""

import re

import numpy as np

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)
WORDS = (
    *("-1", "0", "1e999", "nan", "NaN", ".nan", "inf", "null", "true", "1.5", "9" * 400, "''"),
    *("[]", "{}", "[" * 50, "{" * 50, '"', "\\u0000", "\x1b[2J", "../../etc/passwd", "*a", "&a 1"),
    *("!!python/object/apply:os.getpid []", "a" * 5000, ",", ":", "\n", "\t", "é", "\x00", "-"),
)


def damage(content: bytes, is_text: bool, generator: np.random.Generator) -> bytes:
    """One to eight changes, most often few."""
    data = bytearray(content)
    for _ in range(min(int(generator.geometric(0.4)), 8)):
        if is_text and generator.random() < 0.7:
            data = _change_word(data, generator)
        else:
            data = _change_bytes(data, generator)
    return bytes(data)


def _change_word(data: bytearray, generator: np.random.Generator) -> bytearray:
    words = [match.span() for match in re.finditer(rb"[\w.+-]+|[^\w\s]", data)]
    if not words:
        return data
    start, stop = words[generator.integers(len(words))]
    other = words[generator.integers(len(words))]
    new = [
        WORDS[generator.integers(len(WORDS))].encode(),
        bytes(data[slice(*other)]),
        b"",
        bytes(data[start:stop]) * 2,
    ][generator.choice(4, p=[0.6, 0.2, 0.1, 0.1])]
    return data[:start] + new + data[stop:]


def _change_bytes(data: bytearray, generator: np.random.Generator) -> bytearray:
    if not data:
        return data
    # Headers lie at the beginning, and decide most.
    reach = len(data) if generator.random() < 0.5 else min(len(data), 256)
    place = int(generator.integers(reach))
    length = int(min(generator.geometric(0.1), len(data)))
    match generator.integers(7):
        case 0:
            data[place] ^= 1 << int(generator.integers(8))
        case 1:
            data[place : place + length] = generator.bytes(length)
        case 2:  # a number at the edge of its type
            width = int(generator.choice([1, 2, 4, 8]))
            value = int(EDGES[generator.integers(len(EDGES))]) % 256**width
            order = "little" if generator.random() < 0.5 else "big"
            data[place : place + width] = value.to_bytes(width, order)
        case 3:
            del data[place : place + length]
        case 4:
            data[place:place] = data[place : place + length]
        case 5:
            other = int(generator.integers(len(data)))
            data[place : place + length] = data[other : other + length]
        case _:
            del data[place:]
    return data
