"""Lip sync figures: a model that is right, late, deaf or frozen gets the number it deserves."""

import numpy as np
import pytest

from svp_diffusers.errors import CheckpointError
from svp_diffusers.evaluation.talking_head.lip_sync import (
    MAX_LAG,
    correlate_at_lags,
    estimate_lag,
    evaluate_lip_sync,
)
from svp_diffusers.evaluation.talking_head.measurements import Measurement
from svp_diffusers.evaluation.talking_head.reading import Reading
from svp_diffusers.evaluation.talking_head.table import Row

from .painted import square_reader


def move(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=50)


def measure(truth: np.ndarray, generated: np.ndarray, shuffled: np.ndarray) -> Measurement:
    """A clip of which every coefficient does the same."""
    readings = {
        name: Reading(np.repeat(values[:, None], 52, 1), np.zeros((50, 1)))
        for name, values in {
            "true": truth,
            "reconstructed": 0.5 * truth + 0.1,
            "generated": generated,
            "shuffled": shuffled,
        }.items()
    }
    return Measurement(
        "k", f"person-{truth[0]}", "neutral", np.repeat(truth[:, None], 52, 1), readings, {}
    )


def evaluate(measured: list[Measurement]) -> dict[str, Row]:
    return {row.measure: row for row in evaluate_lip_sync(measured, square_reader()).rows}


JAW, LAG = "jaw opening: correlation with the truth", "jaw opening: lag of the highest correlation"


def test_lips_that_are_two_frames_late() -> None:
    clips = [measure(move(k), np.roll(move(k), 2), move(99 + k)) for k in range(20)]
    rows = evaluate(clips)
    jaw, lag = rows[JAW], next(row for name, row in rows.items() if name.startswith(LAG))
    assert abs(jaw.generated.value) < 0.1  # frames are independent here
    assert abs(jaw.control.value) < 0.1
    assert jaw.control.low < 0 < jaw.control.high
    assert jaw.true.value == pytest.approx(1)
    assert jaw.reconstructed.value == pytest.approx(1)
    assert (lag.generated.value, lag.reconstructed.value, lag.true.value) == (2, 0, 0)
    assert lag.aim.judge(lag.generated) == "not reached"


def test_lips_that_are_early_have_a_negative_lag() -> None:
    curves = np.stack([correlate_at_lags(np.roll(move(k), -3), move(k)) for k in range(5)])
    lag = estimate_lag(curves, list("abcde"))
    assert (lag.value, lag.low, lag.high) == (-3, -3, -3)
    assert curves[:, MAX_LAG - 3] == pytest.approx(1)


def test_frozen_lips_count_as_nothing_and_a_still_truth_is_left_out() -> None:
    still = np.full(50, 0.3)
    rows = evaluate([measure(move(0), still, still), measure(still, move(1), move(1))])
    assert rows[JAW].generated.value == 0
    assert rows[JAW].generated.clips == 1
    nobody_moves = evaluate([measure(still, still, still)])
    assert nobody_moves[JAW].generated is None


def test_an_encoder_that_does_not_read_the_lips_is_refused() -> None:
    reader = square_reader()
    reader.names = tuple(name for name in reader.names if name != "mouthPucker")
    with pytest.raises(CheckpointError, match="does not read mouthPucker"):
        evaluate_lip_sync([measure(move(0), move(0), move(0))], reader)
