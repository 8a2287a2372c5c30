"""One process at a time writes an output; another waits a little, or says so."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from svp_diffusers.errors import OutputError

PATIENCE_SECONDS = 10.0
"""Longer than a file is renamed, a style added; shorter than a video is made."""

WORK_PATIENCE_SECONDS = 2.0
"""For what others hold for minutes: a killed process is seen to end before its locks are free."""


@contextmanager
def hold(path: Path, use: str = "file", patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold an output for this process alone.

    A hidden file beside it is locked meanwhile, and removed at the end; the lock of a process that
    is killed is lost with it.

    Args:
        path: of the output, a file or folder. Missing folders above it are created.
        use: what it is held for; uses of other names do not exclude each other.
        patience: seconds to wait for another process.

    Raises:
        OutputError: another process holds it.
    """
    file = path.parent / f".lock-{short_name(path)}-{use}"
    lock = FileLock(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience)
    except (Timeout, RuntimeError) as error:  # the latter where this very thread holds it
        raise OutputError(
            f"{path} is being written by another process: wait for it, or name another output"
        ) from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is locked: who waits for it makes a new one
        lock.release()


def short_name(path: Path) -> str:
    """The same for the same name, and never too long for a file's name."""
    return hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()[:12]
