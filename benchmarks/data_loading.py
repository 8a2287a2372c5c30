"""How fast training is fed: the naive way beside shards, workers and the cache.

The naive way opens a video file for every window that training asks for, decodes it from its start,
resamples its sound, and runs the VAE and the speech encoder on the spot, in one process. All ways
serve the same windows of the same procedural talkers; the encoders are tiny, so with real ones the
cache is worth more than what is printed here.

    python benchmarks/data_loading.py --clips 24 --size 128
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.data.cache import cache_dataset, encode_frames
from svp_diffusers.data.loader import ClipDataset, ClipLoader, RandomWindow
from svp_diffusers.media.audio import Recording, read_audio, to_mono
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.talkers.synthesis import SynthesisSettings, synthesise_dataset

WINDOW = 16


class Speed(NamedTuple):
    """Windows a second, and CPU milliseconds a window over all processes."""

    windows: float
    milliseconds: float


def read_naively(videos: list[Path], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One window of each video, in random order."""
    generator = np.random.default_rng(seed)
    for index in generator.permutation(len(videos)):
        frames = list(read_frames(videos[index]))
        start = int(generator.integers(len(frames) - WINDOW + 1))
        waveform = to_mono(read_audio(videos[index]))
        yield np.stack(frames[start : start + WINDOW]), waveform


def measure(epoch: Callable[[int], int], epochs: int) -> Speed:
    """Measure some epochs after one to warm up."""
    epoch(0)
    start, busy = time.perf_counter(), count_cpu_seconds()
    windows = sum(epoch(1 + number) for number in range(epochs))
    seconds = time.perf_counter() - start
    return Speed(windows / seconds, 1000 * (count_cpu_seconds() - busy) / windows)


def count_cpu_seconds() -> float:
    """CPU time of this process and its living children; other work on the machine is not in it."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Make the data, measure every way, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(compare(arguments, Path(temporary)), indent=1))


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Speed of every way, beside the naive one."""
    settings = SynthesisSettings(size=arguments.size, seconds=arguments.seconds)
    for _ in synthesise_dataset(folder / "shards", arguments.clips, settings, arguments.workers):
        pass
    shards = ClipDataset(str(folder / "shards"))
    videos = []
    for index in range(len(shards)):
        clip = shards[index].decode()
        videos.append(folder / f"{index}.mp4")
        recording = Recording(clip.waveform[None], 16_000, clip.key)
        write_video(videos[-1], clip.frames, Fraction(25), recording)
    pipeline = build_random_pipeline()
    cache_dataset(shards, folder / "cached", lambda: pipeline)

    def naive_frames(seed: int) -> int:
        return sum(1 for _ in read_naively(videos, seed))

    @torch.no_grad()
    def naive_encoded(seed: int) -> int:
        windows = 0
        for frames, waveform in read_naively(videos, seed):
            encode_frames(frames, pipeline.vae, WINDOW)
            pipeline.encode_audio(torch.from_numpy(waveform))
            windows += 1
        return windows

    def load(dataset: str, workers: int) -> Callable[[int], int]:
        loader = ClipLoader(
            ClipDataset(str(folder / dataset)),
            batch_size=4,
            decode=RandomWindow(WINDOW),
            num_workers=workers,
        )
        return lambda seed: sum(len(batch) for batch in loader)

    many = arguments.workers
    speeds = {
        "naive, frames": measure(naive_frames, arguments.epochs),
        "naive, encoded": measure(naive_encoded, arguments.epochs),
        "shards, frames, 1 process": measure(load("shards", 0), arguments.epochs),
        f"shards, frames, {many} workers": measure(load("shards", many), arguments.epochs),
        "cache, encoded, 1 process": measure(load("cached", 0), arguments.epochs),
        f"cache, encoded, {many} workers": measure(load("cached", many), arguments.epochs),
    }
    naive = {name.split(", ")[1]: speed for name, speed in speeds.items() if "naive" in name}
    table = {
        name: {
            "windows a second": round(speed.windows, 2),
            "times the naive way": round(speed.windows / naive[name.split(", ")[1]].windows, 1),
            "CPU ms a window": round(speed.milliseconds, 1),
        }
        for name, speed in speeds.items()
    }
    return {**table, "arguments": vars(arguments)}


if __name__ == "__main__":
    main()
