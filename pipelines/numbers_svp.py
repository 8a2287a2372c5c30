"""Numbers that a call takes, and the ranges that they must lie in.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from fractions import Fraction
from numbers import Integral, Real

MOST_STEPS = 1000  # timesteps of a diffusion's training
MOST_SCALE = 100  # of guidance, attention, motion and temperature: far beyond what is of use
MOST_SEED = 2**63 - 1  # that PyTorch's generators take
MOST_FPS = 240


def check_number(name: str, value: object, least: float, most: float, whole: bool = False) -> None:
    """Check an argument that is a number.

    Args:
        name: of the argument.
        value: of it.
        least: that it may be.
        most: that it may be.
        whole: whether it must be an integer.

    Raises:
        ValueError: if it is none, not in the range, or NaN.
    """
    kinds = Integral if whole else (Real, Fraction)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"`{name}` must be {kind} from {least:g} to {most:g}, got {value!r}.")
