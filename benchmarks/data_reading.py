"""How much is read for one clip of a batch: the parts that training takes, beside whole clips.

Clips as long and large as real ones, with random content: 250 frames, latents of 64 x 64, sound
embeddings of 768 numbers, JPEG frames of 512 pixels.

    python benchmarks/data_reading.py
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from svp_diffusers.data.clips import ClipSample, encode_clip
from svp_diffusers.data.frames import FrameDataset
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration

FRAMES, FPS = 250, 25
CLIPS = 4


def make_sample(number: int) -> ClipSample:
    """A cached clip of ten seconds."""
    random = np.random.default_rng(number)
    return ClipSample(
        key=f"clip{number}",
        fps=Fraction(FPS),
        waveform=random.uniform(-0.1, 0.1, FRAMES // FPS * 16_000).astype(np.float32),
        metadata={"split": "train", "speaker": "one"},
        head_keypoints=random.uniform(0, 512, (FRAMES, 8, 2)).astype(np.float32),
        expression=random.uniform(0, 1, (FRAMES, 52)).astype(np.float32),
        expression_space="arkit52",
        latents=random.normal(size=(FRAMES, 4, 64, 64)).astype(np.float16),
        audio_embeddings=random.normal(size=(2 * FRAMES, 768)).astype(np.float16),
    )


def make_pictures(sample: ClipSample) -> ClipSample:
    """The same clip before it was cached."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (FRAMES, 64, 64, 3), np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return replace(sample, latents=None, audio_embeddings=None, frames=frames)


def write(folder: Path, samples: list[ClipSample]) -> ClipDataset:
    """A dataset of these clips."""
    with ShardWriter(folder) as writer:
        for sample in samples:
            writer.write(encode_clip(sample))
    return ClipDataset(str(folder))


def count_bytes() -> int:
    """Bytes that this process has read so far, from memory or disk."""
    counters = psutil.Process().io_counters()
    return int(counters.read_chars)


def measure(read: Callable[[int], object], times: int) -> dict[str, float]:
    """KiB and milliseconds of one call."""
    read(0)
    begin, start = count_bytes(), time.perf_counter()
    for number in range(1, times + 1):
        read(number)
    return {
        "KiB": round((count_bytes() - begin) / times / 1024, 1),
        "ms": round(1000 * (time.perf_counter() - start) / times, 2),
    }


def main() -> None:
    """Make the data, measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as temporary:
        samples = [make_sample(number) for number in range(CLIPS)]
        cached = write(Path(temporary) / "cached", samples)
        write(Path(temporary) / "frames", [make_pictures(samples[0])])
        frames = FrameDataset(str(Path(temporary) / "frames"), "train")
        encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52", audio_dim=768)
        results = {
            "whole cached clip": measure(lambda n: cached[n % CLIPS].decode(sound=False), times),
            "whole clip of JPEG frames": measure(lambda n: frames.clips[0], times),
            "a JPEG frame": measure(lambda n: frames.read(np.array([n % FRAMES])), times),
        }
        for number, consecutive in ((1, False), (12, True)):
            configuration = ImageTrainingConfiguration(
                data="", pipeline="", output_dir="", clips_per_batch=1, frames_per_clip=number
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # styles are encoded here, which is not measured
                batches = DenoisingBatches(cached, encoder, configuration, 2, consecutive)
            name = f"{number} frames of a cached clip, and a reference"
            results[name] = measure(lambda n, b=batches: b(n, 0, 1), times)  # type: ignore[misc]
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
