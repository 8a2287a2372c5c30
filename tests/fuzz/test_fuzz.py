"""Damaged files of every kind: each is read or refused by an error of ours."""

import pytest

from .run import fuzz


def report(failures: list) -> str:
    return "\n".join(f"{each.kind} {each.number}: {each.problem}" for each in failures[:20])


def test_a_few_damaged_files_of_every_kind() -> None:
    counts, failures = fuzz(files=400, seed=1)
    assert not failures, report(failures)
    assert sum(counts.values()) >= 400


@pytest.mark.slow(minutes=2)
def test_damaged_files_for_two_minutes() -> None:
    counts, failures = fuzz(files=100_000, seed=7, seconds=120)
    assert not failures, report(failures)
    assert sum(counts.values()) > 1000
