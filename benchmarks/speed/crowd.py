"""CPU time of preset `memory` for a frame, by the number of people and by how they stand.

    python -m unitrack_edge.benchmarks.speed.crowd --bundle bundles/efficientnet-lite0

People of 40 × 90 px move and have looks of their own; one in seventeen is missed in every frame.
`apart`: nobody touches; `scattered`: at random, 50 on 1500 × 1500 px; `shoulder to shoulder`: all
overlap their neighbours.  The backbone and the features of the boxes are not counted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...heads.association.fused_matching import FusedAssociator, FusedConfig
from ...heads.association.tracklets import ObjectFeatures
from ...records import Detections
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.base import Array
from ...runtime.inference.runner import GraphRunner
from ..script import Script, at_least

Points = npt.NDArray[np.float64]
SCENES = ("apart", "scattered", "shoulder to shoulder")
SIZE = np.array([40, 90])
POINTS, MISSED, FRAMES, WARM = 40, 1 / 17, 21, 7


class Stopwatch(GraphRunner):
    """Graphs, and the process's own time that each took, in seconds."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, "cpu", 1)
        self.spent_s = 0.0

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """As `GraphRunner.run`, timed."""
        start = time.process_time()
        outputs = super().run(graph, *feeds)
        self.spent_s += time.process_time() - start
        return outputs


def places(scene: str, count: int, rng: np.random.Generator) -> Points:
    """(N, 2) left and top of everybody in the first frame."""
    if scene == "scattered":
        return rng.uniform(0, 1500 * (count / 50) ** 0.5, (count, 2))
    step = (130, 130) if scene == "apart" else (25, 60)
    columns = int(np.ceil(count**0.5))
    return np.array([[n % columns, n // columns] for n in range(count)], np.float64) * step


def measure(graphs: Stopwatch, scene: str, count: int) -> dict[str, float]:
    """Median milliseconds of a step, all of it and outside the graphs."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(count, POINTS, graphs.spec.channels)).astype(np.float32)
    start, speed = places(scene, count, rng), rng.normal(0, 2, (count, 2))
    # A snapshot a frame: every tracklet has all its features soon.
    associator = FusedAssociator(graphs, FusedConfig(memory_interval_s=0.04))
    times: list[tuple[float, float]] = []
    for frame in range(FRAMES):
        seen = rng.random(count) >= MISSED
        points = looks + 0.5 * rng.normal(size=looks.shape).astype(np.float32)
        points /= np.linalg.norm(points, axis=2, keepdims=True)
        corner = start + speed * frame + rng.normal(0, 1, (count, 2))
        boxes = np.concatenate([corner, corner + SIZE], axis=1).astype(np.float32)[seen]
        detections = Detections(
            boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64)
        )
        features = ObjectFeatures(points[seen], np.ones((len(boxes), POINTS), np.float32))
        graphs.spent_s, before = 0.0, time.process_time()
        associator.step(frame, frame / 25, detections, features)
        whole = time.process_time() - before
        times.append((whole, whole - graphs.spent_s))
    whole, own = 1e3 * np.median(times[WARM:], axis=0)
    return {"all_ms": float(whole), "host_ms": float(own)}


script = Script(__doc__)
script.add_argument("--bundle", type=Path, required=True)
script.add_argument("--people", type=at_least(1), nargs="+", default=[50, 500])


@script.does
def main(options: argparse.Namespace) -> None:
    """Print a line a scene."""
    graphs = Stopwatch(Bundle.load(options.bundle))
    with graphs:
        for count in options.people:
            for scene in SCENES:
                found = measure(graphs, scene, count)
                print(
                    f"{count:4d} {scene:20s} {found['all_ms']:7.1f} ms, "
                    f"of that outside graphs {found['host_ms']:7.1f}",
                    flush=True,
                )
