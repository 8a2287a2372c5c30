"""Damaged files through everything that reads files: `python -m tests.fuzz.run --files 20000`.

Each is read in a process of its own kind, which ends alone where a library ends it. What counts as
a failure: any error but our own, a process that dies, more than 5 seconds or 1 GB for a file. A
failure is named by its kind and number, which make the same file again (`--only KIND NUMBER`).
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

from svp_diffusers.errors import SVPError

from .damage import damage
from .files import Kind, make_kinds

SECONDS, BYTES = 5.0, 2**30


@dataclass(frozen=True)
class Failure:
    """What went wrong with one file."""

    kind: str
    number: int
    problem: str


def make_file(kind: Kind, number: int, seed: int) -> bytes:
    """The damaged content of a kind, by its number."""
    generator = np.random.default_rng([seed, number, *kind.name.encode()])
    return damage(kind.content, kind.is_text, generator)


def read_files(connection: Connection, folder: Path, kind: Kind, numbers: range, seed: int) -> None:
    """Read files of one kind, and tell before and after each; the task of a process."""
    av.logging.set_level(av.logging.PANIC)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and libpng talk
    os.chdir(folder)
    for number in numbers:
        (folder / kind.name).write_bytes(make_file(kind, number, seed))
        connection.send((number, None))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            kind.read(folder / kind.name)
            result = "read"
        except SVPError as error:
            result = "refused" if str(error) else "an error without a word"
        except BaseException:
            result = traceback.format_exc(limit=-4)
        taken = time.process_time() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if taken > SECONDS:
            result = f"it took {taken:.1f} s"
        if grown * 1024 > BYTES:
            result = f"it took {grown >> 10} MB"
        connection.send((number, result))


def fuzz_kind(kind: Kind, folder: Path, numbers: range, seed: int) -> Iterator[tuple[int, str]]:
    """Number and result of every file of a kind, whatever becomes of the processes."""
    context = multiprocessing.get_context("fork")
    while numbers:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=read_files, args=(theirs, folder, kind, numbers, seed))
        process.start()
        theirs.close()
        current, problem = numbers.start, ""
        try:
            while numbers:
                if not ours.poll(20 * SECONDS):
                    problem = f"it did not end within {20 * SECONDS:.0f} s"
                    break
                current, result = ours.recv()
                if result is not None:
                    yield current, result
                    numbers = range(current + 1, numbers.stop)
        except EOFError:
            process.join()
            problem = f"the process died ({process.exitcode})"
        finally:
            process.kill()
            process.join()
        if problem:
            yield current, problem
            numbers = range(current + 1, numbers.stop)


def write_kinds(folder: Path) -> list[Kind]:
    """All kinds, each as a file in the folder."""
    kinds = make_kinds(folder)
    for kind in kinds:
        (folder / kind.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / kind.name).write_bytes(kind.content)
    return kinds


def fuzz(
    files: int,
    seed: int,
    seconds: float = float("inf"),
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Counter[str], list[Failure]]:
    """Results by kind and outcome, and the failures, of so many files of all kinds together."""
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kinds = write_kinds(folder)
        for kind in kinds:
            kind.read(folder / kind.name)  # whole, it is read
            (folder / kind.name).write_bytes(kind.content)
        each = -(-files // len(kinds))
        for place, kind in enumerate(kinds):
            stop = time.monotonic() + (end - time.monotonic()) / (len(kinds) - place)
            for number, result in fuzz_kind(kind, folder, range(each), seed):
                known = result in ("read", "refused")
                counts[f"{kind.name}: {result if known else 'FAILED'}"] += 1
                if not known:
                    failures.append(Failure(kind.name, number, result))
                    report(f"== {kind.name} {number}: {result}")
                if time.monotonic() > stop:
                    break
            (folder / kind.name).write_bytes(kind.content)
            report(f"{kind.name}: done")
    return counts, failures


def main() -> None:
    """Fuzz, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"))
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            kinds = {kind.name: kind for kind in make_kinds(Path(folder))}
        kind = kinds[options.only[0]]
        Path(Path(kind.name).name).write_bytes(make_file(kind, int(options.only[1]), options.seed))
        return
    start = time.monotonic()
    counts, failures = fuzz(
        options.files, options.seed, report=lambda line: print(line, flush=True)
    )
    for name, number in sorted(counts.items()):
        print(f"{number:6} {name}")
    total = sum(counts.values())
    print(f"{total} files, {len(failures)} failures, {time.monotonic() - start:.0f} s")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
