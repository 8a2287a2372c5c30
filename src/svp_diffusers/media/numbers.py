"""Numbers that a user hands in: each has a range, and is checked where it enters."""

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.numbers_svp import MOST_SEED, check_number

MOST_SIDE = 2048  # pixels of a picture that is made
MOST_SECONDS = 3600  # of a clip that is made
MOST_CLIPS = 10**9
MOST_WORKERS = 1024

RANGES: dict[str, tuple[float, float]] = {
    "clips": (1, MOST_CLIPS),
    "seed": (0, MOST_SEED),
    "size": (8, MOST_SIDE),
    "workers": (1, MOST_WORKERS),
}
"""Of whole numbers that several commands take."""


def check_options(**options: float) -> None:
    """Raise `ConfigurationError` unless each of the options named lies in its range of `RANGES`."""
    for name, value in options.items():
        check_option(name, value, *RANGES[name], whole=True)


def check_option(name: str, value: float, least: float, most: float, whole: bool = False) -> None:
    """As `check_number`, of an option; raises `ConfigurationError`."""
    try:
        check_number(name, value, least, most, whole)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
