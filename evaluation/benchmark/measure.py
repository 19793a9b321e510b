"""Measures a task on several backends side by side, in the pipeline that `cli track` runs.

All of them see the same frames in memory.  They take turns frame by frame, and the first one
changes with every frame, so that whatever disturbs the machine disturbs all of them alike.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import BackendError
from ...runtime.bundle.bundle import Bundle
from ...runtime.events import StopRequest
from ...runtime.inference.base import Array
from ...runtime.inference.registry import BACKENDS
from ...runtime.inference.runner import GraphRunner
from ...runtime.pipeline import Pipeline, StageTimes, TaskRunner
from ...runtime.writers.base import Writer
from .workload import DEFAULT_SIZE, EndlessClip, Workload, footage_workload, scene_workload

PYTORCH = "pytorch"
"""What stands for a backend where the graphs are PyTorch modules."""

_REST_S = 0.03

Stages = dict[str, float]
"""Seconds by stage, of one frame."""

Rounds = Sequence[Sequence[Stages]]
"""The frames of every round."""

Tick = Callable[[int, int], None]
"""Called with the number of frames that are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared.

    Attributes:
        name: What tables call it.
        bundle: Folder of its bundle.
        backend: A key of `BACKENDS`, or `PYTORCH`.
        weights: For PyTorch; None: where the bundle's record says.
        device: For PyTorch, as it names it.
    """

    name: str
    bundle: Path
    backend: str
    weights: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What is to be measured.

    Attributes:
        task: One of `workload.TASKS`.
        sides: At least one.
        source: Footage as on the command line; None: the procedural scene.
        objects: Figures in the scene.
        size_hw: Of the scene's frames and the network's image; None: what the task works at.
        rounds: How many.
        frames: Of a round, for each side.
        warm_up: Frames before the first round, for each side.
        threads: Of the CPU; 0 takes all that this process may use.
        detector: Finds the objects where stages overlap; None: detections are given, and free.
    """

    task: str
    sides: tuple[Side, ...]
    source: str | None = None
    objects: int = 10
    size_hw: tuple[int, int] | None = None
    rounds: int = 5
    frames: int = 12
    warm_up: int = 4
    threads: int = 0
    detector: str | None = None


def load_workload(request: BenchRequest) -> Workload:
    """The frames of a request, and the prompt and detections of its task.

    A round goes there and back over all of them, so that every round sees the same: rounds that
    differ show the machine, and not the content of the image.

    Raises:
        SourceError: They cannot be read or made.
    """
    tasks, frames = (request.task,), request.frames // 2 + 1
    if request.source is not None:
        return footage_workload(request.source, frames, request.objects, tasks)
    size = request.size_hw or DEFAULT_SIZE[request.task]
    return scene_workload(frames, size, request.objects, tasks)


class WatchedGraphs(GraphRunner):
    """The graphs of a bundle, and what the backbone was given.

    Attributes:
        shapes: How often each shape of its image came.
    """

    def __init__(self, bundle: Bundle, backend: str, threads: int) -> None:
        super().__init__(bundle, backend, threads)
        self.shapes: Counter[tuple[int, ...]] = Counter()

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """See `GraphRunner`."""
        if graph == "backbone":
            self.shapes[tuple(feeds[0].shape)] += 1
        return super().run(graph, *feeds)


def open_graphs(side: Side, threads: int) -> GraphRunner:
    """What runs a side's graphs.

    Raises:
        BackendError: PyTorch is not installed.
        UnitrackError: The bundle, its weights or the backend cannot be used.
    """
    bundle = Bundle.load(side.bundle)
    if side.backend != PYTORCH:
        return WatchedGraphs(bundle, side.backend, threads)
    try:
        from ..parity.torch import TorchGraphs
    except ImportError as error:
        raise BackendError(
            f"--against pytorch needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]'"
        ) from error
    return TorchGraphs(bundle, side.weights, threads, side.device)


