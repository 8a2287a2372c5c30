"""Frame rates as users write them, and what they make of a duration."""

from fractions import Fraction

from svp_diffusers.errors import ConfigurationError

MAXIMUM_FPS = 120
NTSC_RATES = [Fraction(1000 * fps, 1001) for fps in (24, 30, 48, 60, 120)]


def parse_fps(value: str | float | Fraction) -> Fraction:
    """A frame rate as an exact fraction.

    Decimals within 0.005 of an NTSC rate (23.976, 29.97, 59.94, ...) mean that rate; whatever else
    is taken as it is written. Raises `ConfigurationError` unless 1 <= fps <= 120, and for more than
    six digits.
    """
    text = str(value)
    try:
        if "e" in text.lower():  # of 1e999999999, a fraction would take hours and all memory
            raise ValueError("it has an exponent")
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigurationError(
            f"frame rate {text!r}: write a number from 1 to {MAXIMUM_FPS} without an exponent, "
            "such as 25, 29.97 or 30000/1001"
        ) from error
    if not 1 <= fps <= MAXIMUM_FPS:
        raise ConfigurationError(f"frame rate {text} is not between 1 and {MAXIMUM_FPS}")
    if "/" not in text:
        for ntsc in NTSC_RATES:
            if abs(fps - ntsc) < Fraction(1, 200):
                return ntsc
    if fps.numerator >= 10**6:
        raise ConfigurationError(f"frame rate {text} is too precise; write it as a short fraction")
    return fps


def number_of_frames(duration: float, fps: Fraction) -> int:
    """Frames that show `duration` seconds: the nearest whole number, at least one."""
    return max(1, round(duration * fps))
