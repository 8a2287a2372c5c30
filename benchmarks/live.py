"""When each frame of live speech is there: pieces of 40 ms come in real time, as of a microphone.

A frame is made once 0.2 s of sound beyond it have come; what it takes longer is the computer's.
Who is late is given all that was said meanwhile, as a microphone's buffer does, and makes more
frames at once. What is printed: how long after the end of its sound the first frame came, the
median and the last, how many frames came at once, and the processor's seconds for one of video.

    python benchmarks/live.py --seconds 5 --threads 2
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline
from svp_diffusers.checkpoints.precision import PRECISIONS, open_precision, select_precision
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.media.audio import read_audio
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAITS, SPEECH

PIECE_SECONDS = 0.04


def main() -> None:
    """Speak in real time and print when frames came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--cheap", action="store_true", help="random weights and few pixels")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--precision", choices=PRECISIONS, help="default: the processor's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options: dict[str, object] = {}
    device = torch.device("cpu")
    precision = select_precision(arguments.precision, device)
    if arguments.cheap:
        pipeline = build_random_pipeline()
        pipeline.unet.enable_motion_modules(False)
        options = {"height": 64, "width": 64, "num_inference_steps": 1, "guidance_scale": 1.0}
    else:
        pipeline = load_pipeline(find_checkpoint(arguments.model), device, precision)
    with open_precision(precision, device):
        listen(pipeline, 1.0, options)  # what is slow the first time is not measured
        start = time.process_time()
        delays, at_once = listen(pipeline, arguments.seconds, options)
        computed = (time.process_time() - start) / arguments.seconds
    print("| threads | frames | first (s) | median (s) | last (s) | at once | processor s per s |")
    print("|---" * 7 + "|")
    print(
        f"| {arguments.threads} | {len(delays)} | {delays[0]:.2f} | {np.median(delays):.2f} | "
        f"{delays[-1]:.2f} | {at_once:.1f} | {computed:.2f} |"
    )


def listen(
    pipeline: SVPTalkingHeadPipeline, seconds: float, options: dict[str, object]
) -> tuple[list[float], float]:
    """Seconds from the end of each frame's sound to when it was there; how many came at once."""
    started: list[float] = []
    chunks = pipeline.stream(
        Image.open(PORTRAITS[0]),
        speak(seconds, started),
        "neutral" if pipeline.style_encoder.style_bank else None,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **options,
    )
    delays: list[float] = []
    pieces = 0
    for chunk in chunks:
        pieces += 1
        now = time.perf_counter() - started[0]
        for frame in range(chunk.first_frame, chunk.first_frame + len(chunk.frames)):
            delays.append(now - (frame + 1) / float(pipeline.config.fps))
    return delays, len(delays) / pieces


def speak(seconds: float, started: list[float]) -> Iterator[np.ndarray]:
    """A sample, again and again: what has been said since the last piece, 40 ms at least."""
    recording = read_audio(SPEECH[0])
    size = round(PIECE_SECONDS * recording.sampling_rate)
    samples = np.resize(recording.samples[0], round(seconds * recording.sampling_rate))
    started.append(time.perf_counter())
    given = 0
    while given * size < len(samples):
        due = int((time.perf_counter() - started[0]) / PIECE_SECONDS)
        if due <= given:
            time.sleep(started[0] + (given + 1) * PIECE_SECONDS - time.perf_counter())
            due = given + 1
        yield samples[given * size : due * size]
        given = due


if __name__ == "__main__":
    main()
