"""What the steps of the preparation agree on: settings, and the reasons to refuse a video."""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from svp_diffusers.errors import ConfigurationError, SVPError
from svp_diffusers.media.numbers import MOST_SECONDS, check_option, check_options


@dataclass(frozen=True)
class PreparationSettings:
    """How videos become clips; all defaults are our choice.

    Args:
        size: height and width of the stored frames, a multiple of 8.
        fps: frame rate of the clips.
        minimum_seconds: a shot shorter than this is refused.
        maximum_seconds: a longer shot is cut into equal parts no longer than this.
        minimum_fps: videos below this do not show how lips move.
        minimum_speech: least part of a clip in which somebody speaks.
        quality: JPEG quality.
        estimate_expressions: see the expressions of clips whose source has no file of them; else
            those have none.

    Raises:
        ConfigurationError: values that exclude each other.
    """

    size: int = 512
    fps: Fraction = Fraction(25)
    minimum_seconds: float = 2.0
    maximum_seconds: float = 10.0
    minimum_fps: float = 15.0
    minimum_speech: float = 0.3
    quality: int = 95
    estimate_expressions: bool = True

    def __post_init__(self) -> None:
        check_options(size=self.size)
        for name in ("minimum_seconds", "maximum_seconds"):
            check_option(name, getattr(self, name), 0, MOST_SECONDS)
        if self.size % 8:
            raise ConfigurationError(f"size {self.size} is not a multiple of 8")
        if not 0 < 2 * self.minimum_seconds <= self.maximum_seconds:
            raise ConfigurationError(
                f"maximum_seconds {self.maximum_seconds} must be at least twice minimum_seconds "
                f"{self.minimum_seconds}, so that no part of a shot is too short"
            )


class Reason(Enum):
    """Why a video or a part of it is not in the dataset."""

    EMPTY_FILE = "empty file"
    NOT_MEDIA = "not a media file"
    TRUNCATED = "truncated file"
    DAMAGED = "damaged file"
    NO_VIDEO = "no video"
    NO_SOUND = "no sound"
    LOW_FRAME_RATE = "frame rate too low"
    TOO_SHORT = "too short"
    SHORT_SHOT = "shot too short"
    SILENT = "silent"
    LITTLE_SPEECH = "little speech"
    NO_FACE = "no face"
    SEVERAL_FACES = "several faces"
    SMALL_FACE = "face too small"
    FACE_FILE = "unusable face file"
    EXPRESSION_FILE = "unusable expression file"
    NO_EXPRESSION = "no expression found"
    NO_CONSENT = "consent refused"
    DUPLICATE = "duplicate"


class RejectionError(SVPError):
    """A video, or a part of it, that is unsuitable for training.

    Args:
        reason: the kind, for counting.
        detail: what was found, for the person who reads the report.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["RejectionError"], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)
