"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from svp_diffusers.errors import DatasetError

Argument = TypeVar("Argument")
Result = TypeVar("Result")
MakeFunction = Callable[[], Callable[[Argument], Result]]

_make_function: Callable[[], Callable[[Any], Any]]
"""Of a worker of `map_in_order`, which has no other task."""


def open_pool(
    workers: int, start: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool of freshly started processes, which end when their parent is killed.

    Args:
        workers: processes.
        start: called in each at its beginning; must pickle.
        arguments: of it.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (start, arguments))
    with _interrupts_ignored():
        for _ in range(workers):  # each call starts a process, while none of them is idle
            pool.submit(os.getpid)
    return pool


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C: their parent does, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def map_in_order(
    make_function: MakeFunction[Argument, Result], arguments: Iterable[Argument], workers: int
) -> Iterator[Result]:
    """Apply a function to arguments; results come in their order, four a worker ahead at most.

    Args:
        make_function: makes the function, once in every process; must pickle, as must arguments and
            results, if there are several.
        arguments: one for each call.
        workers: processes; 1 is this one.

    Raises:
        DatasetError: a worker was killed.
    """
    if workers == 1:
        yield from map(make_function(), arguments)
        return
    waiting: deque[Future[Result]] = deque()
    with open_pool(workers, _start_worker, make_function) as pool:
        try:
            for argument in arguments:
                waiting.append(pool.submit(_call, argument))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a worker process was killed, most likely for want of memory; use fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(make_function: Callable[[], Callable[[Any], Any]]) -> None:
    global _make_function
    _make_function = cache(make_function)  # made by the first call, whose error reaches the parent


def _call(argument: Any) -> Any:
    return _make_function()(argument)


def _begin(start: Callable[..., None] | None, arguments: Sequence[Any]) -> None:
    _end_with_parent()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    """Let a worker end when the process that started it is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
