"""The report as files: the table, all numbers behind it, pictures and plots."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svp_diffusers.evaluation.talking_head.evaluate import Report
from svp_diffusers.evaluation.talking_head.plots import draw_plots
from svp_diffusers.evaluation.talking_head.table import format_table
from svp_diffusers.media.mark import mark_picture
from svp_diffusers.media.output import atomic_path

TABLE, NUMBERS = "table.md", "report.json"


def format_report(report: Report, sources: dict[str, Any]) -> str:
    """The table in Markdown, under what was measured and how."""
    settings = report.settings
    sampling = ", ".join(f"{name} {value}" for name, value in report.sampling.items())
    rows = [row for result in report.results.values() for row in result.rows]
    return "\n".join(
        [
            "Measured on procedural talkers of the test split, whose people, sentences and "
            "speakers training never saw. Brackets hold 95 % intervals that take people, not "
            "clips, as independent (for costs: the fastest and the slowest run). An aim is "
            "reached, or not reached, where the whole interval lies on that side of it; else it is "
            "undecided: too few people to tell.",
            "",
            f"{', '.join(f'{name} {value}' for name, value in sources.items())}; seed "
            f"{settings.seed}; sampling: {sampling}.",
            "",
            format_table(rows),
        ]
    )


def write_report(report: Report, sources: dict[str, Any], folder: Path) -> list[Path]:
    """Write `table.md`, `report.json`, and pictures and plots as `.png`.

    Args:
        report: what was measured.
        sources: what it was measured on: names and hashes, as JSON values.
        folder: where to; files of earlier reports are replaced.

    Returns:
        The files.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    figures = draw_plots(report.results)
    numbers = {
        "sources": sources,
        "settings": asdict(report.settings),
        "sampling": report.sampling,
        "rows": [asdict(row) for result in report.results.values() for row in result.rows],
        "details": {part: result.details for part, result in report.results.items()},
    }
    written = []
    for name, text in (
        (TABLE, format_report(report, sources)),
        (NUMBERS, json.dumps(_replace_infinite(numbers), indent=1, allow_nan=False)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        written.append(folder / name)
    for name, picture in report.pictures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            picture.save(temporary, pnginfo=mark_picture())
        written.append(folder / f"{name}.png")
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110)
        written.append(folder / f"{name}.png")
    return written


def _replace_infinite(value: Any) -> Any:
    """JSON has neither NaN nor infinity: NaN becomes null, infinity its name."""
    if isinstance(value, dict):
        return {key: _replace_infinite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_infinite(each) for each in value]
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value
