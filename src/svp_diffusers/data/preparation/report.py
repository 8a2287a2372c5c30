"""What became of every input: `report.csv` for programs, `report.html` for people."""

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from svp_diffusers.data.preparation.recording import PartOutcome, VideoOutcome
from svp_diffusers.media.output import atomic_path
from svp_diffusers.media.tables import write_table

# Of a file's name that is not in UTF-8, as `caf\\xe9.mp4`.
_OTHER_BYTES = "backslashreplace"
COLUMNS = ("file", "start", "stop", "result", "key", "reason", "detail", "notes", "sha256")

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Preparation report</title>
<style>
body {{ font: 14px sans-serif; margin: 2em; color: #222 }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #ddd; padding: 4px 10px; text-align: left;
  vertical-align: top }}
.kept {{ color: #176f2c }} .rejected {{ color: #a11 }}
</style>
<h1>Preparation report</h1>
<p>{summary}</p>
<table><tr><th></th><th>File</th><th>Seconds</th><th>Result</th><th>Why</th><th>Notes</th></tr>
{rows}
</table></html>
"""
_ROW = (
    "<tr><td>{picture}</td><td>{file}</td><td>{seconds}</td>"
    '<td class="{result}">{result}</td><td>{why}</td><td>{notes}</td></tr>'
)


def summarize_outcomes(outcomes: Sequence[VideoOutcome]) -> str:
    """One sentence: videos, clips kept, hours, and how often each reason refused something."""
    parts = [part for outcome in outcomes for part in outcome.parts]
    kept = [part for part in parts if part.key]
    hours = sum((part.stop or 0) - (part.start or 0) for part in kept) / 3600
    reasons = Counter(part.reason for part in parts if not part.key)
    refused = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
    return (
        f"{len(outcomes)} files: {len(kept)} clips kept ({hours:.3f} hours); "
        f"refused: {refused or 'nothing'}"
    )


def write_report(outcomes: Sequence[VideoOutcome], directory: Path) -> None:
    """Write `report.csv` and `report.html`: a line for each clip and each refusal, none left out.

    Raises:
        OutputError: they cannot be written.
    """
    rows = [
        [
            outcome.path,
            "" if part.start is None else part.start,
            "" if part.stop is None else part.stop,
            "kept" if part.key else "rejected",
            part.key or "",
            part.reason,
            part.detail,
            "; ".join(outcome.notes),
            outcome.sha256,
        ]
        for outcome in outcomes
        for part in _sort_parts(outcome)
    ]
    write_table(directory / "report.csv", COLUMNS, rows)
    with atomic_path(directory / "report.html") as path:
        path.write_text(_draw_page(outcomes), encoding="utf-8", errors=_OTHER_BYTES)


def _draw_page(outcomes: Sequence[VideoOutcome]) -> str:
    rows = []
    for outcome in outcomes:
        for part in _sort_parts(outcome):
            picture = f'<img src="data:image/jpeg;base64,{part.thumbnail}" alt="">'
            why = ": ".join(text for text in (part.reason, part.detail) if text)
            rows.append(
                _ROW.format(
                    picture=picture if part.thumbnail else "",
                    file=html.escape(outcome.path),
                    seconds="all" if part.start is None else f"{part.start:.2f} - {part.stop:.2f}",
                    result="kept" if part.key else "rejected",
                    why=html.escape(why),
                    notes=html.escape("; ".join(outcome.notes)),
                )
            )
    summary = html.escape(summarize_outcomes(outcomes))
    return _PAGE.format(summary=summary, rows="\n".join(rows))


def _sort_parts(outcome: VideoOutcome) -> list[PartOutcome]:
    return sorted(outcome.parts, key=lambda part: part.start or 0.0)
