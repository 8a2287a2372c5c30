"""The workers of a batch: processes of this machine, or actors of a Ray cluster."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import torch

from svp_diffusers.data.ray_cluster import RayCluster, Row
from svp_diffusers.data.workers import open_pool
from svp_diffusers.generation.batch.report import Outcome
from svp_diffusers.generation.batch.run import Execute
from svp_diffusers.generation.batch.worker import Job, Worker

_worker: Worker
"""Of a process of `in_processes`, which has no other task."""


def in_processes(workers: int, devices: Sequence[str | None] = (None,)) -> Execute:
    """Make videos in processes of this machine, each with its model; the cores are shared out.

    A process that is killed, most likely for want of memory, is replaced; its line has failed.

    Args:
        workers: processes.
        devices: of the processes, in turn; None is the best there is.
    """
    threads = max(1, torch.get_num_threads() // workers)

    def execute(jobs: Sequence[Job]) -> Iterator[Outcome]:
        waiting = iter(jobs)
        places = [devices[number % len(devices)] for number in range(min(workers, len(jobs)))]
        pools = [_open(place, threads) for place in places]
        running: dict[Future[Outcome], tuple[int, Job]] = {}

        def submit(number: int) -> None:
            job = next(waiting, None)
            if job is not None:
                running[pools[number].submit(_run, job)] = number, job

        try:
            for number in range(len(pools)):
                submit(number)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number, job = running.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool:
                        outcome = job.fail(
                            "WorkerKilled",
                            "its process was killed, most likely for want of memory: use fewer "
                            "workers, a smaller --size, or shorter speech",
                        )
                        pools[number] = _open(places[number], threads)
                    submit(number)
                    yield outcome
        finally:
            for pool in pools:
                pool.shutdown(cancel_futures=True)

    return execute


def _open(device: str | None, threads: int) -> ProcessPoolExecutor:
    return open_pool(1, _start, device, threads)


def _start(device: str | None, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = Worker(device)


def _run(job: Job) -> Outcome:
    return _worker.run(job)


def on_ray(address: str, workers: int) -> Execute:
    """Make videos on a Ray cluster, in actors that hold the model.

    Args:
        address: see `RayCluster`.
        workers: actors.

    Raises:
        MissingDependencyError: ray is not installed.
        ConfigurationError: there is no cluster at the address (once it is used).
    """
    cluster, place = RayCluster(address), Path.cwd()

    def execute(jobs: Sequence[Job]) -> Iterator[Outcome]:
        class Actor:
            def __init__(self) -> None:
                os.chdir(place)  # what lines name is relative to it
                self.worker = Worker(None)

            def __call__(self, row: Row) -> Row:
                return asdict(self.worker.run(jobs[row["id"]]))

        for row in cluster.map(len(jobs), Actor, actors=workers):
            yield Outcome(**row)

    return execute
