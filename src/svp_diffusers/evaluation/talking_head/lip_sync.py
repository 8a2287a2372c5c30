"""Do the lips move with the sound: against the rig, beside its ceilings and a shuffled control."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.evaluation.talking_head.measurements import (
    GENERATED,
    RECONSTRUCTED,
    SHUFFLED,
    TRUE,
    Measurement,
)
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader
from svp_diffusers.evaluation.talking_head.table import Aim, PartResult, Row
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.measures.intervals import Estimate, estimate_jumping, estimate_mean

JAW = "jaw opening"
SIGNALS = {
    JAW: ("jawOpen",),
    "lip width": ("mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft", "mouthSmileRight"),
    "pucker": ("mouthPucker",),
}
"""What the lips do, as means of ARKit coefficients."""

MAX_LAG = 6  # frames
_AIMS = {JAW: Aim(low=0.80)}
_CONTROL_AIMS = {JAW: Aim(high=0.15)}
_CONDITIONS = (GENERATED, SHUFFLED, RECONSTRUCTED, TRUE)


def evaluate_lip_sync(measured: Sequence[Measurement], reader: ExpressionReader) -> PartResult:
    """Correlation of the lips with the truth, a clip at a time, and how late they are.

    The truth is the rig. A clip whose truth does not move is left out: no correlation; lips that do
    not move where the truth does have correlation 0.
    """
    rows: list[Row] = []
    people = [clip.person for clip in measured]
    details: dict[str, Any] = {"lags": list(range(-MAX_LAG, MAX_LAG + 1))}
    for signal, names in SIGNALS.items():
        columns = reader.find(*names)
        curves = {
            condition: np.stack([_correlate_clip(clip, condition, columns) for clip in measured])
            for condition in _CONDITIONS
        }
        figures = {
            name: estimate_mean(curve[:, MAX_LAG], people, (-1, 1))
            for name, curve in curves.items()
        }
        rows.append(
            Row(
                "lip_sync",
                f"{signal}: correlation with the truth",
                generated=figures[GENERATED],
                control=figures[SHUFFLED],
                reconstructed=figures[RECONSTRUCTED],
                true=figures[TRUE],
                aim=_AIMS.get(signal),
                control_aim=_CONTROL_AIMS.get(signal),
            )
        )
        details[signal] = {
            name: {"correlation": curve[:, MAX_LAG].tolist(), "by lag": average_curve(curve)}
            for name, curve in curves.items()
        }
        if signal == JAW:
            rows.append(
                Row(
                    "lip_sync",
                    f"{signal}: lag of the highest correlation (frames, + is late)",
                    generated=estimate_lag(curves[GENERATED], people),
                    reconstructed=estimate_lag(curves[RECONSTRUCTED], people),
                    true=estimate_lag(curves[TRUE], people),
                    aim=Aim(-1, 1),
                )
            )
            details["traces"] = _trace(measured, columns[0], curves[GENERATED][:, MAX_LAG])
    return PartResult(rows, details)


def _correlate_clip(clip: Measurement, condition: str, columns: list[int]) -> NDArray[np.float64]:
    read = clip.readings[condition].coefficients[:, columns].mean(axis=1)
    return correlate_at_lags(read, clip.truth[:, columns].mean(axis=1))


def correlate_at_lags(read: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation at lags of -MAX_LAG..MAX_LAG frames; at lag k `read` comes k frames late."""
    late = [correlate(read[lag:], truth[: len(truth) - lag]) for lag in range(MAX_LAG + 1)]
    early = [correlate(read[: len(read) - lag], truth[lag:]) for lag in range(1, MAX_LAG + 1)]
    return np.array([*reversed(early), *late])


def estimate_lag(curves: NDArray[np.float64], people: Sequence[str]) -> Estimate | None:
    """The lag at which the mean over clips of `(clips, lags)` correlations is highest."""
    kept = np.flatnonzero(_defined(curves))
    if not len(kept):
        return None
    defined = curves[kept]
    return estimate_jumping(
        lambda rows: float(np.argmax(defined[rows].mean(axis=0)) - MAX_LAG),
        np.asarray(people)[kept].tolist(),
        (-MAX_LAG, MAX_LAG),
    )


def average_curve(curves: NDArray[np.float64]) -> list[float]:
    """Mean over the clips that can tell, of `(clips, lags)`; empty if there is none."""
    defined = curves[_defined(curves)]
    return [float(value) for value in defined.mean(axis=0)] if len(defined) else []


def _defined(curves: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(curves).any(axis=1))


def _trace(
    measured: Sequence[Measurement], column: int, correlations: NDArray[np.float64]
) -> dict[str, dict[str, list[float]]]:
    """A coefficient over time in the best, the middle and the worst generated clip."""
    order = [index for index in np.argsort(correlations) if not np.isnan(correlations[index])]
    if not order:
        return {}
    picked = {"best": order[-1], "middle": order[len(order) // 2], "worst": order[0]}
    return {
        f"{name}: {measured[index].key}": {
            "rig": measured[index].truth[:, column].tolist(),
            **{
                condition: measured[index].readings[condition].coefficients[:, column].tolist()
                for condition in (TRUE, GENERATED)
            },
        }
        for name, index in picked.items()
    }
