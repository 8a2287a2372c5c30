"""`svp batch`: many videos from one manifest."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svp_diffusers.cli.printing import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from svp_diffusers.generation.batch.report import Outcome


def batch(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines: an object a video, with the arguments and options of `svp generate` "
            'as keys: {"image": "a.png", "audio": "a.wav", "output": "a.mp4", "style": "happy"}.'
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the videos.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads the model once.")] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, or one for each process in turn: cuda:0,cuda:1. Default: the best."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on this Ray cluster instead: its address, 'auto' or 'local'."),
    ] = None,
) -> None:
    """Make many videos; report.csv says what became of every line.

    Interrupted, it continues where it stopped when the same command is given again: what is there
    with the same request, inputs and checkpoint is kept. A line that fails does not end the others;
    the exit status is then 1.
    """
    from svp_diffusers.cli.progress import show_status
    from svp_diffusers.errors import ConfigurationError
    from svp_diffusers.generation.batch.report import FAILED, REPORT_NAME, describe_progress
    from svp_diffusers.generation.batch.run import make_batch
    from svp_diffusers.generation.batch.workers import in_processes, on_ray

    if ray is None:
        devices = [None] if device is None else device.split(",")
        execute = in_processes(workers, devices)
    elif device is None:
        execute = on_ray(ray, workers)
    else:
        raise ConfigurationError("Ray chooses the devices: leave out --device or --ray.")
    start = time.monotonic()
    with show_status() as show:

        def report(outcomes: "Sequence[Outcome]", total: int) -> None:
            show(describe_progress(outcomes, total, time.monotonic() - start))

        outcomes = make_batch(manifest, output, execute, report)
    say(f"{output / REPORT_NAME} says what became of every line")
    if any(outcome.result == FAILED for outcome in outcomes):
        raise typer.Exit(1)
