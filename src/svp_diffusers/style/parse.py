"""What a user writes after `--style`: a name, a file, or a schedule of those."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from svp_diffusers.errors import StyleError
from svp_diffusers.models.style_encoder_svp import describe_unknown
from svp_diffusers.pipelines.style_schedule_svp import StyleSchedule
from svp_diffusers.style.clip import AUDIO_SUFFIXES, COEFFICIENT_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
CLIP_SUFFIXES = COEFFICIENT_SUFFIXES + AUDIO_SUFFIXES + VIDEO_SUFFIXES
_SCHEDULE_ENTRY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*:\s*(\S.*?)\s*")


@dataclass(frozen=True)
class StyleEntry:
    """One style of a schedule; a style that does not change is a schedule of one entry.

    Attributes:
        start: seconds at which it begins to fade in.
        text: a name of the bank, "prior" or "from_audio", or the path of a file.
        file: the style file, or the clip (coefficients, audio or video) whose style it is; None
            for a name.
    """

    start: float
    text: str
    file: Path | None

    @property
    def is_style_file(self) -> bool:
        """Whether the style is read from a file, and not taken from a clip."""
        return self.file is not None and self.file.suffix == ".safetensors"


def parse_style(text: str | None, names: Collection[str]) -> list[StyleEntry]:
    """Understand a `--style` argument; no file is opened.

    Args:
        text: a name of the bank ("happy"), "prior", "from_audio", a `.style.safetensors` file, a
            clip, or a schedule of those: "0:neutral,2.5:happy". None is the prior.
        names: of the style bank. They go before files.

    Raises:
        StyleError: an unknown name, or a malformed schedule.
    """
    if text is None:
        return []
    parts = [_SCHEDULE_ENTRY.fullmatch(part) for part in text.split(",")]
    written = [(0.0, text)]
    if any(parts):
        for shown, part in zip(text.split(","), parts, strict=True):
            if part is None:
                raise StyleError(
                    f"{shown!r} in the style schedule is not SECONDS:STYLE, as 2.5:happy"
                )
        written = [(float(part[1]), part[2]) for part in parts if part is not None]
    entries = []
    for start, name in written:
        if name in (*names, "prior", "from_audio"):
            entries.append(StyleEntry(start, name, None))
        elif name.lower().endswith((*CLIP_SUFFIXES, ".safetensors")):
            entries.append(StyleEntry(start, name, Path(name)))
        else:
            raise StyleError(describe_unknown(name, [*names, "prior"]))
    try:
        StyleSchedule(written)
    except ValueError as error:
        raise StyleError(str(error)) from error
    return entries


def format_styles(entries: Sequence[StyleEntry]) -> str | None:
    """The argument that `parse_style` read, of files only their names."""
    names = [entry.text if entry.file is None else entry.file.name for entry in entries]
    if len(names) > 1:
        names = [f"{entry.start:g}:{name}" for entry, name in zip(entries, names, strict=True)]
    return ",".join(names) or None
