"""Video files: frames out of any container, and H.264 + AAC with sound and mark into MP4."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.media.audio import Recording, RecordingFile
from svp_diffusers.media.containers import find_moving_pictures, open_container
from svp_diffusers.media.frame_rate import number_of_frames
from svp_diffusers.media.mark import SYNTHETIC_MARK
from svp_diffusers.media.output import atomic_path

MAXIMUM_GAP_SECONDS = 600  # from a frame to the next: a damaged time may be years away
# Our choices: visually lossless at portrait sizes; speech without artefacts.
# Macroblock trees make other bytes of the same small frames, at random, on CPUs with AVX-512.
X264_OPTIONS = {"crf": "17", "mbtree": "0"}
AUDIO_BITS_PER_CHANNEL = 96_000
BT709 = 1  # as matrix, primaries and transfer function alike, in ITU-T H.273
TIME_ROUNDING_SECONDS = 0.001  # Matroska stores whole milliseconds


@dataclass(frozen=True)
class VideoInfo:
    """What a video file declares about its first video stream.

    width, height: as displayed, that is after the rotation
    fps: mean frame rate
    frames: as declared, else duration · fps
    duration: s
    rotation: degrees counter-clockwise that the frames are turned before display
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    duration: float
    has_audio: bool
    rotation: int


def probe(path: str | Path) -> VideoInfo:
    """A file's description of its video; decodes the first frame only. Raises `MediaError`."""
    with open_container(path) as container:
        stream = _get_video_stream(container)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise MediaError(f"{path} has a video stream without a single frame")
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = (container.duration or 0) / av.time_base
        fps = stream.average_rate
        if fps is None or duration <= 0:
            raise MediaError(f"{path} does not say how long it lasts; convert it to MP4")
        height, width = _to_upright_rgb(frame).shape[:2]
        return VideoInfo(
            width=width,
            height=height,
            fps=Fraction(fps),
            frames=stream.frames or round(duration * fps),
            duration=duration,
            has_audio=bool(container.streams.audio),
            rotation=frame.rotation,
        )


