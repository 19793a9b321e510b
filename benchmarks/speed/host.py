"""Association on the host at 50 tracklets x 50 detections: motion, gating, assignment, upkeep.

The graphs are stood in for by answers made beforehand, so only the project's own Python counts.
The target is on the median of the clock on the wall; the CPU time is reported with it, because
other programs on the machine lengthen the one and hardly the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from ...heads.association.matching import AssociationConfig, Associator
from ...heads.association.tracklets import ObjectFeatures
from ...records import Detections
from ...runtime.bundle.spec import BundleSpec
from ...runtime.inference.base import Array, Graphs, to_host
from ..script import Result, Script

OBJECTS = 50
TARGET_MS = 5.0

_WARM_UP = 20
_STEP = 3.0


class CannedGraphs(Graphs):
    """Answers at once; an object's only feature is its number.

    Args:
        strangers: Share of the objects whose appearance matches nothing, themselves included.
    """

    spec: BundleSpec  # which nobody asks for

    def __init__(self, strangers: float) -> None:
        self._known_from = round(strangers * OBJECTS)

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """`rsm` or `select`."""
        first, second = to_host(feeds[0]), to_host(feeds[2 if graph == "rsm" else 1])
        if graph == "select":
            return (np.concatenate([first, second])[to_host(feeds[2])],)
        rows, columns = first.reshape(-1, 1), second.reshape(1, -1)
        alike = (rows == columns) & (rows >= self._known_from)
        return (np.where(alike, np.float32(0.2), np.float32(1.0)),)


def frame_times(
    strangers: float, hidden: float, frames: int, seed: int = 0
) -> tuple[list[float], list[float], int]:
    """Seconds of every frame by the wall's clock and by the CPU's, and matches of the last one.

    Args:
        strangers: Share of the tracklets that only overlap can match.
        hidden: Share of the objects that a frame leaves out, others every time, so that tracklets
            are lost and found again.
        frames: How many count.
        seed: Of the boxes.
    """
    rng = np.random.default_rng(seed)
    size = np.column_stack([rng.uniform(40, 80, OBJECTS), rng.uniform(100, 200, OBJECTS)])
    corner = np.column_stack([np.arange(OBJECTS) % 10 * 180.0, np.arange(OBJECTS) // 10 * 210.0])
    associator = Associator(CannedGraphs(strangers), AssociationConfig())
    wall: list[float] = []
    cpu: list[float] = []
    matched = 0
    for index in range(_WARM_UP + frames):
        moved = corner + index * _STEP + rng.normal(0, 1, corner.shape)
        boxes = np.concatenate([moved, moved + size], axis=1).astype(np.float32)
        shown = np.ones(OBJECTS, np.bool_)
        if index:
            shown[rng.choice(OBJECTS, round(hidden * OBJECTS), replace=False)] = False
        count = int(shown.sum())
        seen = Detections(boxes[shown], np.ones(count, np.float32), np.zeros(count, np.int64))
        number = np.flatnonzero(shown).astype(np.float32).reshape(-1, 1, 1)
        features = ObjectFeatures(number, np.ones((count, 1), np.float32))
        start, cpu_start = time.perf_counter(), time.thread_time()
        matched = len(associator.step(index, seen, features))
        if index >= _WARM_UP:
            wall.append(time.perf_counter() - start)
            cpu.append(time.thread_time() - cpu_start)
    return wall, cpu, matched


CASES: dict[str, tuple[float, float]] = {
    "all matched by appearance": (0.0, 0.0),
    "half matched by overlap": (0.5, 0.0),
    "one in ten hidden": (0.5, 0.1),
}
"""Shares `strangers` and `hidden`."""


script = Script(__doc__, rounds=300, saves=True)


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure all cases."""
    cases: dict[str, Any] = {}
    lines = [f"{'host ms a frame, 50 x 50':30}  median     p95  fastest  CPU median  matched"]
    late = False
    for name, (strangers, hidden) in CASES.items():
        times, cpu, matched = frame_times(strangers, hidden, options.rounds)
        cpu_median = statistics.median(cpu)
        median, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
        late |= 1e3 * median >= TARGET_MS
        lines.append(
            f"{name:30}{1e3 * median:8.2f}{1e3 * p95:8.2f}{1e3 * min(times):9.2f}"
            f"{1e3 * cpu_median:12.2f}{matched:9d}"
        )
        cases[name] = {
            "median_ms": round(1e3 * median, 3),
            "p95_ms": round(1e3 * p95, 3),
            "fastest_ms": round(1e3 * min(times), 3),
            "cpu_median_ms": round(1e3 * cpu_median, 3),
            "matched": matched,
        }
    complaint = f"slower than the target of {TARGET_MS:.0f} ms" if late else ""
    return Result("host_speed", lines, {"target_ms": TARGET_MS, "cases": cases}, complaint)
