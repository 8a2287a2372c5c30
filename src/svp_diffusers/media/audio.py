"""Speech: any container FFmpeg reads in, samples out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from svp_diffusers.errors import MediaError
from svp_diffusers.media.input import find_moving_pictures, open_container
from svp_diffusers.pipelines.sound_svp import average_channels, check_rate, resample

# Our choices. Room noise of a poor microphone lies near -50 dBFS, 16-bit dither near -96.
SILENCE_DBFS = -60.0
SILENCE_BLOCK_SECONDS = 0.04
# Encoders pad and trim by some thousand samples; what is missing beyond this was cut off.
TRUNCATION_TOLERANCE_SECONDS = 0.25
MAXIMUM_VALUES = 2**27  # of sound in memory, half a gigabyte: 46 minutes of one channel at 48 kHz
MAXIMUM_DELAY_SECONDS = 600
LENGTH_IS_GUESSED = {"mp3", "aac", "ac3", "eac3", "amr"}


@dataclass(frozen=True)
class Recording:
    """Sound as it was recorded.

    samples: (channels, n) float32, 1 or 2 channels, full scale 1 (lossy decoders may overshoot)
    sampling_rate: Hz
    source: where it came from, for messages
    """

    samples: NDArray[np.float32]
    sampling_rate: int
    source: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples.shape[-1] / self.sampling_rate


def read_audio(path: str | Path) -> Recording:
    """The first audio stream of a file, at its own rate; more than two channels are mixed to two.

    Sound taken from a video begins with the first picture: what comes earlier is dropped and a late
    start is filled with silence, so that sound and `read_frames` share one clock.

    Raises `MediaError` when the file is missing, empty, not media, has no audio stream, is damaged,
    or decodes to less than it declares (an Ogg, ADTS or Xing-less MP3 file declares no length: cut
    short, it is a valid shorter file).
    """
    _check_riff_length(Path(path))
    with open_container(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio stream; give a file with sound")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path} has sound of a kind that FFmpeg does not know; convert it")
        rate = stream.codec_context.sample_rate
        try:
            check_rate(rate)
        except ValueError as error:
            raise MediaError(f"{path}: {error}") from error
        declared = _declared_seconds(container, stream)
        # MP4 stores the last block whole, padding included, and states where the sound ends in it.
        is_padded = "mp4" in container.format.name.split(",")
        chunks: list[NDArray[np.float32]] = []
        decoded = 0
        for frame in _decode(container, stream):
            if not chunks:
                seconds = _delay_after_first_picture(container, frame)
                if abs(seconds) > MAXIMUM_DELAY_SECONDS:
                    raise MediaError(
                        f"{path} has sound that begins {seconds:.0f} s after its pictures; cut it"
                    )
                delay = round(seconds * rate)
            chunks.append(frame.to_ndarray().astype(np.float32, copy=False))
            decoded += frame.samples
            if decoded * len(chunks[0]) > MAXIMUM_VALUES:
                raise MediaError(
                    f"{path} has more sound than is read at once, {decoded / rate / 60:.0f} "
                    "minutes at its rate; cut it"
                )
    if not decoded:
        raise MediaError(f"{path} has an audio stream without a single sample; record it again")
    if declared is not None and decoded / rate < declared - TRUNCATION_TOLERANCE_SECONDS:
        raise _truncated(path, f"{decoded / rate:.2f} s of the {declared:.2f} s it declares")
    samples = np.concatenate(chunks, axis=1)
    if is_padded and declared is not None:
        samples = samples[:, : round(declared * rate)]
    if delay > 0:
        samples = np.pad(samples, ((0, 0), (delay, 0)))
    return Recording(samples[:, max(0, -delay) :], rate, str(path))


def average(recording: Recording) -> NDArray[np.float32]:
    """The mean of the channels (n,) float32; raises `MediaError` if they cancel each other out."""
    try:
        mean: NDArray[np.float32] = average_channels(recording.samples)
    except ValueError as error:
        raise MediaError(f"{recording.source}: {error}") from error
    return mean


def to_mono(recording: Recording, sampling_rate: int = 16000) -> NDArray[np.float32]:
    """The mean of the channels, resampled by a zero-phase polyphase filter: (n,) float32.

    n = ceil(samples · sampling_rate / recording.sampling_rate), so the duration stays.
    """
    return resample(average(recording), recording.sampling_rate, sampling_rate)


def mix_recordings(recordings: Sequence[Recording]) -> Recording:
    """Recordings that begin together as one, mono at the highest of their rates, as long as the
    longest; quieter where they would exceed full scale together."""
    rate = max(recording.sampling_rate for recording in recordings)
    voices = [to_mono(recording, rate) for recording in recordings]
    length = max(map(len, voices))
    mixed = np.sum([np.pad(voice, (0, length - len(voice))) for voice in voices], axis=0)
    mixed = (mixed / max(1.0, float(np.abs(mixed).max())))[None]
    names = ", ".join(recording.source for recording in recordings)
    return Recording(mixed.astype(np.float32, copy=False), rate, names)


def check_speech(recording: Recording, fps: Fraction = Fraction(25)) -> None:
    """Raise `MediaError` for a recording that cannot drive a face.

    That is: shorter than one video frame, not finite, not scaled to [-1, 1], or silent. Silent
    means that no block of 40 ms reaches -60 dBFS (RMS over all channels).
    """
    source, samples = recording.source, recording.samples
    if recording.duration * fps < 1:
        raise MediaError(
            f"{source} lasts {recording.duration:.3f} s, less than one video frame at "
            f"{float(fps):g} fps; give a longer recording"
        )
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        raise MediaError(f"{source} has NaN or infinite samples; export it again")
    if peak > 2:
        raise MediaError(f"{source} has samples up to {peak:.0f}; scale them to [-1, 1]")
    loudest = _loudest_block_dbfs(recording)
    if loudest < SILENCE_DBFS:
        raise MediaError(
            f"{source} is silent (its loudest 40 ms have {loudest:.0f} dBFS, speech needs "
            f"{SILENCE_DBFS:.0f}); check the microphone or the channel"
        )
    average(recording)


def _decode(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Frames as planar float32 in at most two channels; times are kept."""
    layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    resampler = av.AudioResampler("fltp", layout, stream.codec_context.sample_rate)
    try:
        for frame in container.decode(stream):
            yield from resampler.resample(frame)
        yield from resampler.resample(None)
    except ValueError as error:
        if isinstance(error, av.FFmpegError):
            raise
        raise MediaError(f"{container.name} changes its format midway; export it again") from error


