"""Small recordings and pictures made on the spot."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from svp_diffusers.media.audio import Recording


def make_recording(duration: float, sampling_rate: int = 16000, channels: int = 1) -> Recording:
    """A modulated tone."""
    time = np.arange(round(duration * sampling_rate)) / sampling_rate
    tone = 0.4 * np.sin(2 * np.pi * 220 * time) * (1.2 + np.sin(2 * np.pi * 3 * time)) / 2.2
    return Recording(np.tile(tone.astype(np.float32), (channels, 1)), sampling_rate, "a tone")


def write_audio(
    path: Path,
    recording: Recording,
    codec: str,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Encode a recording with FFmpeg; the suffix chooses the container."""
    layout = "mono" if recording.samples.shape[0] == 1 else "stereo"
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(
            codec, rate=recording.sampling_rate, layout=layout, options=codec_options or {}
        )
        for start in range(0, recording.samples.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(recording.samples[:, start : start + 1024]), "fltp", layout
            )
            frame.sample_rate = recording.sampling_rate
            frame.pts, frame.time_base = start, Fraction(1, recording.sampling_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_file(path: Path, fraction: float) -> Path:
    """A copy that holds only the first part of the bytes."""
    cut = path.with_name("cut_" + path.name)
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    return cut


def make_frames(count: int, height: int = 32, width: int = 48):
    """Frame i is grey level 8·(i mod 30), yielded one at a time."""
    for index in range(count):
        yield np.full((height, width, 3), 8 * (index % 30), dtype=np.uint8)


def read_grey_index(frame: np.ndarray) -> int:
    """Which of `make_frames` it was, modulo 30."""
    return round(float(frame.mean()) / 8)
