"""The files a user hands in: what can be said before any is opened by a decoder."""

from pathlib import Path

from svp_diffusers.errors import MediaError


def check_input(path: str | Path) -> Path:
    """The path of a regular file that is not empty.

    Raises `MediaError` for a file that is missing, is a folder or another special file, is empty,
    or may not be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; name a file inside it")
        if not path.exists():
            raise MediaError(f"{path} does not exist; check the name and the folder")
        if not path.is_file():
            raise MediaError(f"{path} is not a regular file; copy its content into one")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes); make or download it again")
        with path.open("rb"):
            pass
    except OSError as error:
        raise MediaError(f"{str(path)[:200]} cannot be read: {error.strerror}") from error
    return path
