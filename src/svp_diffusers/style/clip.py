"""Encoding the files a user has: coefficients, a video, a voice."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from svp_diffusers.errors import ConfigurationError, ExpressionError, MediaError
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.face_landmarker import read_video_expressions
from svp_diffusers.expression.track import Expressions, average_expression
from svp_diffusers.media.audio import Recording, read_audio
from svp_diffusers.media.input import check_input
from svp_diffusers.media.video import probe
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.style.encode import encode_style

COEFFICIENT_SUFFIXES = (".mat", ".npz", ".csv")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


def encode_clip(
    encoder: StyleEncoder,
    path: str | Path,
    *,
    audio: str | Path | None = None,
    fps: Fraction | None = None,
    voice_only: bool = False,
    face_landmarker: str | Path | None = None,
    audio_encoder: str | Path | None = None,
    speaker_clips: Sequence[str | Path] = (),
    name: str | None = None,
) -> StyleDistribution:
    """The style of a coefficient file, a video or an audio file.

    Args:
        path: `.mat`, `.npz`, `.csv` coefficients, an audio file, or a video.
        audio: sound of a coefficient file.
        fps: frame rate of a coefficient file, see `read_expressions`.
        voice_only: take a video's style from its sound alone.
        face_landmarker: MediaPipe model file, to see the expressions of a video.
        audio_encoder: folder of the speech encoder, for encoders that hear wav2vec2 features.
        speaker_clips: recordings of the speaker, for encoders with speaker centring.
        name: what the style is to be called.

    Raises:
        MediaError, ExpressionError, ConfigurationError, CheckpointError: see `encode_style`,
            `read_expressions` and `load_audio_features`; all inputs are checked first.
    """
    path = check_input(path)
    suffix = path.suffix.lower()
    expressions: Expressions | None = None
    recording: Recording | None = None
    if suffix in COEFFICIENT_SUFFIXES:
        if voice_only:
            raise ConfigurationError(f"{path} holds no voice; leave --voice-only away")
        expressions = read_expressions(path, fps)
        recording = None if audio is None else read_audio(audio)
    else:
        if audio is not None or fps is not None:
            raise ConfigurationError(
                f"--audio and --fps belong to coefficient files; {path.name} has its own"
            )
        if suffix in AUDIO_SUFFIXES or voice_only:
            recording = read_audio(path)
        else:
            recording = read_audio(path) if probe(path).has_audio else None
            expressions = _read_video(encoder, path, face_landmarker)
    features = None
    if recording is not None:
        features = load_audio_features(encoder.config.audio_features, audio_encoder)
    average = None
    if speaker_clips:
        average = average_expression([read_expressions(clip, fps) for clip in speaker_clips])
    return encode_style(encoder, expressions, recording, features, average, name)


def _read_video(
    encoder: StyleEncoder, path: Path, face_landmarker: str | Path | None
) -> Expressions:
    space = encoder.config.expression_space
    if space != "arkit52":
        raise ExpressionError(
            f"a video gives arkit52 coefficients, this style encoder takes {space}: give a "
            "coefficient file of that space, or --voice-only to use the sound alone"
        )
    if face_landmarker is None:
        raise MediaError(
            f"the expressions of {path} need a face landmarker: give MediaPipe's model file "
            "(--face-landmarker FILE), or --voice-only to use the sound alone"
        )
    return read_video_expressions(path, face_landmarker)
