"""A side by itself, in a process of its own: memory and energy cannot be separated otherwise."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ...errors import BackendError
from ...runtime.events import StopRequest
from ...runtime.inference.registry import BACKENDS
from ...tracking.report import peak_memory_mb
from ..runner.executors import end_with_parent, ended_with, use_threads
from .measure import BenchRequest, Runner, Side, load_workload, open_graphs
from .sensors import Reading, Sensor, find_sensor
from .workload import make_task_runner

_FRAMES = 8
_LONG_ENOUGH_S = 2.0
_MOST_FRAMES = 400
_SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Alone:
    """What a side takes; None where nothing reports it.

    Attributes:
        memory_mb: Largest resident size of the process, in 1e6 bytes: Python, libraries, graphs
            and the frames of a round included.
        gpu_memory_mb: By how much the GPU's memory in use grew at most.
        power_w: Mean while it worked, of the GPU's board or the whole Jetson module.
        energy_mj: That power times the time of a frame, in millijoules.
        temperature_c: The highest.
    """

    memory_mb: float | None = None
    gpu_memory_mb: float | None = None
    power_w: float | None = None
    energy_mj: float | None = None
    temperature_c: float | None = None


def measure_alone(request: BenchRequest, side: Side) -> Alone:
    """Run one side for a moment in a fresh process.

    Raises:
        BackendError: The process was killed.
        UnitrackError: Whatever the side raises.
    """
    context = multiprocessing.get_context("spawn")
    with ended_with(ProcessPoolExecutor(1, context, initializer=end_with_parent)) as pool:
        try:
            return pool.submit(work_alone, request, side).result()
        except BrokenProcessPool as error:
            raise BackendError(
                f"{side.name}: the process was killed while it ran by itself, probably out of "
                "memory: give a smaller --size or fewer --objects"
            ) from error


def work_alone(request: BenchRequest, side: Side) -> Alone:
    """What `measure_alone` does in the fresh process."""
    if request.threads:
        use_threads(request.threads)
    on_gpu = side.device != "cpu" if side.backend not in BACKENDS else _is_gpu(side.backend)
    sensor = find_sensor(gpu=on_gpu)
    before = sensor()
    workload = load_workload(request)
    with open_graphs(side, request.threads) as graphs, StopRequest() as stop:
        task_runner = make_task_runner(request.task, graphs, workload, request.size_hw)
        runner = Runner(side.name, graphs, task_runner, workload)
        runner.advance(stop, request.warm_up + 1)
        with _sampled(sensor) as samples:
            start, frames = time.perf_counter(), 0
            while frames < _FRAMES or (
                samples.has_power
                and frames < _MOST_FRAMES
                and time.perf_counter() - start < _LONG_ENOUGH_S
            ):
                runner.advance(stop)
                frames += 1
            seconds = (time.perf_counter() - start) / frames
    return _summary(before, samples, seconds)


def _is_gpu(backend: str) -> bool:
    return BACKENDS[backend].onnx_device != "cpu"


@dataclass(slots=True)
class _Samples:
    """Readings while a side works; the first one is there from the start."""

    readings: list[Reading] = field(default_factory=list)

    @property
    def has_power(self) -> bool:
        """Whether the device reports what it draws."""
        return self.readings[0].power_w is not None

    def of(self, name: str) -> list[float]:
        """All values of one field of `Reading`."""
        values = (getattr(reading, name) for reading in self.readings)
        return [value for value in values if value is not None]


@contextmanager
def _sampled(sensor: Sensor) -> Iterator[_Samples]:
    samples = _Samples([sensor()])
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_S):
            samples.readings.append(sensor())

    thread = threading.Thread(target=watch, name="sensors", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _summary(before: Reading, samples: _Samples, seconds: float) -> Alone:
    power = samples.of("power_w")
    watts = float(np.mean(power)) if power else None
    used = samples.of("gpu_memory_mb")
    grown = max(used) - (before.gpu_memory_mb or 0.0) if used else None
    return Alone(
        peak_memory_mb(),
        grown,
        watts,
        None if watts is None else watts * seconds * 1e3,
        max(samples.of("temperature_c"), default=None),
    )