def read_frames(path: str | Path, fps: Fraction | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield (height, width, 3) uint8 RGB frames, upright, one at a time.

    With `fps`, at that constant rate from the first frame on: each instant shows the source frame
    that is nearest to it (see `first_slot`), so tempo and duration stay. Without, every frame as it
    is stored. Raises `MediaError` for what cannot be opened or decoded.
    """
    with open_container(path) as container:
        stream = _get_video_stream(container)
        frames = container.decode(stream)
        if fps is None:
            for frame in frames:
                yield _to_upright_rgb(frame)
            return
        shown: av.VideoFrame | None = None
        start, end, slot = 0.0, 0.0, 0
        for frame in frames:
            if frame.time is None:
                raise MediaError(f"{path} does not say when its frames are shown; convert to MP4")
            if shown is None:
                start = frame.time
            elif frame.time - shown.time > MAXIMUM_GAP_SECONDS:
                raise _still(path, frame.time - shown.time)
            else:
                switch = first_slot(shown.time - start, frame.time - start, fps)
                yield from _repeat(shown, switch - slot)
                slot = max(slot, switch)
            shown, end = frame, _end_of(frame, stream)
        if shown is not None:
            if end - shown.time > MAXIMUM_GAP_SECONDS:
                raise _still(path, end - shown.time)
            yield from _repeat(shown, number_of_frames(end - start, fps) - slot)


def _still(path: str | Path, seconds: float) -> MediaError:
    return MediaError(f"{path} shows a single frame for {seconds:.0f} s: it is damaged, or cut it")


def _repeat(frame: av.VideoFrame, times: int) -> Iterator[NDArray[np.uint8]]:
    if times > 0:
        yield from repeat(_to_upright_rgb(frame), times)


def first_slot(earlier: float, later: float, fps: Fraction) -> int:
    """The first frame at a constant rate that shows a stored frame rather than the one before it.

    Frame k of the constant rate is due at k / fps and shows the stored frame that is nearest in
    time; where both are equally near, up to the rounding of stored times, the earlier one. So it is
    off by half the time between two stored frames at most.

    Args:
        earlier: seconds from the first frame on at which the stored frame before it is shown.
        later: seconds at which the stored frame itself is shown.
        fps: of the constant rate.
    """
    return math.floor(((earlier + later) / 2 + TIME_ROUNDING_SECONDS) * fps) + 1


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: Fraction,
    recording: Recording | RecordingFile | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write frames and sound to an MP4 (H.264 yuv420p, AAC) that says it is synthetic.

    frames: (height, width, 3) uint8 RGB, even height and width, taken one at a time
    fps: exact and constant
    recording: sound that lasts as long as the frames, within one frame; nothing of it is cut. Its
        rate is kept where AAC knows it, else the next higher one that AAC knows is used
    metadata: further container tags, beside the mark of `svp_diffusers.media.mark`

    The file appears under its name when it is complete. Raises `ConfigurationError` for odd or
    changing sizes, no frames, or a tag of the mark; `MediaError` for sound of another duration;
    `OutputError` when the file cannot be written.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ConfigurationError(f"there are no frames to write to {path}")
    _check_frame(first, first.shape)
    with (
        atomic_path(path) as temporary,
        closing(_open_mp4(temporary)) as container,
    ):
        writer = VideoWriter(container, fps, recording, metadata)
        for frame in chain([first], frames):
            writer.write(frame)
        writer.finish()


class VideoWriter:
    """Encodes frames and their sound into an MP4 that says it is synthetic; see `write_video`.

    Args:
        container: that is open for an MP4.
        fps: exact and constant.
        recording: the sound.
        metadata: further container tags.
        options: of libx264, in place of the project's own.

    Raises:
        ConfigurationError: for a tag of the mark.
    """

    def __init__(
        self,
        container: OutputContainer,
        fps: Fraction,
        recording: Recording | RecordingFile | None = None,
        metadata: Mapping[str, str] | None = None,
        options: Mapping[str, str] = X264_OPTIONS,
    ) -> None:
        tags = dict(metadata or {})
        if reserved := tags.keys() & SYNTHETIC_MARK.keys():
            raise ConfigurationError(
                f"the tags {sorted(reserved)} carry the synthetic mark; rename"
            )
        container.metadata.update(tags | SYNTHETIC_MARK)
        self._container, self._fps, self._options = container, fps, options
        self._recording = recording
        self._video: VideoStream | None = None
        self._sound: _SoundTrack | None = None
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Write a frame (height, width, 3), and the sound until its end.

        Raises:
            ConfigurationError: it is not as `write_video` expects, or not as the first one is.
        """
        _check_frame(frame, self._shape or frame.shape)
        if self._video is None:
            self._shape = frame.shape
            self._video = _add_video_stream(self._container, frame, self._fps, self._options)
            if self._recording is not None:
                self._sound = _SoundTrack(self._container, self._recording)
        picture = _to_video_frame(frame, self._count, self._fps)
        self._container.mux(self._video.encode(picture))
        self._count += 1
        if self._sound is not None:
            self._sound.write_until(self._count / self._fps)

    def finish(self) -> None:
        """Write what is left, once there was a frame.

        Raises:
            MediaError: if the sound does not last as long as the frames.
        """
        assert self._video is not None
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.finish()
            _check_durations(self._sound.recording, self._count, self._fps)


class _SoundTrack:
    """The AAC stream, fed along with the pictures so that neither waits in memory."""

    def __init__(self, container: OutputContainer, recording: Recording | RecordingFile) -> None:
        supported = sorted(av.Codec("aac", "w").audio_rates or [])
        rate = next((r for r in supported if r >= recording.sampling_rate), supported[-1])
        self.layout = "mono" if recording.channels == 1 else "stereo"
        self.stream: AudioStream = container.add_stream("aac", rate=rate, layout=self.layout)
        self.stream.bit_rate = AUDIO_BITS_PER_CHANNEL * recording.channels
        self.container = container
        self.recording = recording
        self.pieces = recording.read()
        self.held = np.zeros((recording.channels, 0), np.float32)
        self.written = 0

    def write_until(self, seconds: Fraction) -> None:
        rate = self.recording.sampling_rate
        wanted = round(seconds * rate) - self.written
        while self.held.shape[1] < wanted and (piece := next(self.pieces, None)) is not None:
            self.held = np.concatenate([self.held, piece], axis=1)
        samples, self.held = self.held[:, :wanted], self.held[:, wanted:]
        if samples.shape[1] == 0:
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format="fltp", layout=self.layout
        )
        frame.sample_rate = rate
        frame.pts, frame.time_base = self.written, Fraction(1, rate)
        self.written += samples.shape[1]
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.write_until(Fraction(self.recording.num_samples, self.recording.sampling_rate))
        self.container.mux(self.stream.encode(None))


