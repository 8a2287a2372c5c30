"""How long a second of video takes to sample: steps, guidance, number formats, compiling, threads.

Every way makes the same clip. Loading is not in the times; compiling is, in a column of its own.
What is printed: a table, with the gain of each way over the first checkpoint in float32, on as many
threads and with as many steps, in seconds of the processor, which other programs hardly change. A
teacher and the student that its guidance was distilled into:

    python benchmarks/sampling.py --models svp-tiny distil/pipeline --seconds 2
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline, name_checkpoint
from svp_diffusers.checkpoints.precision import PRECISIONS, open_precision
from svp_diffusers.media.keypoints import draw_head_keypoints
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

CPU = torch.device("cpu")
GUIDANCE = {"none": 1.0, "default": None}  # the joint scale: without it, the checkpoint's own


def main() -> None:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["svp-tiny"], help="checkpoints")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--guidance", nargs="+", choices=GUIDANCE, default=list(GUIDANCE))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, default=["float32", "mixed", "bfloat16"]
    )
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    columns = ("checkpoint", "threads", "numbers", "compiled", "steps", "guidance")
    figures = ("predictions a step", "s per s", "processor s per s", "gain", "first run (s)")
    print(f"| {' | '.join((*columns, *figures))} |")
    print("|---" * len((*columns, *figures)) + "|")
    plain: dict[tuple[int, int, str], float] = {}
    for threads, numbers, compiled, model in itertools.product(
        arguments.threads,
        arguments.precisions,
        [False] + [True] * (not arguments.no_compile),
        arguments.models,
    ):
        torch.set_num_threads(threads)
        pipeline = prepare(find_checkpoint(model), numbers, compiled)
        for steps, guidance in itertools.product(arguments.steps, arguments.guidance):
            first, best, computed = measure(pipeline, numbers, steps, guidance, arguments)
            key = (threads, steps, guidance)
            plain.setdefault(key, computed)  # the first format, not compiled, comes first
            print(
                f"| {name_checkpoint(model)} | {threads} | {numbers} | "
                f"{'yes' if compiled else 'no'} | {steps} | {guidance} | "
                f"{count_predictions(pipeline, guidance)} | {best / arguments.seconds:.2f} | "
                f"{computed / arguments.seconds:.2f} | {plain[key] / computed:.2f} | "
                f"{first:.1f} |",
                flush=True,
            )


def count_predictions(pipeline: SVPTalkingHeadPipeline, guidance: str) -> int:
    """Evaluations of the UNet in a step."""
    scales = pipeline.fill_guidance_scales(GUIDANCE[guidance])
    return len(pipeline.plan_passes(*scales))


def prepare(folder: Path, numbers: str, compiled: bool) -> SVPTalkingHeadPipeline:
    """Load the checkpoint, and compile what runs often."""
    pipeline = load_pipeline(folder, CPU, numbers)
    pipeline.set_progress_bar_config(disable=True)
    if compiled:
        torch.compiler.reset()
        pipeline.unet.compile()
        pipeline.vae.decoder.compile()
    return pipeline


def measure(
    pipeline: SVPTalkingHeadPipeline,
    numbers: str,
    steps: int,
    guidance: str,
    arguments: argparse.Namespace,
) -> tuple[float, float, float]:
    """Seconds of the first run, and of the fastest of the others, and the processor's of one."""
    call = make_call(pipeline, arguments.seconds)
    seconds, computed = [], []
    for _ in range(1 + arguments.runs):
        start, started = time.perf_counter(), time.process_time()
        with open_precision(numbers, CPU):
            pipeline(
                **call,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE[guidance],
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            )
        seconds.append(time.perf_counter() - start)
        computed.append(time.process_time() - started)
    return seconds[0], min(seconds[1:]), min(computed[1:])


def make_call(pipeline: SVPTalkingHeadPipeline, seconds: float) -> dict[str, Any]:
    """A clip of noise: what is seen and heard does not change the time."""
    random = np.random.default_rng(0)
    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    frames = round(25 * seconds)
    keypoints = random.uniform(0, size, (frames, 8, 2)).astype(np.float32)
    return {
        "image": random.uniform(size=(size, size, 3)).astype(np.float32),
        "audio": 0.1 * random.standard_normal(round(16_000 * seconds)).astype(np.float32),
        "head_keypoints": draw_head_keypoints(keypoints, size, size),
    }


if __name__ == "__main__":
    main()
