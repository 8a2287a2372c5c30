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
from svp_diffusers.media.containers import find_moving_pictures, open_container
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.sound_svp import (
    average_channels,
    check_channels,
    check_rate,
    resample,
)

# Our choices. Room noise of a poor microphone lies near -50 dBFS, 16-bit dither near -96.
SILENCE_DBFS = -60.0
SILENCE_BLOCK_SECONDS = 0.04
# Encoders pad and trim by some thousand samples; what is missing beyond this was cut off.
TRUNCATION_TOLERANCE_SECONDS = 0.25
MAXIMUM_VALUES = 2**27  # of sound in memory, half a gigabyte: 46 minutes of one channel at 48 kHz
GAP_SECONDS = 0.1  # less is the rounding of containers, and the drift of a recorder's clock
MAXIMUM_DELAY_SECONDS = 600
PIECE_SECONDS = 10  # of a file that are held at once
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
    def channels(self) -> int:
        """1 or 2."""
        return len(self.samples)

    @property
    def num_samples(self) -> int:
        """Of a channel."""
        return self.samples.shape[-1]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sampling_rate

    def read(self) -> Iterator[NDArray[np.float32]]:
        """The samples, as one piece."""
        yield self.samples


@dataclass(frozen=True)
class RecordingFile:
    """Sound in a file, which is read when it is needed, so that its length costs no memory.

    path: of the file
    channels: 1 or 2
    num_samples: of a channel
    sampling_rate: Hz
    source: the path, for messages
    """

    path: Path
    channels: int
    num_samples: int
    sampling_rate: int
    source: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sampling_rate

    @property
    def samples(self) -> NDArray[np.float32]:
        """All samples (channels, n), read anew."""
        return read_audio(self.path).samples

    def read(self) -> Iterator[NDArray[np.float32]]:
        """The samples (channels, n), a few seconds at a time, as `read_audio` reads them."""
        return (piece for piece, _ in _read_pieces(self.path))


def read_audio(path: str | Path) -> Recording:
    """The first audio stream of a file, at its own rate; more than two channels are mixed to two.

    Sound taken from a video begins with the first picture: what comes earlier is dropped and a late
    start is filled with silence, as are gaps, so that sound and `read_frames` share one clock.

    Raises `MediaError` when the file is missing, empty, not media, has no audio stream, is damaged,
    or decodes to less than it declares (an Ogg, ADTS or Xing-less MP3 file declares no length: cut
    short, it is a valid shorter file).
    """
    pieces, values = [], 0
    for piece, rate in _read_pieces(path):
        pieces.append(piece)
        values += piece.size
        if values > MAXIMUM_VALUES:
            minutes = values / len(piece) / rate / 60
            raise MediaError(
                f"{path} has more sound than is read at once, {minutes:.0f} minutes at its rate; "
                "cut it, or stream it"
            )
    return Recording(np.concatenate(pieces, axis=1), rate, str(path))


def average(recording: Recording) -> NDArray[np.float32]:
    """The mean of the channels (n,) float32; raises `MediaError` if they cancel each other out."""
    try:
        mean: NDArray[np.float32] = average_channels(recording.samples)
    except ValueError as error:
        raise MediaError(f"{recording.source}: {error}") from error
    return mean


def open_recording(path: str | Path, fps: Fraction = Fraction(25)) -> RecordingFile:
    """A file whose sound can drive a face, read once from end to end and not kept.

    Raises `MediaError` as `read_audio` and `check_speech` do.
    """
    loudness, rate = _Loudness(), 0
    for piece, rate in _read_pieces(path):
        loudness.add(piece, rate)
    recording = RecordingFile(Path(path), loudness.channels, loudness.num_samples, rate, str(path))
    _check_loudness(recording, loudness, fps)
    return recording


