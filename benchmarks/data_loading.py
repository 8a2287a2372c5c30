"""How fast training is fed: the naive way beside shards, workers and the cache.

The naive way opens a video file for every window that training asks for, decodes it from its start,
resamples its sound, and runs the VAE and the speech encoder on the spot, in one process. All ways
serve the same windows of the same procedural talkers; the encoders are tiny, so with real ones the
cache is worth more than what is printed here.

    python benchmarks/data_loading.py --clips 24 --size 256
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from svp_diffusers.data.cache import cache_dataset, encode_frames
from svp_diffusers.data.loader import ClipDataset, ClipLoader, RandomWindow
from svp_diffusers.data.procedural.synthesis import SynthesisSettings, synthesise_dataset
from svp_diffusers.media.audio import Recording, read_audio, to_mono
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.pipelines.tiny import build_tiny_pipeline

WINDOW = 16


def read_naively(videos: list[Path], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One window of each video, in random order."""
    generator = np.random.default_rng(seed)
    for index in generator.permutation(len(videos)):
        frames = list(read_frames(videos[index]))
        start = int(generator.integers(len(frames) - WINDOW + 1))
        waveform = to_mono(read_audio(videos[index]))
        yield np.stack(frames[start : start + WINDOW]), waveform


def measure(epoch: Callable[[int], int], epochs: int) -> float:
    """Windows a second over some epochs, after one to warm up."""
    epoch(0)
    start = time.perf_counter()
    windows = sum(epoch(1 + number) for number in range(epochs))
    return windows / (time.perf_counter() - start)


def main() -> None:
    """Make the data, measure every way, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(compare(arguments, Path(temporary)), indent=1))


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Windows a second of every way, and their ratios to the naive one."""
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
    pipeline = build_tiny_pipeline()
    cache_dataset(shards, folder / "cached", pipeline)

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
    return {
        "windows a second": {name: round(speed, 2) for name, speed in speeds.items()},
        "ratio": {
            name: round(speed / speeds["naive, " + name.split(", ")[1]], 1)
            for name, speed in speeds.items()
        },
        "arguments": vars(arguments),
    }


if __name__ == "__main__":
    main()
