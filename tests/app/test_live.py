"""A video is watched while it is made."""

import asyncio
import io
from fractions import Fraction

import av
import numpy as np

from svp_diffusers.app.live import LiveVideo
from svp_diffusers.media.audio import Recording
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE

FPS = Fraction(25)


def play(data: bytes) -> tuple[int, float, dict[str, str]]:
    """The pictures of a video, the seconds of its sound, and its tags."""
    with av.open(io.BytesIO(data)) as container:
        decoded = list(container.decode(video=0, audio=0))
        pictures = sum(isinstance(each, av.VideoFrame) for each in decoded)
        heard = sum(each.samples / each.rate for each in decoded if isinstance(each, av.AudioFrame))
        return pictures, heard, dict(container.metadata)


async def read(live: LiveVideo) -> bytes:
    return b"".join([part async for part in live.read()])


def test_what_is_there_plays_before_the_video_is_complete() -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (50, 64, 64, 3), dtype=np.uint8)
    sound = random.uniform(-0.1, 0.1, (1, 2 * 16000)).astype(np.float32)
    live = LiveVideo()
    with live.show(FPS, Recording(sound, 16000, "noise")) as show:
        for frame in frames[:40]:
            show(frame)
        early = LiveVideo()
        early.write(bytes(live._bytes))
        early.end()
        pictures, heard, tags = play(asyncio.run(read(early)))
        assert pictures >= 20
        assert heard >= 0.8
        assert DIGITAL_SOURCE_TYPE in tags["comment"]
        for frame in frames[40:]:
            show(frame)
    pictures, heard, _ = play(asyncio.run(read(live)))
    assert pictures == 50
    assert abs(heard - 2) < 0.2  # AAC pads


def test_one_who_watches_is_not_kept_waiting_by_a_video_that_failed() -> None:
    live = LiveVideo()
    try:
        with live.show(FPS, Recording(np.zeros((1, 1600), np.float32), 16000, "silence")):
            raise ValueError("no frame")
    except ValueError:
        pass
    assert asyncio.run(read(live)) == b""
