"""Whole tasks on several sides: do they decide from the same numbers, and what comes of it?

Judged is each frame from the same state (see `same_state`).  What each side makes of the whole clip
by itself, the same ids, masks, boxes and joints, is measured beside it and not judged: two nearly
equal choices may be made differently by two sides that both compute well, and then differ for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ...errors import UnitrackError
from ...records import Tracks
from ...runtime.events import StopRequest
from ...runtime.inference.base import Graphs
from ...runtime.pipeline import Pipeline, TaskRunner
from ..benchmark.workload import (
    TASKS,
    EndlessClip,
    Workload,
    full_and_default,
    make_task_runner,
)
from ..metrics.agreement import (
    agreement_of_tracks,
    box_agreement,
    joint_distances,
    label_map_agreement,
    mean_overlap,
)
from ..metrics.mot import rows_of_tracks
from .graphs import TaskBounds, finite
from .same_state import (
    Candidate,
    Pair,
    SameStateHead,
    Tap,
    common_limit,
    cost_difference,
    label_overlap,
    response_difference,
)

Results = Mapping[str, Sequence[Tracks]]
"""By task, what came out for every frame."""

Decided = Mapping[str, Sequence[Pair]]
"""By task, what the reference and another side decided from in frames of the same state."""


@dataclass(frozen=True, slots=True)
class TaskParity:
    """How far a task is from the reference's.

    Attributes:
        backend: What ran it.
        task: Its name.
        measure: Of frames from the same state: `cost`, `label IoU` or `response`.
        value: Of that: an overlap is in [0, 1] and 1 is the same; of differences 0 is.
        compared: Calls of deciding graphs that `value` is over; 0: the clip gave none to compare.
        outcome: Of the whole clip, each side on its own: `IDF1`, `mask IoU`, `box IoU`, or
            `joint distance` in body sizes.
        outcome_value: Of that; not judged. None: TrackEval, which computes it, is not installed.
        frames: Of the clip.
    """

    backend: str
    task: str
    measure: str
    value: float
    compared: int
    outcome: str
    outcome_value: float | None
    frames: int

    def excess(self, bounds: TaskBounds) -> str | None:
        """What is beyond a bound, in words; None where nothing is."""
        bound, most = bound_of(self.task, bounds)
        # Written so that NaN is beyond every bound.
        if self.value <= bound if most else self.value >= bound:
            return None
        sign = "at most" if most else "at least"
        return (
            f"{self.measure} {self.value:.3g} in frames from the same state, expected {sign} "
            f"{bound:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data; what is not finite becomes None."""
        return finite(asdict(self))


@dataclass(frozen=True, slots=True)
class DefaultParity:
    """How far a task's default, which looks only where it must, is from the full method.

    Attributes:
        backend: What ran both.
        task: Its name.
        what: The parameter that the two differ in, as `focus auto`.
        agreement: See `metrics.agreement.agreement_of_tracks`; empty: no TrackEval.
        pixels: Of those that the backbone saw for the full method, the share it saw.
    """

    backend: str
    task: str
    what: str
    agreement: Mapping[str, float]
    pixels: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return finite(asdict(self))


def compare_defaults(
    graphs: Graphs,
    workload: Workload,
    backend: str,
    size_hw: tuple[int, int] | None = None,
    tasks: Sequence[str] = TASKS,
) -> list[DefaultParity]:
    """Run the tasks whose default looks only where it must, and the same with the full method.

    What the full method gives is taken for the truth, though it need not be the better one.

    Args:
        graphs: Runs the graphs.
        workload: The frames.
        backend: What to call what runs them.
        size_hw: Of the network's image of the full method; None: its default.
        tasks: Of them, those that have such a default.

    Raises:
        UnitrackError: Whatever a head raises.
        Stopped: The user asked to stop.
    """
    found = []
    for task, (what, full, usual) in full_and_default(size_hw).items():
        if task not in tasks:
            continue
        sides = []
        for config in (full, usual):
            runner = make_task_runner(task, graphs, workload, size_hw, config)
            sides.append(_run_counted([runner], graphs, workload))
        (expected, seen), (results, fewer) = sides
        try:
            agreement = agreement_of_tracks(task, expected[task], results[task])
        except UnitrackError as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            agreement = {}
        found.append(DefaultParity(backend, task, what, agreement, fewer / seen))
    return found


def bound_of(task: str, bounds: TaskBounds) -> tuple[float, bool]:
    """The bound that counts for a task, and whether it is an upper one."""
    name = _MEASURES[task].bound
    return float(getattr(bounds, name)), name != "labels"


def run_tasks(
    graphs: Graphs,
    workload: Workload,
    size_hw: tuple[int, int] | None = None,
    tasks: Sequence[str] = TASKS,
) -> Results:
    """All tasks on a workload, once through, with one pass of the backbone a frame.

    Args:
        graphs: Runs the graphs.
        workload: The frames.
        size_hw: Of the network's image; None: what the first head asks for.
        tasks: Which.

    Raises:
        UnitrackError: Whatever a head raises.
        Stopped: The user asked to stop.
    """
    return _run([make_task_runner(t, graphs, workload, size_hw) for t in tasks], graphs, workload)


