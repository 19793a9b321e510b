"""Work for executors: functions of a module, because other processes look them up by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from unitrack_edge.errors import DetectionError


def square(job):
    """(number, folder): leaves a trace of every attempt."""
    number, folder = job
    with (Path(folder) / f"{number}.attempts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return number * number


def square_or_refuse(job):
    if job[0] == 2:
        raise DetectionError("2 is refused")
    return square(job)


def square_and_die_once(job):
    """The worker of job 3 is killed in the middle of its first attempt."""
    number, folder = job
    result = square(job)
    marker = Path(folder) / "died"
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)
    return result


def die(job):
    del job
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_ever(job):
    """Leaves its process's number, and works on."""
    square(job)
    time.sleep(600)


def wait_alone(job, _side):
    """The same, as `measure_alone` calls it."""
    wait_for_ever(job)


def sleep_long(seconds):
    time.sleep(seconds)
    return seconds
