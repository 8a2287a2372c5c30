"""Files are written beside their final name and renamed when complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from svp_diffusers.errors import OutputError
from svp_diffusers.media.locking import hold, short_name


def check_output(path: str | Path, *endings: str) -> Path:
    """The path, when a file can be written there; nothing is created.

    Raises `OutputError` when its name has none of the endings, if there are any, when it is a
    folder or a special file, when a part of the path is a file, when the folder (or the nearest
    existing one above it) may not be written, or when the name is not UTF-8, which containers need.
    """
    path = Path(path)
    if endings and path.suffix.lower() not in endings:
        raise OutputError(f"{path} must end in {' or '.join(endings)}: that is what is written")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OutputError(f"{str(path)!r} is not UTF-8; name another output") from error
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file inside it")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file; name another output")
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
    except OSError as error:  # the name is too long
        raise OutputError(f"{str(path)[:200]} cannot be written: {error.strerror}") from error
    if not folder.is_dir():
        raise OutputError(f"{path} cannot be written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission to write in {folder}")
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; it becomes `path` when the block ends well.

    The temporary file has the same suffix and a hidden name starting with `.partial-`. Whatever
    ends the block otherwise removes it, and leaves an older file at `path` as it was; a killed
    process leaves only the hidden file, which the next that writes `path` replaces. An `OSError`
    inside the block (a full disk), or another process that goes on writing `path`, is raised as
    `OutputError`. Missing folders are created.
    """
    path = check_output(path)
    temporary = path.parent / f".partial-{short_name(path)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(path):
            temporary.unlink(missing_ok=True)
            try:
                yield temporary
                _flush(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error


def remove_partial(folder: Path) -> None:
    """Remove the temporary files of killed processes in a folder that this process holds."""
    for path in folder.glob(".partial-*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic_path`, for a folder: yield an empty one, which takes the place of `path`.

    The older folder is renamed, the new one is renamed to `path`, and only then is the older one
    deleted; where the new one cannot be put there, the older one goes back. No platform renames a
    folder over a full one, so a process that is killed between the two renames leaves the older
    folder under its hidden name, from where `restore_folder` takes it back; this does so first.

    An `OSError` or `SafetensorError` (as where no space is left) inside the block is raised as
    `OutputError`. Missing parents are created.
    """
    replaced = _replaced_name(path)
    temporary = path.parent / f".partial-{short_name(path)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(path):
            restore_folder(path)
            if temporary.exists():  # of a process that was killed
                shutil.rmtree(temporary)
            try:
                complete = temporary / path.name
                complete.mkdir(parents=True)
                yield complete
                for file in complete.rglob("*"):
                    if file.is_file():
                        _flush(file)
                try:
                    if path.is_dir():
                        path.rename(replaced)
                    complete.rename(path)
                finally:
                    restore_folder(path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {reason}") from error


def restore_folder(path: Path) -> None:
    """Finish what an `atomic_folder` of `path` that was killed left undone, if anything.

    Its older folder takes its name again where there is no newer one, and is deleted where there
    is one. Raises `OSError` when that cannot be done.
    """
    replaced = _replaced_name(path)
    if not replaced.is_dir():
        return
    if path.exists():
        shutil.rmtree(replaced)
    else:
        replaced.rename(path)


def _replaced_name(folder: Path) -> Path:
    return folder.parent / f".replaced-{folder.name}"


def _flush(file: Path) -> None:
    """Have the content on the disk before a name says that it is complete."""
    with file.open("rb") as content:
        os.fsync(content.fileno())