def run_from_same_state(
    reference: Graphs,
    others: Mapping[str, Graphs],
    workload: Workload,
    size_hw: tuple[int, int] | None = None,
    tasks: Sequence[str] = TASKS,
) -> tuple[Results, dict[str, Decided]]:
    """All tasks on the reference, beside which every other side does each frame from its state.

    Args:
        reference: Its arrays are in host memory.
        others: By backend.
        workload: The frames.
        size_hw: See `run_tasks`.
        tasks: Which.

    Returns:
        The reference's results, and by backend what was decided from.

    Raises:
        UnitrackError: Whatever a head raises.
        Stopped: The user asked to stop.
    """
    limit = common_limit([reference, *others.values()])
    tap = Tap(reference, limit)
    candidates = {name: Candidate(Tap(graphs, limit)) for name, graphs in others.items()}
    runners, heads = [], {}
    for task in tasks:
        runner = make_task_runner(task, tap, workload, size_hw)
        heads[task] = SameStateHead(runner.head, tap, candidates)
        runners.append(TaskRunner(task, heads[task], runner.detector, []))
    results = _run(runners, tap, workload)
    return results, {name: {t: heads[t].pairs[name] for t in tasks} for name in others}


def _run(task_runners: Sequence[TaskRunner], graphs: Graphs, workload: Workload) -> Results:
    return _run_counted(task_runners, graphs, workload)[0]


def _run_counted(
    task_runners: Sequence[TaskRunner], graphs: Graphs, workload: Workload
) -> tuple[Results, int]:
    """What comes of every task, and how many pixels the backbone saw."""
    results: dict[str, list[Tracks]] = {runner.task: [] for runner in task_runners}

    def keep(_: object, found: Sequence[Tracks]) -> None:
        for runner, tracks in zip(task_runners, found, strict=True):
            results[runner.task].append(tracks)

    pipeline = Pipeline(EndlessClip(workload), graphs, task_runners)
    with StopRequest() as stop:
        pipeline.run(stop, max_frames=len(workload.frames), on_frame=keep)
    stop.raise_if_set()
    return results, pipeline.backbone_pixels


def compare_tasks(
    reference: Results, results: Results, decided: Decided, backend: str
) -> list[TaskParity]:
    """Measure how far a side is from the reference, task by task.

    Args:
        reference: What is taken for the truth.
        results: Of the same tasks on the same frames, the side on its own.
        decided: What both decided from in frames of the same state.
        backend: What to call the side.

    Raises:
        DetectionError: The sides' results do not fit one another.
    """
    found = []
    for task, expected in reference.items():
        row = _MEASURES[task]
        outcome = _outcome(row, expected, results[task])
        value, compared = row.measure(decided[task]), len(decided[task])
        found.append(
            TaskParity(
                backend, task, row.name, value, compared, row.outcome, outcome, len(expected)
            )
        )
    return found


def _outcome(row: _Measure, reference: Sequence[Tracks], results: Sequence[Tracks]) -> float | None:
    try:
        return row.compare(reference, results)
    except UnitrackError as error:
        if isinstance(error.__cause__, ImportError):
            return None
        raise


def _identities(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """IDF1 on boxes; masks and poses pass through these heads as they are, and boxes with them."""
    return box_agreement(rows_of_tracks(reference), rows_of_tracks(results))


def _joints(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """Mean distance of joints in body sizes, without the first, given frame."""
    distances = joint_distances(reference, results)
    return float(distances.mean()) if len(distances) else 0.0


@dataclass(frozen=True, slots=True)
class _Measure:
    """How two sides of a task are compared.

    Attributes:
        name: Of what is measured in frames from the same state.
        bound: Which field of `TaskBounds` bounds it.
        measure: Computes it.
        outcome: Of what is measured over whole clips.
        compare: Computes that.
    """

    name: str
    bound: str
    measure: Callable[[Sequence[Pair]], float]
    outcome: str
    compare: Callable[[Sequence[Tracks], Sequence[Tracks]], float]


_COSTS = _Measure("cost", "costs", cost_difference, "IDF1", _identities)

_LABELS = partial(label_overlap, background=True)

_MAPS = partial(label_overlap, background=False)

_MEASURES = {
    "mot": _COSTS,
    "mots": _COSTS,
    "posetrack": _COSTS,
    "vos": _Measure("label IoU", "labels", _LABELS, "mask IoU", label_map_agreement),
    "pose": _Measure("label IoU", "labels", _MAPS, "joint distance", _joints),
    "sot": _Measure("response", "responses", response_difference, "box IoU", mean_overlap),
}
