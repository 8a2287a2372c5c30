"""Styles out of what a user names: the bank, style files, and clips whose style is encoded."""

from collections.abc import Sequence

from svp_diffusers.checkpoints.loading import find_audio_encoder, load_style_encoder
from svp_diffusers.errors import StyleError
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.track import average_expression
from svp_diffusers.generation.request import StyleRequest
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.input import check_input
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_schedule_svp import SingleStyle, Style
from svp_diffusers.speech.features import choose_audio_features, load_audio_features
from svp_diffusers.style.clip import read_clip
from svp_diffusers.style.encode import encode_style
from svp_diffusers.style.parse import StyleEntry
from svp_diffusers.style.storage import (
    STYLE_SUFFIX,
    check_style_output,
    find_style,
    save_style,
)


def encode_clip_to_file(request: StyleRequest) -> StyleDistribution:
    """Take the style of a clip and write it to a file: the job of `svp style encode`.

    Raises:
        SVPError: of the kind that fits; nothing is left behind.
    """
    check_style_output(request.output)
    fps = None if request.fps is None else parse_fps(request.fps)
    encoder = load_style_encoder(request.model)
    config = encoder.config
    expressions, recording = read_clip(
        request.clip,
        config.expression_space,
        audio=request.audio,
        fps=fps,
        voice_only=request.voice_only,
    )
    features = None
    if recording is not None:
        source = request.audio_encoder
        if source is None and config.audio_features == "wav2vec2":
            source = find_audio_encoder(request.model)
        features = load_audio_features(config.audio_features, source)
    average = None
    if request.speaker_clip:
        average = average_expression([read_expressions(clip, fps) for clip in request.speaker_clip])
    name = request.name or request.output.name.removesuffix(STYLE_SUFFIX)
    style = encode_style(encoder, expressions, recording, features, average, name)
    save_style(style, request.output)
    return style


def check_styles(entries: Sequence[StyleEntry], encoder: StyleEncoder, duration: float) -> None:
    """Check the styles of a video of `duration` seconds, with an encoder that needs no weights.

    Raises:
        StyleError: if one is of another style encoder, cannot be heard, or begins after the end.
        MediaError: if a file is missing.
    """
    for entry in entries:
        if entry.is_style_file:
            find_style(entry.text, encoder)
        elif entry.file is not None:
            check_input(entry.file)
        elif entry.text == "from_audio" and encoder.config.audio_features != "wav2vec2":
            raise StyleError(
                "the style encoder of this checkpoint does not take the features of its pipeline "
                f"({encoder.config.audio_features}): give the recording itself as --style, not "
                "from_audio"
            )
    if entries and entries[-1].start >= duration:
        raise StyleError(
            f"The style schedule starts a style at {entries[-1].start:g} s, but the speech ends at "
            f"{duration:.2f} s."
        )


def load_styles(entries: Sequence[StyleEntry], pipeline: SVPTalkingHeadPipeline) -> Style:
    """Bring the styles of `parse_style` to what the pipeline takes.

    Args:
        entries: one, several for a schedule, or none for the prior.
        pipeline: its style encoder and audio encoder encode clips.

    Raises:
        StyleError: the style of another encoder.
        MediaError, ExpressionError: a clip that cannot be encoded.
    """
    styles = [(each.start, _load_style(each, pipeline)) for each in entries]
    if len(styles) > 1:
        return styles
    return styles[0][1] if styles else None


def _load_style(entry: StyleEntry, pipeline: SVPTalkingHeadPipeline) -> SingleStyle:
    encoder = pipeline.style_encoder
    if entry.file is None:
        is_known = entry.text == "from_audio" or entry.text in encoder.style_bank
        return entry.text if is_known else None
    if entry.is_style_file:
        return find_style(entry.text, encoder)
    config = encoder.config
    expressions, recording = read_clip(entry.file, config.expression_space)
    features = choose_audio_features(
        config.audio_features, pipeline.audio_encoder, pipeline.feature_extractor
    )
    return encode_style(encoder, expressions, recording, features)