def _open_mp4(path: Path) -> OutputContainer:
    # use_metadata_tags: without it MP4 drops every tag it has no four-letter name for.
    # faststart: the index comes first, so that a browser plays the file while it loads.
    return av.open(
        str(path), "w", format="mp4", options={"movflags": "+faststart+use_metadata_tags"}
    )


def _add_video_stream(
    container: OutputContainer,
    frame: NDArray[np.uint8],
    fps: Fraction,
    options: Mapping[str, str],
) -> VideoStream:
    stream: VideoStream = container.add_stream("libx264", rate=fps, options=dict(options))
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"
    # Without these, players guess the matrix from the size and colours shift.
    stream.codec_context.colorspace = BT709
    stream.codec_context.color_primaries = BT709
    stream.codec_context.color_trc = BT709
    stream.codec_context.color_range = ColorRange.MPEG
    return stream


def _to_video_frame(frame: NDArray[np.uint8], index: int, fps: Fraction) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    picture.pts, picture.time_base = index, 1 / fps
    return picture


def _to_upright_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Raises `MediaError` for a rotation that is not a multiple of 90 degrees."""
    if frame.rotation % 90:
        raise MediaError(f"frames are rotated by {frame.rotation} degrees; rotate them yourself")
    pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


def _get_video_stream(container: InputContainer) -> VideoStream:
    stream = find_moving_pictures(container)
    if stream is None:
        raise MediaError(f"{container.name} has no video stream; give a file with moving pictures")
    if (stream.sample_aspect_ratio or 1) != 1:
        raise MediaError(
            f"{container.name} has pixels of {stream.sample_aspect_ratio}, which would distort "
            "faces; convert it to square pixels"
        )
    return stream


def _end_of(frame: av.VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return frame.time + float(frame.duration * frame.time_base)
    return frame.time + float(1 / stream.average_rate if stream.average_rate else 0)


def _check_frame(frame: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ConfigurationError(
            f"a frame is {frame.dtype} {frame.shape}; expected uint8 (height, width, 3)"
        )
    if frame.shape != shape:
        raise ConfigurationError(f"a frame has shape {frame.shape}, the first one {shape}")
    if frame.shape[0] % 2 or frame.shape[1] % 2:
        raise ConfigurationError(
            f"frames of {frame.shape[1]}x{frame.shape[0]} pixels cannot be H.264; "
            "use an even width and height"
        )


def _check_durations(recording: Recording | RecordingFile, count: int, fps: Fraction) -> None:
    if abs(count / fps - Fraction(recording.duration)) > 1 / fps:
        raise MediaError(
            f"{count} frames at {float(fps):g} fps last {float(count / fps):.3f} s but "
            f"{recording.source} lasts {recording.duration:.3f} s; use number_of_frames"
        )
