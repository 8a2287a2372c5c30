"""How loud a clip is, and how much of it is speech."""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.errors import MediaError, MissingDependencyError
from svp_diffusers.media.audio import Recording, check_speech


@dataclass(frozen=True)
class SpeechMeasure:
    """Loudness as RMS in dB of full scale, and the part of the time in which somebody speaks."""

    loudness_dbfs: float
    speech: float


def measure_speech(waveform: np.ndarray, settings: PreparationSettings) -> SpeechMeasure:
    """Measure a clip's `(n,)` 16 kHz sound; speech is what Silero VAD finds at its defaults.

    Raises:
        RejectionError: silent, or less speech than `minimum_speech`.
        MissingDependencyError: silero-vad is not installed.
    """
    try:
        check_speech(Recording(waveform[None], SAMPLING_RATE, "the sound"), settings.fps)
    except MediaError as error:
        raise RejectionError(Reason.SILENT, str(error)) from error
    spoken = sum(stop - start for start, stop in find_speech(waveform)) / len(waveform)
    if spoken < settings.minimum_speech:
        detail = f"{spoken:.0%} of the time; at least {settings.minimum_speech:.0%}"
        raise RejectionError(Reason.LITTLE_SPEECH, detail)
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    return SpeechMeasure(round(10 * float(np.log10(power)), 1), round(spoken, 3))


def find_speech(waveform: np.ndarray) -> list[tuple[int, int]]:
    """Spans (first sample, last sample + 1) of speech in 16 kHz sound, found by Silero VAD.

    Raises:
        MissingDependencyError: silero-vad is not installed.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        from silero_vad import get_speech_timestamps, load_silero_vad

        # Importing silero_vad sets this for the whole process; one is fastest for it, but not for
        # whatever else runs here.
        torch.set_num_threads(1)
        spans = get_speech_timestamps(torch.from_numpy(waveform), load_silero_vad())
    except ImportError as error:
        raise MissingDependencyError(
            "finding speech needs silero-vad: pip install 'svp-diffusers[data]'"
        ) from error
    finally:
        torch.set_num_threads(threads)
    return [(span["start"], span["end"]) for span in spans]
