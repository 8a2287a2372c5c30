"""A whole batch: its lines shared by workers, resumable after any interruption."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from svp_diffusers.errors import OutputError
from svp_diffusers.generation.batch.lines import Line, read_lines
from svp_diffusers.generation.batch.report import FAILED, Outcome, write_report
from svp_diffusers.generation.batch.worker import WORK_NAME, Job, move_files
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold
from svp_diffusers.media.output import check_output

REPORT_SECONDS = 10.0
"""Between two reports of a batch that is at work (our choice)."""

Execute = Callable[[Sequence[Job]], Iterator[Outcome]]
"""Makes all jobs, and yields what became of each as soon as it is known."""


def make_batch(
    manifest: Path,
    folder: Path,
    execute: Execute,
    on_outcome: Callable[[Sequence[Outcome], int], None] = lambda outcomes, total: None,
) -> list[Outcome]:
    """Make the videos of a manifest, and `report.csv`, which has a row for each line.

    While the batch is at work, the report has the lines that are done, `REPORT_SECONDS` old at most
    whenever one is: a batch that is killed leaves it.

    A video is written in a hidden folder and moved to its place when it is complete. Called again
    after an interruption, videos that are there with a manifest of the same request, the same
    inputs and the same checkpoint are kept.

    Args:
        manifest: see `read_lines`.
        folder: of the videos.
        execute: makes them: `in_processes(...)` or `on_ray(...)`.
        on_outcome: called with the outcomes so far and the number of lines, at first and after
            each line.

    Returns:
        What became of each line, in order.

    Raises:
        MediaError, ConfigurationError: the manifest cannot be read.
        OutputError: the folder cannot be written, or another batch is writing there.
    """
    folder = folder.absolute()
    check_output(folder / "report.csv")
    lines = read_lines(manifest, folder)
    with hold(folder, "batch", patience=WORK_PATIENCE_SECONDS):
        folder.mkdir(exist_ok=True)
        finish_moves(folder)
        outcomes = [_refuse(line) for line in lines if line.request is None]
        jobs = [Job(line.number, line.request, folder) for line in lines if line.request]
        jobs.sort(
            key=lambda job: (job.request.model or "", job.request.dtype or "")
        )  # a model once
        on_outcome(outcomes, len(lines))
        reported = time.monotonic()
        for outcome in execute(jobs):
            outcomes.append(outcome)
            if time.monotonic() - reported >= REPORT_SECONDS:
                with suppress(OutputError):  # the last one says what is wrong
                    write_report(outcomes, folder)
                reported = time.monotonic()
            on_outcome(outcomes, len(lines))
        write_report(outcomes, folder)
        shutil.rmtree(folder / WORK_NAME, ignore_errors=True)
    return sorted(outcomes, key=lambda each: each.line)


def finish_moves(folder: Path) -> None:
    """Do what a batch that was killed left undone: move complete videos, delete incomplete ones."""
    for path in (folder / WORK_NAME).glob("*"):
        if path.is_file():
            path.unlink()  # the lock of a worker that was killed
            continue
        if not path.name.startswith("."):
            with suppress(OSError):  # something lies in their way: their line will say what
                move_files(path, folder)
        shutil.rmtree(path, ignore_errors=True)


def _refuse(line: Line) -> Outcome:
    return Outcome(line.number, "", FAILED, 0.0, "ConfigurationError", line.problem)
