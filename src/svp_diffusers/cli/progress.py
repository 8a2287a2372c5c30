"""Progress bars of the command line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

STATUS_SECONDS = 10


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a task on the error stream; yield what to call with (task, done, total).

    Where that is no terminal, a line is printed whenever another tenth of a task is done.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, markup=False, emoji=False)
    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:

        def on_progress(task: str, done: int, total: int) -> None:
            if task not in bars:
                bars[task] = progress.add_task(task, total=total)
            progress.update(bars[task], completed=done)
            if not console.is_terminal and 10 * done // total > 10 * (done - 1) // total:
                console.print(f"{task}: {done} of {total}")

        yield on_progress


@contextmanager
def show_status() -> Iterator[Callable[[str], None]]:
    """Show a line that changes, on the error stream; yield what to call with it.

    Where that is no terminal, a line is printed every ten seconds, and the last.
    """
    from rich.console import Console
    from rich.text import Text

    from svp_diffusers.cli.printing import escape

    console = Console(stderr=True, markup=False, emoji=False)
    said, printed = "", -math.inf
    with console.status("") as status:

        def show(text: str) -> None:
            nonlocal said, printed
            said = escape(text)
            status.update(Text(said))
            if not console.is_terminal and time.monotonic() >= printed + STATUS_SECONDS:
                console.print(said, soft_wrap=True)
                printed, said = time.monotonic(), ""

        yield show
    if said:
        console.print(said, soft_wrap=True)
