"""Reading the clips a user has: coefficients, a video, a voice."""

from fractions import Fraction
from pathlib import Path

from svp_diffusers.errors import ConfigurationError, ExpressionError
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.track import Expressions
from svp_diffusers.expression.video import read_video_expressions
from svp_diffusers.media.audio import RecordingFile, open_recording
from svp_diffusers.media.input import check_input
from svp_diffusers.media.video import probe

COEFFICIENT_SUFFIXES = (".mat", ".npz", ".csv")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


def read_clip(
    path: str | Path,
    space: str,
    *,
    audio: str | Path | None = None,
    fps: Fraction | None = None,
    voice_only: bool = False,
) -> tuple[Expressions | None, RecordingFile | None]:
    """What a coefficient file, a video or an audio file says: its expressions and its sound.

    Args:
        path: `.mat`, `.npz`, `.csv` coefficients, an audio file, or a video.
        space: of the expressions that are wanted of a video, see `EXPRESSION_SPACES`.
        audio: sound of a coefficient file.
        fps: frame rate of a coefficient file, see `read_expressions`.
        voice_only: take a video's sound alone.

    Raises:
        MediaError, ExpressionError, FaceError: a file that is missing, damaged or of no use.
        ConfigurationError: options that do not belong to such a file.
    """
    path = check_input(path)
    suffix = path.suffix.lower()
    if suffix in COEFFICIENT_SUFFIXES:
        if voice_only:
            raise ConfigurationError(f"{path} holds no voice; leave --voice-only away")
        return read_expressions(path, fps), None if audio is None else open_recording(audio)
    if audio is not None or fps is not None:
        raise ConfigurationError(
            f"--audio and --fps belong to coefficient files; {path.name} has its own"
        )
    if suffix in AUDIO_SUFFIXES or voice_only:
        return None, open_recording(path)
    if space != "arkit52":
        raise ExpressionError(
            f"a video gives arkit52 coefficients, this style encoder takes {space}: give a "
            "coefficient file of that space, or --voice-only to use the sound alone"
        )
    # Unusable sound is told before minutes are spent on pictures.
    recording = open_recording(path) if probe(path).has_audio else None
    return read_video_expressions(path), recording
