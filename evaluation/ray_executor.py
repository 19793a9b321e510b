"""Jobs on a Ray cluster: Ray places them, and does those of a killed worker again."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import UnitrackError
from .executors import KILLED_AT_MOST, Job, Outcome, Result, attempt, use_threads


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
            f"its worker was killed {KILLED_AT_MOST + 1} times, likely for want of memory: "
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
