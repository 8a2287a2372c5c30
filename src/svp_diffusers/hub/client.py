"""The one place where errors of the Hub's client become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from svp_diffusers.errors import CheckpointError, SVPError


@contextmanager
def hub_errors(what_failed: str) -> Iterator[None]:
    """Turn what the client of the Hub raises into `CheckpointError`.

    Its errors, and those of the HTTP library under it, have no class in common.
    """
    try:
        yield
    except SVPError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{what_failed}: {error}. Check the name, your connection, and `hf auth login`."
        ) from error
