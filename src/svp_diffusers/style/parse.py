"""What a user writes after `--style` -> what the pipeline takes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from svp_diffusers.errors import StyleError
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.style_schedule_svp import StyleSchedule
from svp_diffusers.style.clip import AUDIO_SUFFIXES, COEFFICIENT_SUFFIXES
from svp_diffusers.style.storage import check_style, find_style

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
ParsedStyle = StyleDistribution | list[tuple[float, StyleDistribution]] | Literal["from_audio"]
_SCHEDULE_ENTRY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*:\s*(\S.*?)\s*")


def parse_style(
    text: str, encoder: StyleEncoder, encode: Callable[[Path], StyleDistribution]
) -> ParsedStyle:
    """Understand a `--style` argument.

    Args:
        text: a name of the bank ("happy"), "prior", "from_audio", a `.style.safetensors` file, a
            clip (coefficients, audio or video), or a schedule of those: "0:neutral,2.5:happy".
        encoder: the style encoder of the checkpoint that will generate.
        encode: how to encode a clip, usually `functools.partial(encode_clip, encoder, ...)`.

    Returns:
        One style; or a schedule as (seconds, style) pairs; or "from_audio" as it stands.

    Raises:
        StyleError: an unknown name, a malformed schedule, or the style of another encoder.
        MediaError, ExpressionError: a file that is missing or cannot be encoded.
    """
    if text == "from_audio":
        return "from_audio"
    entries = [_SCHEDULE_ENTRY.fullmatch(part) for part in text.split(",")]
    if not any(entries):
        return _parse_single(text, encoder, encode)
    keys = []
    for part, entry in zip(text.split(","), entries, strict=True):
        if entry is None:
            raise StyleError(f"{part!r} in the style schedule is not SECONDS:STYLE, as 2.5:happy")
        keys.append((float(entry[1]), _parse_single(entry[2], encoder, encode)))
    try:
        StyleSchedule(keys)
    except ValueError as error:
        raise StyleError(str(error)) from error
    return keys


def _parse_single(
    text: str, encoder: StyleEncoder, encode: Callable[[Path], StyleDistribution]
) -> StyleDistribution:
    suffixes = COEFFICIENT_SUFFIXES + AUDIO_SUFFIXES + VIDEO_SUFFIXES
    if text not in encoder.style_bank and text.lower().endswith(suffixes):
        style = encode(Path(text))
        check_style(encoder, style, text)
        return style
    return find_style(text, encoder)
