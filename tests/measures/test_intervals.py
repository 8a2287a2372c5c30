"""An interval that is called one of 95 % holds the truth in about 95 % of samples of people."""

from collections.abc import Callable

import numpy as np
import pytest

from svp_diffusers.measures.intervals import estimate, estimate_jumping, estimate_mean

SAMPLES, CLIPS = 1000, 4

Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_normal(random: np.random.Generator, people: int) -> np.ndarray:
    """Clips (people, 4) whose mean is 0 and that share most of their variance."""
    return 0.8 * random.normal(size=(people, 1)) + 0.6 * random.normal(size=(people, CLIPS))


def draw_skewed(random: np.random.Generator, people: int) -> np.ndarray:
    shared = (random.gamma(4, size=(people, 1)) - 4) / 2  # skewness 1
    return 0.8 * shared + 0.6 * random.normal(size=(people, CLIPS))


@pytest.mark.parametrize("draw", [draw_normal, draw_skewed])
@pytest.mark.parametrize("people", [4, 8, 16])
def test_the_mean_of_correlated_clips(draw: Draw, people: int) -> None:
    random = np.random.default_rng(0)
    names = np.repeat(np.arange(people), CLIPS).astype(str).tolist()
    figures = [estimate_mean(draw(random, people).ravel(), names) for _ in range(SAMPLES)]
    covered = np.mean([figure.low <= 0 <= figure.high for figure in figures])
    assert 0.92 <= covered <= 0.975  # 0.95 +- 3.6 standard deviations of 1000 samples


def test_a_ratio_of_sums_over_people_with_different_numbers_of_clips() -> None:
    random = np.random.default_rng(0)
    names = [str(person) for person in range(12) for _ in range(1 + person % 4)]
    people = np.array(names, dtype=int)
    covered = 0
    for _ in range(SAMPLES):
        below = random.uniform(1, 3, size=len(people))
        above = below * (1 + 0.3 * random.normal(size=12)[people])
        figure = estimate(lambda rows, a=above, b=below: a[rows].sum() / b[rows].sum(), names)
        covered += figure.low <= 1 <= figure.high
    assert 0.92 <= covered / SAMPLES <= 0.975


def test_it_is_students_interval_of_the_means_of_people() -> None:
    # Means 1, 2, 3, 6: standard error 1.0801; Student's 97.5 % of 3 degrees of freedom is 3.1824.
    figure = estimate_mean([0, 2, 2, 2, 3, 3, 5, 7], list("aabbccdd"))
    assert figure.value == pytest.approx(3)
    assert (figure.low, figure.high) == pytest.approx((3 - 3.4374, 3 + 3.4374), abs=1e-3)
    assert (figure.people, figure.clips) == (4, 8)


def test_more_clips_of_the_same_people_do_not_narrow_it() -> None:
    values = [0.1, 0.5, 0.9]
    once = estimate_mean(values, list("abc"))
    often = estimate_mean(np.repeat(values, 50), list("a" * 50 + "b" * 50 + "c" * 50))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_it_ends_where_the_figure_must_end() -> None:
    figure = estimate_mean([1.0, 1.0, 0.8], list("abc"), (-1, 1))
    assert figure.low < 0.8
    assert figure.high == 1


def test_one_person_and_infinite_values_have_no_interval() -> None:
    lone = estimate_mean([0.5, 0.6], ["a", "a"], (0, 1))
    assert (lone.low, lone.high, lone.people, lone.clips) == (0, 1, 1, 2)
    infinite = estimate_mean([np.inf, 3.0], ["a", "b"])
    assert (infinite.value, infinite.low, infinite.high) == (np.inf, -np.inf, np.inf)


def test_clips_that_cannot_tell_are_left_out() -> None:
    figure = estimate_mean([1.0, np.nan, 3.0], list("abc"))
    assert (figure.value, figure.people, figure.clips) == (2, 2, 2)
    assert estimate_mean([np.nan], ["a"]) is None


def test_the_bootstrap_draws_as_many_people_as_there_are() -> None:
    """Of a mean over n people, 95 % of its draws lie within 1.96 s / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=64)
    names = np.arange(64).astype(str).tolist()
    figure = estimate_jumping(lambda rows: float(values[rows].mean()), names, (-9, 9))
    assert figure.value == values.mean()
    assert (figure.high - figure.low) / 2 == pytest.approx(1.96 * values.std() / 8, rel=0.1)


def test_a_place_of_a_maximum_moves_with_the_people_that_are_drawn() -> None:
    curves = np.repeat(np.eye(3)[[1] * 9 + [2] * 7], 2, axis=0)  # of 16 people, 2 clips each
    names = np.repeat(np.arange(16), 2).astype(str).tolist()

    def find_peak(rows: np.ndarray) -> float:
        return float(curves[rows].mean(axis=0).argmax())

    figure = estimate_jumping(find_peak, names, (0, 2))
    assert (figure.value, figure.low, figure.high) == (1, 1, 2)
    assert (figure.people, figure.clips) == (16, 32)
    lone = estimate_jumping(find_peak, ["a"] * 32, (0, 2))
    assert (lone.low, lone.high) == (0, 2)
