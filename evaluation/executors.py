"""Where the sequences of an evaluation are worked on: here, in processes, on a Ray cluster.

All executors take a function and a list of jobs, and give each job's result once, in the order
in which they are done.  An error of this project belongs to its job and ends nothing else; a
worker that is killed has its jobs done again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from ..errors import UnitrackError

Job = TypeVar("Job")
Result = TypeVar("Result")
Outcome = tuple[int, Result | UnitrackError]
"""Number of a job in the list, and what came of it."""

KILLED_AT_MOST = 3
"""So often the workers may die before it is given up: a job may be too large for the machine."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def attempt(work: Callable[[Job], Result], job: Job) -> Result | UnitrackError:
    """Do a job; an error of this project is a result too."""
    try:
        return work(job)
    except UnitrackError as error:
        return error


def run_serial(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, threads: int
) -> Iterator[Outcome[Result]]:
    """One job after the other, in this process."""
    del workers, threads
    for number, job in enumerate(jobs):
        yield number, attempt(work, job)


def run_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, threads: int
) -> Iterator[Outcome[Result]]:
    """Several processes of this machine, each with `threads` threads.

    Raises:
        UnitrackError: The workers were killed too often.
    """
    left = dict(enumerate(jobs))
    killed = 0
    # Not forked: inference libraries do not survive it.
    context = multiprocessing.get_context("spawn")
    while left:
        size = min(workers, len(left))
        pool = ProcessPoolExecutor(size, context, initializer=use_threads, initargs=(threads,))
        # Breaking may also be noticed while a job is handed over.
        with pool, contextlib.suppress(BrokenProcessPool):
            for number, result in _until_broken(pool, work, dict(left), workers):
                del left[number]
                yield number, result
        killed += bool(left)
        if killed > KILLED_AT_MOST:
            raise UnitrackError(
                f"workers were killed {killed} times with {len(left)} sequences to go, likely for "
                "want of memory: give fewer --jobs; what is finished is kept"
            )


def _until_broken(
    pool: ProcessPoolExecutor, work: Callable[[Job], Result], jobs: dict[int, Job], workers: int
) -> Iterator[Outcome[Result]]:
    """Results as they come; ends early where a worker is killed, which breaks the whole pool."""
    waiting = iter(jobs.items())
    running: dict[Future[Result | UnitrackError], int] = {}
    broken = False
    while not broken:
        # No more than there are workers: what waits inside a pool is still done after Ctrl-C.
        for number, job in islice(waiting, workers - len(running)):
            running[pool.submit(attempt, work, job)] = number
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            number = running.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
            else:
                yield number, future.result()


def use_threads(threads: int) -> None:
    """Bound the threads of this process's libraries, as far as they are not started yet."""
    import cv2

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    cv2.setNumThreads(threads)


def _run_ray(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, threads: int
) -> Iterator[Outcome[Result]]:
    from .ray_executor import run_ray

    yield from run_ray(work, jobs, workers, threads)


EXECUTORS = {"serial": run_serial, "processes": run_processes, "ray": _run_ray}
"""By the name that `--executor` takes; each is called with work, jobs, workers and threads."""
