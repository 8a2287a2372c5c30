"""What length costs `svp generate`: peak memory and seconds for each second of video.

One sample is said again and again. Each length is a process of its own; loading is in its times,
and not in the last column, which says what a second more costs. A machine that is shared is now
faster, now slower: so the longest video is stopped now and then, and the others are made again; the
table has their means, and the highest peaks. What is written: a graph of memory over time.

    python benchmarks/long_recordings.py --seconds 10 60 3600 --again-every 400 --graph graph.png
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.samples import PORTRAITS, SPEECH

INTERVAL = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Run:
    """One video: how long its speech is, how long it took, and the memory over time in MiB.

    What processors computed depends less on what else they have to do than the time it took.
    """

    seconds: float
    took: float
    computed: float
    times: list[float]
    memory: list[float]

    @property
    def peak(self) -> float:
        """Of the memory, in MiB."""
        return max(self.memory)


def main() -> None:
    """Make a video of each length, print the table and draw the graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0, 600.0])
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument(
        "--cheap", action="store_true", help="random weights, few pixels and frames"
    )
    parser.add_argument("--fps", type=float, help="default: the checkpoint's; with --cheap, 5")
    parser.add_argument("--again-every", type=float, help="seconds of the processor")
    parser.add_argument("--graph", type=Path)
    arguments = parser.parse_args()
    print(
        "| speech (s) (videos) | peak memory (MiB) | of the first | took (s) | of processors (s) "
        "| of these for a further second |"
    )
    print("|---" * 6 + "|")
    *shorter, longest = sorted(arguments.seconds)
    runs: dict[float, list[Run]] = {seconds: [] for seconds in (*shorter, longest)}
    with tempfile.TemporaryDirectory() as folder:
        options = ["--model", arguments.model] if arguments.model else []
        if arguments.cheap:
            options = make_cheap(Path(folder), arguments.fps or 5.0)
        elif arguments.fps:
            options += ["--fps", f"{arguments.fps:g}"]

        def make_shorter() -> None:
            for seconds in shorter:
                runs[seconds].append(measure(seconds, options, Path(folder)))

        make_shorter()
        runs[longest].append(
            measure(longest, options, Path(folder), arguments.again_every, make_shorter)
        )
    first, before = max(run.peak for run in runs[min(runs)]), Run(0, 0, 0, [], [0])
    for seconds, made in runs.items():
        peak, took, computed = max(run.peak for run in made), made[-1].took, mean_computed(made)
        further = (computed - before.computed) / (seconds - before.seconds)
        before = Run(seconds, took, computed, [], [])
        print(
            f"| {seconds:g} ({len(made)}) | {peak:.0f} | {peak / first:.3f} | {took:.0f} "
            f"| {computed:.0f} | {further:.3f} |"
        )
    if arguments.graph:
        draw([made[0] for made in runs.values()], arguments.graph)


def mean_computed(runs: list[Run]) -> float:
    """Seconds of processors, on average."""
    return float(np.mean([run.computed for run in runs]))


def make_cheap(folder: Path, fps: float) -> list[str]:
    """Options for a checkpoint of random weights without motion modules, 64 pixels, one step, and
    windows so short that 10 s of speech fill one."""
    pipeline = build_random_pipeline()
    pipeline.unet.enable_motion_modules(False)
    pipeline.save_pretrained(folder / "cheap")
    numbers = "--size 64 --steps 1 --guidance-scale 1 --no-detect-face"
    windows = "--context-length 8 --context-overlap 2"
    return [
        *("--model", str(folder / "cheap"), "--fps", f"{fps:g}"),
        *f"{numbers} {windows}".split(),
    ]


def measure(
    seconds: float,
    options: list[str],
    folder: Path,
    every: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Run:
    """Make a video and watch its process.

    Args:
        seconds: of speech.
        options: of the command.
        folder: for files.
        every: seconds of the processor after which the process is stopped for a while.
        meanwhile: what is done then.
    """
    speech, video = folder / f"{seconds:g}.wav", folder / f"{seconds:g}.mp4"
    write_speech(speech, seconds)
    command = [sys.executable, "-m", "svp_diffusers", "generate", str(PORTRAITS[0]), str(speech)]
    start = time.perf_counter()
    times: list[float] = []
    memory: list[float] = []
    computed, stopped, last = 0.0, 0.0, 0.0
    with (folder / f"{seconds:g}.txt").open("w+") as log:
        process = psutil.Popen([*command, "-o", str(video), *options], stdout=log, stderr=log)
        while process.poll() is None:
            try:
                memory.append(process.memory_info().rss / 2**20)
                computed = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                break
            times.append(time.perf_counter() - start - stopped)
            if every is not None and computed - last > every:
                process.send_signal(signal.SIGSTOP)
                since, last = time.perf_counter(), computed
                meanwhile()
                stopped += time.perf_counter() - since
                process.send_signal(signal.SIGCONT)
            time.sleep(INTERVAL)
        if process.wait() != 0:
            log.seek(0)
            raise RuntimeError(log.read())
    return Run(seconds, time.perf_counter() - start - stopped, computed, times, memory)


def write_speech(path: Path, seconds: float) -> None:
    """Write a sample again and again, a piece at a time."""
    samples, rate = soundfile.read(SPEECH[0], dtype="float32")
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        while left > 0:
            file.write(samples[:left])
            left -= len(samples)


def draw(runs: list[Run], path: Path) -> None:
    """Memory over the share of the work that is done, one line a length."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for run in runs:
        shares = np.array(run.times) / run.took
        axes.plot(shares, run.memory, label=f"{run.seconds:g} s of speech, {run.took:.0f} s")
    axes.set(xlabel="share of the time", ylabel="resident memory (MiB)", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
