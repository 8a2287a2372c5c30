"""From a clip's expressions and/or voice to its style."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.errors import ConfigurationError, ExpressionError, MediaError
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.audio import Recording, RecordingFile, check_speech
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.sound_svp import StoredSound
from svp_diffusers.speech.features import AudioFeatures


@torch.no_grad()
def encode_style(
    encoder: StyleEncoder,
    expressions: Expressions | None = None,
    recording: Recording | RecordingFile | None = None,
    audio_features: AudioFeatures | None = None,
    speaker_average: NDArray[np.float32] | None = None,
    name: str | None = None,
) -> StyleDistribution:
    """Encode one clip: expressions, voice or both.

    Args:
        expressions: coefficients at 25 frames per second, of the encoder's space.
        recording: the clip's sound; `audio_features` turns it into the encoder's input.
        speaker_average: mean expression of the speaker, for an encoder with speaker centring.
        name: what the style is to be called.

    Returns:
        A single `StyleDistribution` `(style_dim,)`, its source being the clip.

    Raises:
        ExpressionError: coefficients of another space, or too few frames.
        MediaError: sound without speech, or too short.
        ConfigurationError: neither modality is given, or a speaker average is missing or unused.
    """
    config = encoder.config
    values: dict[str, torch.Tensor] = {}
    if expressions is not None:
        check_expressions(encoder, expressions)
        centred = expressions.center(config.expression_centring, speaker_average)
        values["expression"] = torch.from_numpy(centred.values)
    if recording is not None:
        if audio_features is None:
            raise ConfigurationError("give the audio features to encode a recording with")
        if isinstance(recording, Recording):  # a file was checked when it was opened
            check_speech(recording)
        if recording.duration * 25 < config.min_frames:
            raise MediaError(
                f"{recording.source} lasts {recording.duration:.2f} s; a style needs at least "
                f"{config.min_frames / 25:.2f} s of speech"
            )
        sound = StoredSound(recording.read, recording.sampling_rate)
        values["audio"] = torch.from_numpy(audio_features(sound))
        if values["audio"].shape[1] != config.audio_dim:
            raise ConfigurationError(
                f"the audio features have {values['audio'].shape[1]} dimensions, this style "
                f"encoder takes {config.audio_dim} of {config.audio_features}"
            )
    if not values:
        raise ConfigurationError("a style needs expressions, a recording or both")
    batch = {key: value[None].to(encoder.device, encoder.dtype) for key, value in values.items()}
    sources = [Path(part.source).name for part in (expressions, recording) if part is not None]
    source = " + ".join(dict.fromkeys(sources))  # a video brings both
    return replace(encoder(**batch)[0].to("cpu", torch.float32), name=name, source=source)


def check_expressions(encoder: StyleEncoder, expressions: Expressions) -> None:
    """Raise `ExpressionError` unless the encoder can take these coefficients."""
    config = encoder.config
    if expressions.space != config.expression_space:
        raise ExpressionError(
            f"{expressions.source} holds {expressions.space} coefficients, this style encoder "
            f"takes {config.expression_space}; use an encoder of that space"
        )
    if len(expressions.values) < config.min_frames:
        raise ExpressionError(
            f"{expressions.source} has {len(expressions.values)} frames at 25 frames per second; "
            f"a style needs at least {config.min_frames}"
        )
