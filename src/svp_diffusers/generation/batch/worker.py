"""What makes the videos of a batch one after another, and holds the model that they share."""

import shutil
import time
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from svp_diffusers.generation.batch.report import FAILED, KEPT, MADE, Outcome
from svp_diffusers.generation.generate import LoadedCheckpoint, load_checkpoint, make_video
from svp_diffusers.generation.preparation import prepare_video
from svp_diffusers.generation.provenance import is_made
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.manifest import hash_folder
from svp_diffusers.media.output import atomic_folder

WORK_NAME = ".work"
"""Folder of a batch where videos are written: those in its folders without a dot are complete."""


@dataclass(frozen=True)
class Job:
    """A line to make.

    Attributes:
        line: its number.
        request: what to make; its output lies below the folder.
        folder: of the batch, absolute: workers may run elsewhere.
    """

    line: int
    request: GenerationRequest
    folder: Path

    @property
    def output(self) -> str:
        """The video, relative to the folder."""
        return self.request.output.relative_to(self.folder).as_posix()

    def end(self, result: str, seconds: float = 0.0, notes: str = "") -> Outcome:
        """What to report where nothing went wrong."""
        return Outcome(self.line, self.output, result, round(seconds, 2), notes=notes)

    def fail(self, error: str, message: str, notes: str = "") -> Outcome:
        """What to report where something did."""
        return Outcome(self.line, self.output, FAILED, 0.0, error, message, notes)


CheckpointKey = tuple[Path, torch.device, str | None, Path | None]
"""Arguments of `load_checkpoint`."""


class Worker:
    """Makes videos, with the model of the last one in memory.

    Args:
        device: of all whose lines name none; None is the best there is.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._detector = LandmarkFaceDetector()
        self._loaded: tuple[CheckpointKey, LoadedCheckpoint] | None = None
        self._hash = cache(hash_folder)

    def run(self, job: Job) -> Outcome:
        """Make a line's videos, unless they are there; whatever goes wrong is its outcome."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                start = time.monotonic()
                result = self._make(job)
                return job.end(result, time.monotonic() - start, _join(caught))
            except Exception as error:  # a line in thousands must not end the others
                return job.fail(type(error).__name__, str(error), _join(caught))

    def _make(self, job: Job) -> str:
        request = replace(job.request, device=job.request.device or self._device)
        if is_made(request, self._hash):
            return KEPT
        prepared = prepare_video(request, self._detector)
        checkpoint = self._load((prepared.folder, prepared.device, request.dtype, prepared.adapter))
        complete = job.folder / WORK_NAME / f"{job.line}"
        with atomic_folder(complete) as temporary:
            written = [temporary / path.relative_to(job.folder) for path in prepared.outputs]
            make_video(replace(prepared, outputs=written), checkpoint)
        move_files(complete, job.folder)
        return MADE

    def _load(self, key: CheckpointKey) -> LoadedCheckpoint:
        """The checkpoint in memory, loaded in place of another if it is not the same."""
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two might not fit
            self._loaded = key, load_checkpoint(*key)
        return self._loaded[1]


def move_files(complete: Path, folder: Path) -> None:
    """Move the files of a line from where they were written to the folder of the batch.

    Cut short, it can be repeated.
    """
    for path in sorted(complete.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(complete)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    shutil.rmtree(complete)


def _join(caught: list[warnings.WarningMessage]) -> str:
    return "; ".join(dict.fromkeys(str(each.message) for each in caught))
