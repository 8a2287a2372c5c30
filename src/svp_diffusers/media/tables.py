"""Tables in CSV files that may be opened in a spreadsheet."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from svp_diffusers.media.output import atomic_path


def write_table(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]
) -> None:
    """Write a CSV file in UTF-8, in which no spreadsheet takes a text for a formula.

    Bytes of a file's name that are not UTF-8 are written as `caf\\xe9.mp4`.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows([_quote_formula(cell) for cell in row] for row in rows)


def _quote_formula(cell: str | int | float) -> str | int | float:
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return cell
