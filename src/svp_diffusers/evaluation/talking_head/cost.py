"""What a video costs: seconds a second of it, the wait for its first frame, and memory.

Measured in a process of its own, so that the memory is that of generating one clip and nothing
else. Brackets hold the fastest and the slowest run, not an interval over people.
"""

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from svp_diffusers.checkpoints.loading import load_pipeline
from svp_diffusers.data.workers import open_pool
from svp_diffusers.evaluation.talking_head.clips import TrueClip
from svp_diffusers.evaluation.talking_head.generation import call_arguments
from svp_diffusers.evaluation.talking_head.table import PartResult, Row
from svp_diffusers.measures.intervals import Estimate
from svp_diffusers.pipelines.output_svp import SVPTalkingHeadPipelineOutput

STEPS = (2, 4, 8)
RUNS = 3


@dataclass(frozen=True)
class Cost:
    """Seconds of each run by (steps, guided), to the first frame, and peaks in MiB."""

    seconds: dict[tuple[int, bool], list[float]]
    first_frame: list[float]
    memory: float
    device_memory: float | None


def evaluate_cost(
    checkpoint: Path, clip: TrueClip, options: dict[str, Any], device: torch.device, dtype: str
) -> PartResult:
    """Make one clip by different numbers of steps, without guidance and with the checkpoint's.

    Args:
        checkpoint: folder.
        clip: what is made.
        options: of the pipeline's call.
        device: to run on.
        dtype: of the weights, a name of `DTYPES`.
    """
    threads = torch.get_num_threads()
    with open_pool(1) as pool:
        cost = pool.submit(measure_cost, checkpoint, clip, options, device, dtype, threads).result()
    duration = len(clip.frames) / float(clip.fps)
    rows = [
        _row(
            f"seconds a second of video, {steps} steps, {'' if guided else 'no '}guidance",
            [seconds / duration for seconds in runs],
        )
        for (steps, guided), runs in cost.seconds.items()
    ]
    rows.append(_row(f"seconds to the first frame of {duration:g} s", cost.first_frame))
    rows.append(_row("peak memory of the process (MiB)", [cost.memory]))
    if cost.device_memory is not None:
        rows.append(_row("peak memory of the device (MiB)", [cost.device_memory]))
    machine = {"device": str(device), "dtype": dtype, "threads": threads, "runs": RUNS}
    return PartResult(rows, machine)


def measure_cost(
    checkpoint: Path,
    clip: TrueClip,
    options: dict[str, Any],
    device: torch.device,
    dtype: str,
    threads: int,
) -> Cost:
    """Load the checkpoint and time it; the first run, which warms up, is not counted."""
    torch.set_num_threads(threads)
    pipeline = load_pipeline(checkpoint, device, dtype)
    pipeline.set_progress_bar_config(disable=True)
    arguments = call_arguments(clip) | options | {"style": clip.emotion}

    def generate(**changes: Any) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        made = pipeline(**(arguments | changes), generator=generator, output_type="latent")
        assert isinstance(made, SVPTalkingHeadPipelineOutput)
        return pipeline.decode_latents(made.frames[0], made.details[0])

    def make_video(**changes: Any) -> None:
        for part in generate(**changes):
            part.cpu()

    def make_first_frame() -> None:
        next(generate()).cpu()

    make_video()
    unguided = dict.fromkeys(("audio_guidance_scale", "style_guidance_scale"))
    seconds = {}
    for steps, guided in itertools.product(STEPS, (False, True)):
        changes = {} if guided else {"guidance_scale": 1.0, **unguided}
        seconds[steps, guided] = time_runs(
            partial(make_video, num_inference_steps=steps, **changes)
        )
    # ru_maxrss counts bytes on macOS and KiB elsewhere.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    on_device = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return Cost(seconds, time_runs(make_first_frame), memory, on_device)


def time_runs(run: Callable[[], None]) -> list[float]:
    """Seconds of each of `RUNS` runs."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _row(measure: str, values: list[float]) -> Row:
    figure = Estimate(statistics.median(values), min(values), max(values), people=1, clips=1)
    return Row("cost", measure, generated=figure)
