"""A written line, spoken to a file."""

from pathlib import Path

import soundfile

from svp_diffusers.media.output import atomic_path
from svp_diffusers.samples.make import LINES
from svp_diffusers.talkers.manner import SpeakingStyle
from svp_diffusers.talkers.utterance import say


def speak_line(text: str, path: Path) -> None:
    """Write a WAV of 16 kHz in which the first sample's voice says an English text.

    Raises:
        MissingDependencyError: the voices are not installed.
        OutputError: it cannot be written.
    """
    utterance = say(text, SpeakingStyle(LINES[0][0], "neutral"))
    with atomic_path(path) as temporary:
        soundfile.write(temporary, utterance.waveform, 16000)
