"""Opening sound and video that a user hands in: what can be said before anything is decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from svp_diffusers.errors import MediaError
from svp_diffusers.media.input import check_input

# Names of FFmpeg's demuxers. None of these opens another file: playlists and lists (hls, dash,
# concat), scripts and devices are left out.
CONTAINER_FORMATS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "eac3", "flac", "flv", "gif"),
    *("h264", "hevc", "matroska", "mov", "mp3", "mpeg", "mpegts", "mxf", "nut", "ogg", "tta"),
    *("voc", "w64", "wav", "webm", "wv"),
)


@contextmanager
def open_container(path: str | Path) -> Iterator[InputContainer]:
    """Open a container of `CONTAINER_FORMATS` whose whole content lies in this one file.

    FFmpeg is handed the open file, never its name, which it could take for an address
    ("http:/host/a.wav", "concat:a|b"), and may follow no address that it finds in the content.

    Raises `MediaError` for a failure to open *or to decode*.
    """
    path = check_input(path)
    options = {"format_whitelist": ",".join(CONTAINER_FORMATS), "protocol_whitelist": "none"}
    try:
        # Tags in an unknown encoding are no reason to refuse sound or pictures.
        with (
            path.open("rb") as file,
            av.open(file, "r", container_options=options, metadata_errors="replace") as container,
        ):
            yield container
    except av.FFmpegError as error:
        raise MediaError(
            f"{path} cannot be decoded: it is damaged, cut short, or not audio or video "
            f"(FFmpeg: {error.strerror}); make or download it again"
        ) from error


def check_length(path: str | Path, most_seconds: float) -> None:
    """Refuse sound or pictures that last longer, by their packets; nothing is decoded.

    Raises:
        MediaError: if they do, or the file is no media.
    """
    first: dict[int, float] = {}
    total: dict[int, float] = {}
    with open_container(path) as container:
        for packet in container.demux():
            if packet.time_base is None or not packet.size:
                continue
            number, time = packet.stream.index, float((packet.dts or 0) * packet.time_base)
            length = float((packet.duration or 0) * packet.time_base)
            total[number] = total.get(number, 0.0) + length
            if max(total[number], time - first.setdefault(number, time)) > most_seconds:
                raise MediaError(
                    f"{path} lasts longer than {most_seconds:g} s; cut out what is needed"
                )


def find_moving_pictures(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None
