"""Kill every command at random moments, and repeat it: `python -m tests.kills.run --points 20`.

A command is run whole, twice. Then it is killed (`kill -9`) at so many moments from its start to
its end, and repeated. What counts as a failure: a file of the killed run that has its final name
but is neither whole nor what it was before; a repetition that fails, or leaves other bytes or other
files, hidden ones too, than the whole run; a process of the command that outlives it by 20 seconds.
At the end the command is started twice at once: each ends well or says that another is at work, and
what is there is what one would have left.

Processes are forked from one that has imported everything: a moment of import is no moment at all.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from loopback import TOKEN, LoopbackHub, serve

from .commands import Command, make_commands, write_inputs

Files = dict[str, bytes]
SECONDS_TO_END = 20.0  # of the processes that a killed one started
SECONDS_AT_MOST = 300.0
GROWING = "metrics.jsonl"  # line by line


def run_svp(arguments: list[str], log: Path) -> None:
    """`svp` with these arguments; the task of a process."""
    from svp_diffusers.cli.main import main

    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["svp", *arguments]
    main()


@dataclass
class Trial:
    """One command on a folder of its own, and what was found wrong with it."""

    command: Command
    folder: Path  # that holds the command's own
    hub: LoopbackHub
    problems: list[str] = field(default_factory=list)

    @property
    def own(self) -> Path:
        """Where the command writes, always of the same name: it may be in what is written."""
        return self.folder / "out"

    def clear(self) -> None:
        """Have everything as before the command."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.own.mkdir(parents=True)
        self.hub.repositories.pop("a/out", None)
        if self.command.prepare is not None:
            self.command.prepare(self.own)

    def start(self, again: bool = False, log: str = "log") -> BaseProcess:
        """Start the command, or its repetition."""
        write = self.command.again if again and self.command.again else self.command.arguments
        arguments = list(map(str, write(self.own)))
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=run_svp, args=(arguments, self._log(log)))
        process.start()
        return process

    def _log(self, name: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{name}")

    def end(self, process: BaseProcess) -> int:
        """Wait for a process; its exit status."""
        process.join(SECONDS_AT_MOST)
        if process.exitcode is None:
            process.kill()
            process.join()
            return 124
        return process.exitcode

    def said(self, log: str = "log") -> str:
        """The last that a process said."""
        return " ".join(self._log(log).read_text(errors="replace").split())[-300:]

    def look(self) -> Files:
        """Everything that is there, hidden files too."""
        files = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        if self.command.varying:
            files |= {name: b"" for name in files if name.endswith(self.command.varying)}
        if "a/out" in self.hub.repositories:
            pushed = self.hub.files("a/out")
            files |= {f"hub:{name}": content for name, content in pushed.items()}
        return files

    def run(self) -> tuple[Files, float]:
        """What the whole command leaves, and the seconds it takes."""
        self.clear()
        start = time.monotonic()
        status = self.end(self.start())
        if status:
            self.problems.append(f"it ends with status {status}: {self.said()}")
        return self.look(), time.monotonic() - start

    def kill(self, after: float, whole: Files) -> None:
        """Kill the command after so many seconds, look, and repeat it."""
        self.clear()
        before = self.look()
        process = self.start()
        process.join(after)
        try:
            started = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            started = []
        process.kill()
        process.join()
        _, alive = psutil.wait_procs(started, timeout=SECONDS_TO_END)
        moment = f"killed after {after:.2f} s"
        self.problems += [f"{moment}: {each.name()} lives on" for each in alive]
        found = self.look()
        for name in sorted(set(found) & set(whole)):
            if any(part.startswith(".") for part in Path(name).parts):
                continue
            if found[name] not in (whole[name], before.get(name)) and not name.endswith(GROWING):
                self.problems.append(f"{moment}: {name} is half-written")
        status = self.end(self.start(again=True))
        if status and found != whole:
            self.problems.append(f"{moment}, repeated: status {status}: {self.said()}")
        self.problems += [f"{moment}, repeated: {each}" for each in compare(whole, self.look())]

    def run_twice(self, apart: float, whole: Files) -> None:
        """Start the command twice, so many seconds apart."""
        self.clear()
        first = self.start()
        first.join(apart)
        second = self.start(log="other")
        for process, log in ((first, "log"), (second, "other")):
            if self.end(process) and not any(
                text in self.said(log)
                for text in ("another process", "already", "no other style has")
            ):
                self.problems.append(f"two at once: {self.said(log)}")
        self.problems += [f"two at once: {each}" for each in compare(whole, self.look())]


def compare(whole: Files, found: Files) -> Iterator[str]:
    """How what is there differs from what should be."""
    for name in sorted(set(whole) | set(found)):
        if name not in found:
            yield f"{name} is missing"
        elif name not in whole:
            yield f"{name} is left"
        elif whole[name] != found[name]:
            yield f"{name} differs"


def try_command(trial: Trial, points: int, generator: random.Random) -> str:
    """Kill a command at so many points; what was done."""
    whole, _ = trial.run()
    again, seconds = trial.run()
    trial.problems += [f"run again: {each}" for each in compare(whole, again)]
    if trial.problems:
        return f"{seconds:.1f} s, not killed"
    for point in range(points):
        trial.kill(seconds * (point + generator.random()) / points, whole)
    trial.run_twice(seconds * generator.random() / 2, whole)
    return f"{seconds:.1f} s, killed {points} times, then twice at once"


def main() -> None:
    """Try all commands, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary, serve() as hub:
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": f"{temporary}/hub", "HF_TOKEN": TOKEN}
        os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        hub.upload_delay = 0.05
        multiprocessing.get_context("forkserver").set_forkserver_preload(
            [f"{__package__}.commands"]
        )
        inputs = Path(temporary, "inputs")
        inputs.mkdir()
        write_inputs(inputs)
        commands = {command.name: command for command in make_commands(inputs)}
        for command in map(commands.__getitem__, options.only or commands):
            trial = Trial(command, Path(temporary, command.name.replace(" ", "-")), hub)
            generator = random.Random(f"{options.seed} {command.name}")
            done = try_command(trial, options.points, generator)
            print(
                f"{command.name}: {done}: {len(trial.problems)} failures",
                *trial.problems[:20],
                sep="\n  ",
                flush=True,
            )
            failed |= bool(trial.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
