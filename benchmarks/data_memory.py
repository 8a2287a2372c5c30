"""Memory of the loader and of the preparation over a thousand clips, as a graph.

python benchmarks/data_memory.py --clips 1000 -o docs/pictures/data_memory.png
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from svp_diffusers.data.loader import ClipDataset, ClipLoader, RandomWindow
from svp_diffusers.data.preparation.run import in_processes, prepare
from svp_diffusers.data.preparation.settings import PreparationSettings
from svp_diffusers.data.preparation.sources import list_sources
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.talkers.synthesis import SynthesisSettings, synthesise_dataset
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


def load_clips(folder: Path, clips: int, note: Callable[[int], None]) -> None:
    """Load windows of so many clips, copies of a few, with two workers."""
    for _ in synthesise_dataset(folder / "few", 20, SynthesisSettings(size=SIZE, seconds=3)):
        pass
    few = ClipDataset(str(folder / "few"))
    with ShardWriter(folder / "many") as writer:
        for number in range(clips):
            writer.write(replace(few[number % 20], key=f"clip-{number:06d}"))
    loader = ClipLoader(
        ClipDataset(str(folder / "many")), batch_size=4, decode=RandomWindow(24), num_workers=2
    )
    done = 0
    for batch in loader:
        done += len(batch)
        note(done)


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
    """Measure both, draw one graph, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    measured: dict[str, list[tuple[int, float]]] = {}
    for name, job in (("loader, 2 workers", load_clips), ("svp data prepare, 2", prepare_videos)):
        points = measured[name] = []

        def note(done: int, points: list[tuple[int, float]] = points) -> None:
            if done % 20 == 0:
                points.append((done, measure_memory()))

        with tempfile.TemporaryDirectory() as temporary:
            job(Path(temporary), arguments.clips, note)
    draw(measured, arguments.output)
    for name, points in measured.items():
        held = np.array([megabytes for _, megabytes in points])
        tenth = max(1, len(held) // 10)
        early, late = held[tenth : 3 * tenth].mean(), held[-2 * tenth :].mean()
        print(json.dumps({"job": name, "early MB": round(early), "late MB": round(late)}))


def draw(measured: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Draw memory over clips."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    for name, points in measured.items():
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="clips done", ylabel="MB, all processes", ylim=0)
    axes.legend()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
