"""Who says what in a video: one voice, or one for each of several faces."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import MediaError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.audio import (
    Recording,
    check_speech,
    mix_recordings,
    read_audio,
    to_mono,
)

TOLERANCE_SECONDS = 0.1  # by which lossy encoders lengthen a voice


@dataclass(frozen=True)
class Voices:
    """What is heard in a video, and what each face of it says.

    heard: the sound of the video.
    faces: the number of each face that speaks, 0 being the largest; None is the largest too.
    waveforms: what each says, (samples,) at 16 kHz, all as long as the sound.
    """

    heard: Recording
    faces: tuple[int | None, ...]
    waveforms: tuple[NDArray[np.float32], ...]


def read_voices(request: GenerationRequest, fps: Fraction) -> Voices:
    """Read the voices of a request.

    With several, the sound is that of AUDIO or, without it, all of them together; who has finished
    before its end is silent.

    Raises:
        MediaError: if one cannot be read, is silent, or is longer than AUDIO.
    """
    if not request.speakers:
        assert request.audio is not None
        heard = read_audio(request.audio)
        check_speech(heard, fps)
        return Voices(heard, (request.face_index,), (to_mono(heard),))
    spoken = read_speakers(request.speakers, fps)
    if request.audio is None:
        heard = mix_recordings(list(spoken.values()))
    else:
        heard = read_audio(request.audio)
        check_speech(heard, fps)
    for each in spoken.values():
        if each.duration > heard.duration + TOLERANCE_SECONDS:
            raise MediaError(
                f"{each.source} lasts {each.duration:.2f} s, and the sound of the video "
                f"{heard.duration:.2f} s; leave out AUDIO to hear all speakers to their end"
            )
    length = len(to_mono(heard))
    waveforms = [to_mono(each)[:length] for each in spoken.values()]
    padded = tuple(np.pad(each, (0, length - len(each))) for each in waveforms)
    return Voices(heard, tuple(spoken), padded)


def read_speakers(speakers: Mapping[int, Path], fps: Fraction) -> dict[int, Recording]:
    """The recording of each face that speaks; raises `MediaError` as `read_audio`."""
    recordings = {face: read_audio(path) for face, path in sorted(speakers.items())}
    for recording in recordings.values():
        check_speech(recording, fps)
    return recordings
