"""The errors a user of the package can meet.

Each message says what was wrong, where, and what to do. All are `ValueError`s too, so that code
written against diffusers' own checks catches them.
"""


class SVPError(ValueError):
    """Base class of every error that `svp_diffusers` raises on what a user handed in."""


class MediaError(SVPError):
    """An image, audio or video file that is missing, empty, unreadable or unsuitable."""


class FaceError(SVPError):
    """No usable face, or keypoints and boxes that do not fit the picture."""


class ExpressionError(SVPError):
    """Expression coefficients of a wrong space, shape, length or with non-finite values."""


class StyleError(SVPError):
    """A style that is unknown, malformed, or made by another style encoder."""


class ConfigurationError(SVPError):
    """An option, size, frame rate or configuration file with an impossible value."""


class CheckpointError(SVPError):
    """A checkpoint that is missing, incomplete, or whose keys do not match the model."""


class DatasetError(SVPError):
    """A dataset, shard or index that is missing, damaged or inconsistent."""


class OutputError(SVPError):
    """An output that cannot be written where the user wants it."""


class MissingDependencyError(SVPError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""