def _declared_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    """The length that the file states; None where FFmpeg only guesses it from the bit rate."""
    # An MP3 that states its length also states its encoder's delay.
    if container.format.name in LENGTH_IS_GUESSED and not stream.start_time:
        return None
    if stream.duration is None and len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base
    return _seconds(stream.duration, stream.time_base)


def _delay_after_first_picture(container: InputContainer, frame: av.AudioFrame) -> float:
    pictures = find_moving_pictures(container)
    if pictures is None or frame.time is None:
        return 0.0
    return frame.time - (_seconds(pictures.start_time, pictures.time_base) or 0.0)


def _loudest_block_dbfs(recording: Recording) -> float:
    block = round(SILENCE_BLOCK_SECONDS * recording.sampling_rate)
    samples = recording.samples
    power = np.einsum("cn,cn->n", samples, samples) / len(samples)
    means = np.add.reduceat(power, np.arange(0, power.size, block)) / block
    return float(10 * np.log10(means.max() + 1e-20))


def _check_riff_length(path: Path) -> None:
    """FFmpeg reports only what is left of a WAV that was cut off; its header knows better."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        header = file.read(8)
    declared = 8 + int.from_bytes(header[4:8], "little")
    size = path.stat().st_size
    # Some programs count 8 bytes of the header twice; those that write into a pipe declare 2 GiB
    # or more.
    if header[:4] == b"RIFF" and size + 8 < declared < 2**31 - 2**20:
        raise _truncated(path, f"{size} of the {declared} bytes it declares")


def _truncated(path: str | Path, what: str) -> MediaError:
    return MediaError(f"{path} is cut short: it holds {what}; make or download it again")


def _seconds(ticks: int | None, time_base: Fraction | None) -> float | None:
    return None if ticks is None or time_base is None else float(ticks * time_base)
