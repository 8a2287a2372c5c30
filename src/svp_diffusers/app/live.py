"""Videos that can be watched while they are made: one answer of the server, as long as the video.

It is a fragmented MP4, which browsers play as it comes. (Gradio's own streaming needs the programs
ffmpeg and ffprobe on the server.)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from svp_diffusers.media.audio import Recording, RecordingFile
from svp_diffusers.media.video import VideoWriter

if TYPE_CHECKING:
    from starlette.routing import Route

ADDRESS = "/live/{name}.mp4"
FRAGMENTED = {
    "movflags": "empty_moov+default_base_moof+use_metadata_tags",
    "frag_duration": "500000",  # microseconds
}
AT_ONCE = {"crf": "23", "preset": "veryfast", "tune": "zerolatency"}  # no frame waits for another
POLL_SECONDS = 0.1


class LiveVideo:
    """The bytes of a video that is being made."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ended = False

    def write(self, data: bytes) -> int:
        """Take more of the video, as a file does."""
        self._bytes += data
        return len(data)

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True

    @contextmanager
    def show(
        self, fps: Fraction, recording: Recording | RecordingFile
    ) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
        """Give what a frame (height, width, 3) is shown by; at the end the video is ended."""
        try:
            with closing(av.open(self, "w", format="mp4", options=FRAGMENTED)) as container:
                writer = VideoWriter(container, fps, recording, options=AT_ONCE)
                yield writer.write
                writer.finish()
        finally:
            self.end()

    async def read(self) -> AsyncIterator[bytes]:
        """The video from its beginning, as it comes."""
        sent = 0
        while not self._ended or sent < len(self._bytes):
            if sent == len(self._bytes):
                await asyncio.sleep(POLL_SECONDS)
            else:
                part = bytes(self._bytes[sent:])
                sent += len(part)
                yield part


def serve_live(videos: Mapping[str, LiveVideo]) -> "Route":
    """The address at which a video is watched.

    Args:
        videos: by name.
    """
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        video = videos.get(request.path_params["name"])
        if video is None:
            return Response(status_code=404)
        return StreamingResponse(
            video.read(), media_type="video/mp4", headers={"cache-control": "no-store"}
        )

    return Route(ADDRESS, answer)
