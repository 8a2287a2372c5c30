"""Running stages of work, each once what it needs is done."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from svp_diffusers.errors import CheckpointError


@dataclass(frozen=True)
class Stage:
    """A part of the work whose result is a file or folder.

    name: of the stage.
    result: it is done when this exists.
    run: does it.
    needs: names of the stages whose results it takes.
    """

    name: str
    result: Path
    run: Callable[[], None]
    needs: tuple[str, ...] = ()


def run_stages(stages: Sequence[Stage], side_by_side: bool, report: Callable[[str], None]) -> None:
    """Run what is not done yet, each stage once its needs are.

    Args:
        stages: in an order that respects their needs.
        side_by_side: run all at once that can be; else one after another.
        report: called with the name of each stage as it begins.

    Raises:
        CheckpointError: a stage leaves no result.
        SVPError: a stage fails. Those that run beside it go on to their end.
    """
    done = {stage.name for stage in stages if stage.result.exists()}
    waiting = [stage for stage in stages if stage.name not in done]
    running: dict[Future[None], Stage] = {}
    with ThreadPoolExecutor(len(stages) if side_by_side else 1) as executor:
        while waiting or running:
            for stage in [each for each in waiting if done.issuperset(each.needs)]:
                if side_by_side or not running:
                    report(stage.name)
                    waiting.remove(stage)
                    running[executor.submit(stage.run)] = stage
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                future.result()
                if not stage.result.exists():
                    raise CheckpointError(f"the stage {stage.name} left no {stage.result}")
                done.add(stage.name)
