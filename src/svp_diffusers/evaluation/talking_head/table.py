"""The one table that all figures go into."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from svp_diffusers.measures.intervals import Estimate

COLUMNS = ("generated", "control", "reconstructed", "true")
HEADINGS = ("generated", "control", "VAE reconstruction", "true frames")


@dataclass(frozen=True)
class Aim:
    """The range in which the figure of the generated videos is wanted, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def judge(self, figure: Estimate) -> str:
        """Say of which side of the aim the whole interval is; "undecided" if it is on both."""
        if self.low <= figure.low and figure.high <= self.high:
            return "reached"
        if figure.high < self.low or self.high < figure.low:
            return "not reached"
        return "undecided"

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        if math.isinf(self.low):
            return f"≤ {self.high:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Row:
    """One measure.

    Args:
        part: of the evaluation, e.g. "lip_sync".
        measure: what is measured, with its unit.
        generated: of the generated videos.
        control: of videos that were made wrong on purpose, or of chance: what the measure says of
            failure.
        reconstructed: of the true frames after the VAE: what any video of this VAE can reach.
        true: of the true frames, read like the others: what the measure itself can reach.
        aim: of the generated videos.
        control_aim: of the control.
    """

    part: str
    measure: str
    generated: Estimate | None = None
    control: Estimate | None = None
    reconstructed: Estimate | None = None
    true: Estimate | None = None
    aim: Aim | None = None
    control_aim: Aim | None = None


@dataclass(frozen=True)
class PartResult:
    """Rows of the table, and the numbers behind them (JSON values), which the plots show."""

    rows: list[Row]
    details: dict[str, Any] = field(default_factory=dict)


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        f"| measure | {' | '.join(HEADINGS)} | aim | people | clips |",
        "|---" * (len(HEADINGS) + 4) + "|",
    ]
    for row in rows:
        figures = [getattr(row, column) for column in COLUMNS]
        first = next((figure for figure in figures if figure is not None), None)
        numbers = ("-", "-") if first is None else (str(first.people), str(first.clips))
        cells = [row.measure, *map(_format_figure, figures), _format_aims(row), *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_figure(figure: Estimate | None) -> str:
    if figure is None:
        return ""
    if figure.low == figure.high == figure.value:
        return f"{figure.value:.4g}"
    value, low, high = map(_format_number, (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def _format_number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _format_aims(row: Row) -> str:
    aims = []
    for figure, aim, name in (
        (row.generated, row.aim, ""),
        (row.control, row.control_aim, "control "),
    ):
        if aim is not None:
            verdict = "not measured" if figure is None else aim.judge(figure)
            aims.append(f"{name}{aim}: {verdict}")
    return "; ".join(aims)
