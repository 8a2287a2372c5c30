"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def open_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of freshly started processes, which end when their parent is killed."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end when the process that started it is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