class FrameTimes(StageTimes):
    """Durations frame by frame, where percentiles alone would not do.

    Attributes:
        frames: The stages of every frame, in seconds; a frame begins with `read`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Stages] = []

    def add(self, stage: str, seconds: float) -> None:
        """Record a duration of the current frame."""
        if stage == "read":
            self.frames.append({})
        self.frames[-1][stage] = seconds


class Runner:
    """A side at work: a pipeline over an endless clip.

    Args:
        name: Of the side.
        graphs: Runs its graphs; loads all that the task needs at once.
        task_runner: The task.
        workload: The frames.

    Attributes:
        pixels: Of each frame so far, how many the backbone saw.
    """

    def __init__(
        self, name: str, graphs: GraphRunner, task_runner: TaskRunner, workload: Workload
    ) -> None:
        self.name = name
        self.pixels: list[int] = []
        self.graphs = graphs
        self.graphs_used = ("backbone", *task_runner.head.graphs_used)
        for graph in self.graphs_used:
            graphs.engine(graph)
        graphs.warm_up()
        self._task_runner = task_runner
        self._pipeline = Pipeline(EndlessClip(workload), graphs, [task_runner])
        self._times = FrameTimes()
        self._pipeline.times = self._times

    def advance(self, stop: StopRequest, frames: int = 1) -> None:
        """Work on the next frames.

        Raises:
            Stopped: The user asked to stop.
        """
        for _ in range(frames):
            before = self._pipeline.backbone_pixels
            self._pipeline.run(stop, max_frames=self._pipeline.frames + 1)
            stop.raise_if_set()
            self.pixels.append(self._pipeline.backbone_pixels - before)

    def write_to(self, writer: Writer) -> None:
        """Give every frame's tracks to a writer as well."""
        self._task_runner.writers = [*self._task_runner.writers, writer]

    def take(self) -> list[Stages]:
        """The frames since the last time."""
        taken, self._times.frames = self._times.frames, []
        return taken


def interleave(
    runners: Sequence[Runner],
    request: BenchRequest,
    stop: StopRequest,
    tick: Tick = lambda _done, _of: None,
) -> dict[str, list[list[Stages]]]:
    """Let all sides work in turn: A B, B A, A B ….

    Args:
        runners: The sides.
        request: How many rounds, frames and frames of warming up.
        stop: Ends it.
        tick: Called after every frame.

    Returns:
        By side, the frames of every round.

    Raises:
        Stopped: The user asked to stop.
    """
    rest_s = _REST_S if any(side.backend == PYTORCH for side in request.sides) else 0.0
    total = request.warm_up + request.rounds * request.frames
    measured: dict[str, list[list[Stages]]] = {runner.name: [] for runner in runners}
    for number in range(total):
        for runner in runners if number % 2 else reversed(runners):
            # PyTorch's threads keep spinning for a moment after their work.
            time.sleep(rest_s)
            runner.advance(stop)
        done = number + 1 - request.warm_up
        tick(number + 1, total)
        if done == 0 or (done > 0 and done % request.frames == 0):
            for runner in runners:
                frames = runner.take()
                if done:
                    measured[runner.name].append(frames)
    return measured


def model_bytes(runner: Runner, side: Side) -> int:
    """Size of the files that a side's task loads; of PyTorch, of the backbone's parameters."""
    if side.backend == PYTORCH:
        return int(getattr(runner.graphs, "weights_bytes", 0))
    bundle = Bundle.load(side.bundle)
    if BACKENDS[side.backend].variant is None:
        return sum(bundle.spec.graphs[name].size_bytes for name in runner.graphs_used)
    in_use = runner.graphs.backends_in_use
    return sum(
        engine.size_bytes
        for engine in bundle.spec.engines
        if in_use.get(engine.graph) == f"{engine.variant} {engine.version} {engine.target}"
        and engine.graph in runner.graphs_used
    )
