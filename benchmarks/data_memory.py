"""Memory of the preparation over a thousand videos.

python benchmarks/data_memory.py --clips 1000
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from svp_diffusers.data.preparation.run import in_processes, prepare
from svp_diffusers.data.preparation.settings import PreparationSettings
from svp_diffusers.data.preparation.sources import list_sources
from svp_diffusers.talkers.talker import film_talker

SIZE = 128


def measure_memory() -> float:
    """Megabytes held by this process and all that it started, shared pages counted once each."""
    own = psutil.Process()
    held = 0
    for process in (own, *own.children(recursive=True)):
        try:
            held += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return held / 2**20


def prepare_videos(folder: Path, clips: int, note: Callable[[int], None]) -> None:
    """Prepare so many videos, which differ by an empty box at their end, in two processes."""
    videos = folder / "videos"
    videos.mkdir()
    film_talker(folder / "talker.mp4", None, "happy", 0, SIZE, Fraction(25), 3.0)
    data = (folder / "talker.mp4").read_bytes()
    for number in range(clips):
        box = number.to_bytes(4, "big")
        (videos / f"{number:06d}.mp4").write_bytes(data + b"\0\0\0\x0cfree" + box)
    np.save(folder / "faces.npy", np.tile(np.float32([32, 32, 96, 96]), (75, 1)))
    sources = list_sources([str(videos)], face_files=str(folder / "faces.npy"))
    settings = PreparationSettings(size=SIZE)
    prepare(
        sources, folder / "out", settings, None, in_processes(2), lambda done, total: note(done)
    )


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    clips = parser.parse_args().clips
    held: list[float] = []

    def note(done: int) -> None:
        if done % 20 == 0:
            held.append(measure_memory())

    with tempfile.TemporaryDirectory() as temporary:
        prepare_videos(Path(temporary), clips, note)
    tenth = max(1, len(held) // 10)
    early, late = np.mean(held[tenth : 3 * tenth]), np.mean(held[-2 * tenth :])
    print(json.dumps({"early MB": round(early), "late MB": round(late)}))


if __name__ == "__main__":
    main()
