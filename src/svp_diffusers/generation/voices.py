"""Who says what in a video: one voice, or one for each of several faces."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from svp_diffusers.errors import MediaError
from svp_diffusers.media.audio import (
    Recording,
    RecordingFile,
    check_speech,
    mix_recordings,
    read_audio,
    to_mono,
)
from svp_diffusers.pipelines.sound_svp import resampled_length
from svp_diffusers.pipelines.speech_svp import count_frames

SPEECH_RATE = 16000  # Hz, of all audio encoders
TOLERANCE_SECONDS = 0.1  # by which lossy encoders lengthen a voice


@dataclass(frozen=True)
class Voices:
    """What is heard in a video, and what each face of it says.

    heard: the sound of the video.
    faces: the number of each face that speaks, 0 being the largest; None is the largest too.
    spoken: what each says, at the rate of the sound and as long.
    """

    heard: Recording | RecordingFile
    faces: tuple[int | None, ...]
    spoken: tuple[Recording | RecordingFile, ...]

    def count_frames(self, fps: Fraction) -> int:
        """Frames of the video, as the pipeline counts them."""
        rate = self.heard.sampling_rate
        num_samples = resampled_length(self.heard.num_samples, rate, SPEECH_RATE)
        return count_frames(num_samples, SPEECH_RATE, fps)


def join_voices(speakers: Mapping[int, Path], audio: Path | None, fps: Fraction) -> Voices:
    """Read the voices of several faces.

    The sound is that of AUDIO or, without it, all of them together; who has finished before its end
    is silent.

    Args:
        speakers: the voice of each face.
        audio: the sound of the video, if it is another.
        fps: of the video.

    Raises:
        MediaError: if one cannot be read, is silent, or is longer than AUDIO.
    """
    spoken = {face: read_audio(path) for face, path in sorted(speakers.items())}
    for recording in spoken.values():
        check_speech(recording, fps)
    if audio is None:
        heard = mix_recordings(list(spoken.values()))
    else:
        heard = read_audio(audio)
        check_speech(heard, fps)
    for each in spoken.values():
        if each.duration > heard.duration + TOLERANCE_SECONDS:
            raise MediaError(
                f"{each.source} lasts {each.duration:.2f} s, and the sound of the video "
                f"{heard.duration:.2f} s; leave out AUDIO to hear all speakers to their end"
            )
    fitted = tuple(fit_recording(each, heard) for each in spoken.values())
    return Voices(heard, tuple(spoken), fitted)


def fit_recording(recording: Recording, heard: Recording) -> Recording:
    """A recording at the rate of another and as long, followed by silence or cut off."""
    rate, length = heard.sampling_rate, heard.samples.shape[1]
    mono = to_mono(recording, rate)[:length]
    return Recording(np.pad(mono, (0, length - len(mono)))[None], rate, recording.source)
