"""Prepare many videos: in parallel, resumable after any interruption, every input reported."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from svp_diffusers.data.preparation.analysis import MakeDetector
from svp_diffusers.data.preparation.recording import (
    PartOutcome,
    VideoOutcome,
    prepare_video,
    read_outcome,
    refuse_video,
)
from svp_diffusers.data.preparation.report import write_report
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason
from svp_diffusers.data.preparation.sources import Source
from svp_diffusers.data.ray_cluster import RayCluster, Row
from svp_diffusers.data.shards import INDEX_NAME, ShardWriter, parse_clip, read_index
from svp_diffusers.data.workers import open_pool
from svp_diffusers.errors import DatasetError
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold

WORK_NAME = "work"


@dataclass(frozen=True)
class Job:
    """One call of `prepare_video`; `directory` names the inputs and the settings of it."""

    source: Source
    settings: PreparationSettings
    directory: Path
    make_detector: MakeDetector | None

    def run(self) -> None:
        """Prepare the video, over what an interrupted run left in the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
        prepare_video(self.source, self.settings, self.directory, self.make_detector)

    def refuse(self) -> None:
        """Leave an outcome that says that the video cannot be prepared."""
        shutil.rmtree(self.directory, ignore_errors=True)
        refuse_video(
            self.source,
            self.directory,
            "the process that read it died, of the file or for want of memory",
        )


Execute = Callable[[Sequence[Job]], Iterator[None]]
"""Runs all jobs and yields once for each that is finished."""


def prepare(
    sources: Sequence[Source],
    directory: Path,
    settings: PreparationSettings,
    make_detector: MakeDetector | None,
    execute: Execute,
    report_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[VideoOutcome]:
    """Turn videos into a dataset of shards with `report.csv` and `report.html` beside them.

    Each video is first turned into a small dataset of its own under `directory/work`, named by all
    that it depends on; called again after an interruption, finished videos are taken from there,
    and the result is the same. Then all are joined in the order of `sources`.

    Args:
        sources: what to prepare; those inside `directory` are passed over.
        directory: where to.
        settings: sizes, rates and limits.
        make_detector: finds faces in sources without a face file; must pickle.
        execute: runs the jobs: `in_processes(n)` or `on_ray(address)`.
        report_progress: called with the number of videos done and of all.

    Returns:
        What became of each video, in order.

    Raises:
        DatasetError: the directory holds a finished dataset, or no clip is usable (the report is
            written all the same).
        OutputError: the directory cannot be written, or another process prepares there.
    """
    with hold(directory, "preparation", patience=WORK_PATIENCE_SECONDS):
        return _prepare(sources, directory, settings, make_detector, execute, report_progress)


def _prepare(
    sources: Sequence[Source],
    directory: Path,
    settings: PreparationSettings,
    make_detector: MakeDetector | None,
    execute: Execute,
    report_progress: Callable[[int, int], None],
) -> list[VideoOutcome]:
    work = directory.absolute() / WORK_NAME  # workers may run elsewhere
    if (directory / INDEX_NAME).exists():
        if work.exists():  # interrupted between its last two steps
            shutil.rmtree(work)
        raise DatasetError(f"{directory} already holds a finished dataset; choose another folder")
    jobs = [
        Job(source, settings, work / _name_job(source, settings), make_detector)
        for source in sources
        if directory.absolute() not in source.path.parents
    ]
    waiting = [job for job in jobs if read_outcome(job.directory) is None]
    done = len(jobs) - len(waiting)
    report_progress(done, len(jobs))
    for _ in execute(waiting):
        done += 1
        report_progress(done, len(jobs))
    with ShardWriter(directory) as writer:
        outcomes = _join(jobs, writer)
        write_report(outcomes, directory)
        if not any(part.key for outcome in outcomes for part in outcome.parts):
            raise DatasetError(f"no usable clip; {directory / 'report.html'} says why")
    shutil.rmtree(work)
    return outcomes


def in_processes(workers: int) -> Execute:
    """Run jobs in `workers` processes of this machine.

    Where one dies, what is left is run again, each job in a process of its own; a video that ends
    that one too is refused, and the others go on.
    """

    def execute(jobs: Sequence[Job]) -> Iterator[None]:
        finished = set()
        with open_pool(workers) as pool:
            futures = {pool.submit(job.run): job for job in jobs}
            try:
                for future in as_completed(futures):
                    future.result()
                    finished.add(future)
                    yield
            except BrokenProcessPool:
                pass
            finally:
                pool.shutdown(cancel_futures=True)
        for job in (job for future, job in futures.items() if future not in finished):
            with open_pool(1) as pool:
                try:
                    pool.submit(job.run).result()
                except BrokenProcessPool:
                    job.refuse()
            yield

    return execute


def on_ray(address: str) -> Execute:
    """Run jobs on a Ray cluster.

    Args:
        address: see `RayCluster`.

    Raises:
        MissingDependencyError: ray is not installed.
        ConfigurationError: there is no cluster at the address (once it is used).
    """
    cluster = RayCluster(address)

    def execute(jobs: Sequence[Job]) -> Iterator[None]:
        def run_row(row: Row) -> Row:
            jobs[row["id"]].run()
            return row

        for _ in cluster.map(len(jobs), run_row):
            yield

    return execute


def _join(jobs: Sequence[Job], writer: ShardWriter) -> list[VideoOutcome]:
    first_path: dict[str, str] = {}
    outcomes = []
    for job in jobs:
        outcome = read_outcome(job.directory)
        assert outcome is not None
        same = first_path.setdefault(outcome.sha256, outcome.path)
        if same != outcome.path:
            detail = f"same content as {same}"
            part = PartOutcome(None, None, None, Reason.DUPLICATE.value, detail, "")
            outcomes.append(replace(outcome, parts=(part,)))
            continue
        for entry in read_index(job.directory).clips:
            with (job.directory / entry.shard).open("rb") as stream:
                stream.seek(entry.offset)
                writer.write(parse_clip(stream.read(entry.bytes), entry))
        outcomes.append(outcome)
    return outcomes


def _name_job(source: Source, settings: PreparationSettings) -> str:
    """Digest of all that the result depends on; files count by name, size and time of change."""

    def describe(path: Path | None) -> list[str | int] | None:
        if path is None or not path.exists():
            return None
        state = path.stat()
        return [str(path), state.st_size, state.st_mtime_ns]

    parts = [
        describe(source.path),
        describe(source.face_file),
        describe(source.expression_file),
        dict(source.metadata),
        {name: str(value) for name, value in asdict(settings).items()},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
