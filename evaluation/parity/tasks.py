"""Whole tasks on two sides: do the same ids, masks, boxes and joints come out?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...records import FloatArray, Tracks
from ...runtime.boxes import iou_matrix
from ...runtime.inference.base import Graphs
from ...runtime.pipeline import Pipeline
from ...runtime.signals import StopRequest
from ..benchmark.workload import TASKS, EndlessClip, Workload, make_task_runner
from ..metrics.agreement import box_agreement, mask_agreement
from ..metrics.mot import rows_of_tracks
from ..metrics.pose import keypoint_errors
from .graphs import TaskBounds

LOST = 1.0
"""A joint that one side has lost counts as this many body sizes away."""

Results = Mapping[str, Sequence[Tracks]]
"""By task, what came out for every frame."""


@dataclass(frozen=True, slots=True)
class TaskParity:
    """How far a task's results are from the reference's.

    Attributes:
        backend: What ran it.
        task: Its name.
        measure: `IDF1`, `mask IoU`, `box IoU` or `joint distance`.
        value: In [0, 1] and 1 is the same; distances are in body sizes and 0 is the same.
        frames: How many were compared.
    """

    backend: str
    task: str
    measure: str
    value: float
    frames: int

    def excess(self, bounds: TaskBounds) -> str | None:
        """What is beyond a bound, in words; None where nothing is."""
        bound, most = bound_of(self.task, bounds)
        if self.value <= bound if most else self.value >= bound:
            return None
        sign = "at most" if most else "at least"
        return f"{self.measure} {self.value:.3g}, expected {sign} {bound:g}"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def bound_of(task: str, bounds: TaskBounds) -> tuple[float, bool]:
    """The bound that counts for a task, and whether it is an upper one."""
    name = _MEASURES[task].bound
    return float(getattr(bounds, name)), name == "keypoints"


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
        KeyboardInterrupt: The user asked to stop.
    """
    task_runners = [make_task_runner(task, graphs, workload, size_hw) for task in tasks]
    results: dict[str, list[Tracks]] = {task: [] for task in tasks}

    def keep(_: object, found: Sequence[Tracks]) -> None:
        for task, tracks in zip(tasks, found, strict=True):
            results[task].append(tracks)

    pipeline = Pipeline(EndlessClip(workload), graphs, task_runners)
    with StopRequest() as stop:
        pipeline.run(stop, max_frames=len(workload.frames), on_frame=keep)
    if pipeline.interrupted:
        raise KeyboardInterrupt
    return results


def compare_tasks(reference: Results, results: Results, backend: str) -> list[TaskParity]:
    """Measure how far two sides' results are apart, task by task.

    Args:
        reference: What is taken for the truth.
        results: Of the same tasks on the same frames.
        backend: What to call the other side.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    return [
        TaskParity(
            backend,
            task,
            _MEASURES[task].name,
            _MEASURES[task].compare(expected, results[task]),
            len(expected),
        )
        for task, expected in reference.items()
    ]


def _identities(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """IDF1 on boxes; masks and poses pass through these heads as they are, and boxes with them."""
    return box_agreement(rows_of_tracks(reference), rows_of_tracks(results))


def _masks(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    maps = [[t.label_map for t in side if t.label_map is not None] for side in (reference, results)]
    return mask_agreement(maps[0], maps[1])


def _boxes(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """Mean IoU of the one object's boxes, without the first, given frame."""
    overlaps = [
        float(iou_matrix(a.detections.boxes_xyxy, b.detections.boxes_xyxy)[0, 0])
        for a, b in zip(reference[1:], results[1:], strict=True)
    ]
    return float(np.mean(overlaps))


def _joints(reference: Sequence[Tracks], results: Sequence[Tracks]) -> float:
    """Mean distance of joints in body sizes, without the first, given frame."""
    distances = [
        _joint_distances(_people(a), _people(b))
        for a, b in zip(reference[1:], results[1:], strict=True)
    ]
    together = np.concatenate([np.zeros(0), *distances])
    return float(together.mean()) if len(together) else 0.0


def _people(tracks: Tracks) -> dict[int, FloatArray]:
    seen = tracks.detections.keypoints
    return {} if seen is None else dict(zip(tracks.ids.tolist(), seen, strict=True))


def _joint_distances(
    reference: Mapping[int, FloatArray], found: Mapping[int, FloatArray]
) -> FloatArray:
    if not reference:
        return np.zeros(0, np.float32)
    people = np.stack(list(reference.values()))
    others = np.stack([found.get(k, np.zeros_like(p)) for k, p in reference.items()])
    errors = keypoint_errors(others, people)
    return np.minimum(errors[~np.isnan(errors)], LOST).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Measure:
    """How two results of a task are compared, and which field of `TaskBounds` bounds that."""

    name: str
    bound: str
    compare: Callable[[Sequence[Tracks], Sequence[Tracks]], float]


_IDF1 = _Measure("IDF1", "identity", _identities)

_MEASURES = {
    "mot": _IDF1,
    "mots": _IDF1,
    "posetrack": _IDF1,
    "vos": _Measure("mask IoU", "overlap", _masks),
    "pose": _Measure("joint distance", "keypoints", _joints),
    "sot": _Measure("box IoU", "overlap", _boxes),
}
