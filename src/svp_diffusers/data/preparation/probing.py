"""The first step: is this file a talking video at all, and what must be corrected?"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.errors import MediaError
from svp_diffusers.media.containers import open_container
from svp_diffusers.media.video import VideoInfo, first_slot, probe

# Muxers round times to milliseconds and encoders pad: what is beyond this is missing.
TRUNCATION_TOLERANCE_SECONDS = 0.25
# A step between frames this much longer than the median one is not rounding.
VARIABLE_RATE_RATIO = 1.5


@dataclass(frozen=True)
class ProbedVideo:
    """A video that can be prepared.

    Args:
        info: what the file declares.
        times: `(n,)` seconds at which each stored frame is shown, from 0.
        notes: what will be corrected: rotation, variable frame rate, wrong extension.
    """

    info: VideoInfo
    times: np.ndarray
    notes: tuple[str, ...]

    def frame_shown(self, fps: Fraction, frames: int) -> np.ndarray:
        """Index `(frames,)` of the stored frame that `read_frames` shows at constant `fps`."""
        slots = [first_slot(earlier, later, fps) for earlier, later in pairwise(self.times)]
        return np.asarray(np.searchsorted(slots, np.arange(frames), side="right"))


def probe_video(path: Path, settings: PreparationSettings) -> ProbedVideo:
    """Check a file without decoding it (but for its first frame).

    Raises:
        RejectionError: empty, not media, truncated, damaged, no picture, no sound, too few frames a
            second, or too short.
    """
    if path.stat().st_size == 0:
        raise RejectionError(Reason.EMPTY_FILE, "0 bytes")
    with path.open("rb") as stream:
        is_mp4 = stream.read(8)[4:] == b"ftyp"
    try:
        times, notes = _read_times(path)
        info = probe(path)
    except MediaError as error:
        if is_mp4 and "moov" not in _top_level_boxes(path):
            detail = "an MP4 without its index, which is written last"
            raise RejectionError(Reason.TRUNCATED, detail) from error
        reason = Reason.DAMAGED if is_mp4 else Reason.NOT_MEDIA
        raise RejectionError(reason, str(error)) from error
    duration = float(times[-1]) + _median_step(times)
    if not info.has_audio:
        raise RejectionError(Reason.NO_SOUND, "the file has pictures only")
    if duration < settings.minimum_seconds:
        detail = f"{len(times)} frames, {duration:.2f} s; at least {settings.minimum_seconds:g} s"
        raise RejectionError(Reason.TOO_SHORT, detail)
    fps = len(times) / duration
    if fps < settings.minimum_fps:
        detail = f"{fps:.2f} frames a second; at least {settings.minimum_fps:g}"
        raise RejectionError(Reason.LOW_FRAME_RATE, detail)
    if info.rotation:
        notes += (f"stored rotated by {info.rotation} degrees, turned upright",)
    if np.diff(times).max() > VARIABLE_RATE_RATIO * _median_step(times):
        notes += (f"variable frame rate, made constant at {float(settings.fps):g} fps",)
    return ProbedVideo(info, times, notes)


def _read_times(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Times of all frames as the packets tell, and a note on a wrong extension."""
    with open_container(path) as container:
        pictures = [
            stream
            for stream in container.streams.video
            if not stream.disposition & stream.disposition.attached_pic
        ]
        if not pictures:
            raise RejectionError(Reason.NO_VIDEO, "the file has sound only")
        times, end = [], 0.0
        for packet in container.demux(pictures[0], *container.streams.audio[:1]):
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is None or packet.is_discard:  # the end mark, or cut off by an edit list
                continue
            time = float(ticks * packet.time_base)
            end = max(end, time + float((packet.duration or 0) * packet.time_base))
            if packet.stream is pictures[0]:
                times.append(time)
        if len(times) < 2:
            raise RejectionError(Reason.NO_VIDEO, f"the video stream has {len(times)} frames")
        _check_length(container, end)
        known = container.format.extensions
        notes: tuple[str, ...] = ()
        if known and path.suffix.lower().removeprefix(".") not in known:
            notes = (f"extension {path.suffix or '(none)'}, content {container.format.name}",)
    return np.sort(times) - min(times), notes


def _check_length(container: InputContainer, end: float) -> None:
    if container.duration is None:
        return
    declared = (container.duration + (container.start_time or 0)) / av.time_base
    if end < declared - TRUNCATION_TOLERANCE_SECONDS:
        detail = f"{end:.2f} s of the {declared:.2f} s it declares"
        raise RejectionError(Reason.TRUNCATED, detail)


def _median_step(times: np.ndarray) -> float:
    return float(np.median(np.diff(times)))


def _top_level_boxes(path: Path) -> set[str]:
    """Names of the outermost boxes of an ISO media file (ISO/IEC 14496-12, 4.2)."""
    boxes = set()
    size = path.stat().st_size
    with path.open("rb") as stream:
        while stream.tell() + 8 <= size:
            start = stream.tell()
            length = int.from_bytes(stream.read(4), "big")
            boxes.add(stream.read(4).decode("latin-1"))
            if length == 1:
                length = int.from_bytes(stream.read(8), "big")
            if length < 8:
                break
            stream.seek(start + length)
    return boxes
