"""Seams and drift of long videos with motion modules on: streamed, and by a call.

A seam is the change of the latents from frame to frame where windows meet, over that elsewhere.
Drift is how their mean and spread change from minute to minute. Streams without shared frames are
what both are to be told from. The weights are random unless a checkpoint is given: svp-tiny has no
motion modules.

    python benchmarks/seams.py --seconds 300
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from svp_diffusers import SVPTalkingHeadPipeline
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.pipelines.windows_svp import context_windows
from svp_diffusers.samples import PORTRAITS, SPEECH

FPS = 25
Made = tuple[NDArray[np.float32], list[int]]
"""Latents (frames, values), and the frames with which windows begin or end."""


def main() -> None:
    """Make the video in each way, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--model", help="checkpoint with motion modules; default: random weights")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.model:
        pipeline = SVPTalkingHeadPipeline.from_pretrained(arguments.model)
    else:
        pipeline = build_random_pipeline()
    if not pipeline.unet.config.motion_modules_enabled:
        parser.error("this checkpoint has no motion modules: its frames do not depend on another")
    pipeline.set_progress_bar_config(disable=True)
    samples, rate = soundfile.read(SPEECH[0], dtype="float32")
    length = round(arguments.seconds * rate)
    call = {
        "image": str(PORTRAITS[0]),
        "audio": np.resize(samples, length),
        "sampling_rate": rate,
        "find_face": False,
        "height": arguments.size,
        "width": arguments.size,
        "fps": FPS,
        "num_inference_steps": arguments.steps,
        "guidance_scale": 1.0,  # more predictions would tell nothing of seams
        "output_type": "latent",
    }
    ways: dict[str, Callable[[], Made]] = {
        "streamed": lambda: stream(pipeline, call),
        "a call": lambda: make(pipeline, call),
        "streamed, no shared frames": lambda: stream(pipeline, {**call, "context_overlap": 0}),
    }
    print("| | seam | mean of the minutes | spread of the minutes | took (s) |")
    print("|---" * 5 + "|")
    for name, way in ways.items():
        start = time.perf_counter()
        latents, joins = way()
        took = time.perf_counter() - start
        parts = np.array_split(latents, max(1, round(len(latents) / FPS / 60)))
        means = ", ".join(f"{part.mean():.3f}" for part in parts)
        spreads = ", ".join(f"{part.std():.3f}" for part in parts)
        seam = measure_seam(latents, joins)
        print(f"| {name} | {seam:.2f} | {means} | {spreads} | {took:.0f} |", flush=True)


def stream(pipeline: SVPTalkingHeadPipeline, call: dict[str, Any]) -> Made:
    """By `pipe.stream`."""
    finished = list(pipeline.stream(**call, generator=torch.Generator().manual_seed(0)))
    latents = torch.cat([each.frames for each in finished], dim=1)
    return flatten(latents), [each.first_frame for each in finished[1:]]


def make(pipeline: SVPTalkingHeadPipeline, call: dict[str, Any]) -> Made:
    """By a call, whose windows are blended."""
    latents = pipeline(**call, generator=torch.Generator().manual_seed(0)).frames[0]
    config = pipeline.config
    windows = context_windows(latents.shape[1], config.context_length, config.context_overlap)
    edges = {start for start, _ in windows[1:]} | {stop for _, stop in windows[:-1]}
    return flatten(latents), sorted(edges)


def flatten(latents: torch.Tensor) -> NDArray[np.float32]:
    """(channels, frames, height, width) to (frames, values)."""
    flat: NDArray[np.float32] = latents.transpose(0, 1).flatten(1).float().numpy()
    return flat


def measure_seam(latents: NDArray[np.float32], joins: list[int]) -> float:
    """The mean change with which the frames of joins come, over that of all others."""
    changes = np.abs(np.diff(latents, axis=0)).mean(axis=1)
    at_join = np.zeros(len(changes), bool)
    at_join[[frame - 1 for frame in joins]] = True
    return float(changes[at_join].mean() / changes[~at_join].mean())


if __name__ == "__main__":
    main()