def _read_pieces(path: str | Path) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The samples (channels, n) of a file, at least one and a few seconds at a time, and their
    rate."""
    _check_riff_length(check_input(path))
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
        end = round(declared * rate) if is_padded and declared is not None else None
        held: list[NDArray[np.float32]] = []
        decoded = skipped = 0
        origin: float | None = None  # when the first frame is heard
        shows_pictures = find_moving_pictures(container) is not None
        for frame in _decode(container, stream):
            samples = frame.to_ndarray().astype(np.float32, copy=False)
            if decoded and len(samples) != len(held[0]):
                raise MediaError(f"{path} changes its format midway; export it again")
            if not decoded:
                seconds = _delay_after_first_picture(container, frame)
                if abs(seconds) > MAXIMUM_DELAY_SECONDS:
                    raise MediaError(
                        f"{path} has sound that begins {seconds:.0f} s after its pictures; cut it"
                    )
                delay = round(seconds * rate)
                held.append(np.zeros((len(samples), max(0, delay)), np.float32))
                skipped = max(0, -delay)
                origin = frame.time
            elif origin is not None and frame.time is not None and shows_pictures:
                seconds = frame.time - origin - decoded / rate
                if seconds > MAXIMUM_DELAY_SECONDS:
                    raise MediaError(f"{path} has no sound for {seconds:.0f} s midway; cut it")
                if seconds > GAP_SECONDS:
                    samples = np.pad(samples, ((0, 0), (round(seconds * rate), 0)))
            first, decoded = decoded, decoded + samples.shape[1]
            held.append(
                samples[:, max(0, skipped - first) : None if end is None else max(0, end - first)]
            )
            if sum(each.shape[1] for each in held) >= PIECE_SECONDS * rate:
                yield np.concatenate(held, axis=1), rate
                held = [samples[:, :0]]
    if not decoded:
        raise MediaError(f"{path} has an audio stream without a single sample; record it again")
    if declared is not None and decoded / rate < declared - TRUNCATION_TOLERANCE_SECONDS:
        raise _truncated(path, f"{decoded / rate:.2f} s of the {declared:.2f} s it declares")
    yield np.concatenate(held, axis=1), rate


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
    loudness = _Loudness()
    size = PIECE_SECONDS * recording.sampling_rate
    for start in range(0, recording.num_samples, size):
        loudness.add(recording.samples[:, start : start + size], recording.sampling_rate)
    _check_loudness(recording, loudness, fps)


class _Loudness:
    """Of sound that comes in pieces: its highest and lowest sample, its loudest block, and the
    power of its channels and of their mean."""

    def __init__(self) -> None:
        self.channels = self.num_samples = 0
        self.highest, self.lowest, self.loudest = -math.inf, math.inf, 0.0
        self.of_mean, self.of_channels = 0.0, np.zeros(2)
        self._rest = np.zeros(0, np.float32)  # the power of a block that has begun

    def add(self, samples: NDArray[np.float32], sampling_rate: int) -> None:
        """Listen to a piece (channels, n)."""
        if not samples.size:
            return
        self.channels, self.num_samples = len(samples), self.num_samples + samples.shape[1]
        # Of NaN, both become NaN.
        self.highest = float(np.maximum(self.highest, samples.max()))
        self.lowest = float(np.minimum(self.lowest, samples.min()))
        mean = samples.mean(axis=0)
        self.of_mean += float(np.dot(mean, mean))
        self.of_channels[: len(samples)] += [float(np.dot(each, each)) for each in samples]
        block = round(SILENCE_BLOCK_SECONDS * sampling_rate)
        power = np.einsum("cn,cn->n", samples, samples) / len(samples)
        power = np.concatenate([self._rest, power])
        sums = np.add.reduceat(power, np.arange(0, power.size, block))
        self.loudest = max(self.loudest, float(sums.max()) / block)
        self._rest = power[power.size // block * block :]

    @property
    def loudest_dbfs(self) -> float:
        """The loudest 40 ms."""
        return float(10 * np.log10(self.loudest + 1e-20))


def _check_loudness(
    recording: Recording | RecordingFile, loudness: _Loudness, fps: Fraction
) -> None:
    source = recording.source
    if recording.duration * fps < 1:
        raise MediaError(
            f"{source} lasts {recording.duration:.3f} s, less than one video frame at "
            f"{float(fps):g} fps; give a longer recording"
        )
    peak = max(loudness.highest, -loudness.lowest)
    if not math.isfinite(peak):
        raise MediaError(f"{source} has NaN or infinite samples; export it again")
    if peak > 2:
        raise MediaError(f"{source} has samples up to {peak:.0f}; scale them to [-1, 1]")
    if loudness.loudest_dbfs < SILENCE_DBFS:
        raise MediaError(
            f"{source} is silent (its loudest 40 ms have {loudness.loudest_dbfs:.0f} dBFS, speech "
            f"needs {SILENCE_DBFS:.0f}); check the microphone or the channel"
        )
    try:
        check_channels(loudness.of_mean, float(loudness.of_channels.max()), loudness.num_samples)
    except ValueError as error:
        raise MediaError(f"{source}: {error}") from error


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


def _check_riff_length(path: Path) -> None:
    """FFmpeg reports only what is left of a WAV that was cut off; its header knows better."""
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
