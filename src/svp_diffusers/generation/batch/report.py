"""What became of every line of a batch: `report.csv`, and a sentence while it is at work."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from svp_diffusers.media.tables import write_table

REPORT_NAME = "report.csv"
MADE, KEPT, FAILED = "made", "kept", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of a line: a row of the report.

    Attributes:
        line: its number in the manifest.
        output: the video, relative to the batch's folder.
        result: `MADE` now, `KEPT` since it was there, or `FAILED`.
        seconds: that making it took.
        error: the kind of error, as "FaceError".
        message: what was wrong and what to do.
        notes: warnings.
    """

    line: int
    output: str
    result: str
    seconds: float = 0.0
    error: str = ""
    message: str = ""
    notes: str = ""


def write_report(outcomes: Iterable[Outcome], folder: Path) -> Path:
    """Write a row for each line, in their order.

    Raises:
        OutputError: it cannot be written.
    """
    report = folder / REPORT_NAME
    rows = [astuple(each) for each in sorted(outcomes, key=lambda each: each.line)]
    write_table(report, [field.name for field in fields(Outcome)], rows)
    return report


def describe_progress(outcomes: Iterable[Outcome], total: int, seconds: float) -> str:
    """Say how far a batch is, at what rate it goes, and how long it will take.

    Args:
        outcomes: so far.
        total: lines.
        seconds: since the beginning.
    """
    results = Counter(each.result for each in outcomes)
    done, made = results.total(), results[MADE]
    said = f"{done} of {total} lines: {made} made, {results[KEPT]} kept, {results[FAILED]} failed"
    if made and seconds > 0:
        said += f"; {60 * made / seconds:.1f} videos a minute"
        if done < total:
            left = round((total - done) * seconds / made)
            said += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    elif done < total:
        said += "; comparing what is there" if results[KEPT] else "; starting"
    return said
