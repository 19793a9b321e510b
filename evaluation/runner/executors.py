"""Where the sequences of an evaluation are worked on: here, in processes, on a Ray cluster.

All executors take a function and a list of jobs, and give each job's result once, in the order
in which they are done.  An error of this project belongs to its job and ends nothing else; a
worker that is killed has its jobs done again.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import multiprocessing.process
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from ...errors import UnitrackError
from ...runtime.inference.onnxruntime import available_cores

Job = TypeVar("Job")
Result = TypeVar("Result")

Outcome = tuple[int, Result | UnitrackError]
"""Number of a job in the list, and what came of it."""

KILLED_AT_MOST = 3
"""So often the workers may die before it is given up: a job may be too large for the machine."""


def threads_of(jobs: int) -> int:
    """Threads for each of several jobs at the same time."""
    return max(1, available_cores() // jobs)


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
        pool = ProcessPoolExecutor(size, context, initializer=start_worker, initargs=(threads,))
        # Breaking may also be noticed while a job is handed over.
        with contextlib.suppress(BrokenProcessPool), ended_with(pool):
            for number, result in _until_broken(pool, work, dict(left), workers):
                del left[number]
                yield number, result
        killed += bool(left)
        if killed > KILLED_AT_MOST:
            raise UnitrackError(
                f"workers were killed {killed} times with {len(left)} sequences to go, likely for "
                "want of memory: give fewer --jobs; what is finished is kept"
            )


@contextlib.contextmanager
def ended_with(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool that is left at once on an error or a signal; others wait for what they have begun."""
    with pool:
        try:
            yield pool
        except BaseException:
            for process in list(pool._processes.values()):
                process.kill()
            raise


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


def start_worker(threads: int) -> None:
    """Prepare a process that does jobs."""
    use_threads(threads)
    end_with_parent()


def end_with_parent() -> None:
    """Have this process end with the one that started it, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    # Nobody is left to hear of it; a job that is half done is done again by the next run.
    os._exit(1)


def use_threads(threads: int) -> None:
    """Bound the threads of this process's libraries, as far as they are not started yet."""
    import cv2

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    cv2.setNumThreads(threads)


def _run_ray(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, threads: int
) -> Iterator[Outcome[Result]]:

    yield from run_ray(work, jobs, workers, threads)


EXECUTORS = {"serial": run_serial, "processes": run_processes, "ray": _run_ray}
"""By the name that `--executor` takes; each is called with work, jobs, workers and threads."""


def run_ray(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, threads: int
) -> Iterator[Outcome[Result]]:
    """Do jobs on the cluster that `RAY_ADDRESS` names, or else on one started for it here.

    Bundles, data and the output folder must be at the same place on all machines, and this
    package installed there.

    Args:
        work: Does one job; a function of a module.
        jobs: Handed over pickled.
        workers: How many at once on a cluster started here; a cluster that is there already
            has its own size.
        threads: Cores that each job takes.

    Raises:
        UnitrackError: Ray is not installed or cannot start, or a job's workers died too often.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _start(ray, workers * threads)
    try:
        remote = ray.remote(num_cpus=threads, max_retries=KILLED_AT_MOST)(_do)
        left = {remote.remote(work, job, threads): number for number, job in enumerate(jobs)}
        while left:
            (done,), _ = ray.wait(list(left), num_returns=1)
            yield left.pop(done), _result(ray, done)
    finally:
        if started:
            ray.shutdown()


def _import_ray() -> Any:
    # It would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UnitrackError(
            f"--executor ray needs Ray, which cannot be imported ({error}): "
            "pip install 'unitrack-edge[ray]'"
        ) from None


def _do(work: Callable[[Job], Result], job: Job, threads: int) -> Result | UnitrackError:
    use_threads(threads)
    return attempt(work, job)


def _result(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.WorkerCrashedError:
        return UnitrackError(
            f"its worker was killed {KILLED_AT_MOST + 1} times, probably out of memory: "
            "give fewer --jobs"
        )


def _start(ray: Any, cores: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    # A cluster that is there already has its own size.
    sizes = {} if address else {"num_cpus": cores, "include_dashboard": False}
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        ray.init(address=address or "local", **quiet, **sizes)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a local cluster"
        raise UnitrackError(
            f"--executor ray: {where} cannot be used ({' '.join(str(error).split())[:160]})"
        ) from None
