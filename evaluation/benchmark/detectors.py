"""What a detector, pose or mask model costs: latency of a frame, backends and models in turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...records import Detections, Frame
from ...runtime.bundle.spec import DETECTOR_GRAPH, POSE_GRAPH
from ...runtime.detectors.base import Detector
from ...runtime.detectors.mask import MaskModel
from ...runtime.detectors.model import open_model
from ...runtime.detectors.pose import PoseModel
from ...runtime.detectors.topdown import TopDownDetector
from ...runtime.tables import TextTable

WARM_UP = 3


@dataclass(frozen=True, slots=True)
class DetectorSide:
    """One of those that are compared.

    Attributes:
        name: What tables call it.
        model: A bundle or an ONNX file.
        backend: A key of `BACKENDS`.
        graph: `detector`, `pose` or `mask`: what it is used for.
    """

    name: str
    model: Path
    backend: str
    graph: str = DETECTOR_GRAPH

    def open(self, boxes: Detector, threads: int) -> Detector:
        """The detector, or the model over boxes that are known."""
        if self.graph == DETECTOR_GRAPH:
            return open_model(self.model, backend=self.backend, threads=threads)
        kind = PoseModel if self.graph == POSE_GRAPH else MaskModel
        return TopDownDetector(boxes, kind(self.model, backend=self.backend, threads=threads))


class KnownBoxes(Detector):
    """Detections that are known already.

    Args:
        seen: By the frame's index.
    """

    def __init__(self, seen: Sequence[Detections]) -> None:
        self._seen = seen

    def detect(self, frame: Frame) -> Detections:
        """Those of the frame."""
        return self._seen[frame.index]


@dataclass(frozen=True, slots=True)
class DetectorTimes:
    """What was measured of a side.

    Attributes:
        side: Which.
        milliseconds: (F,) of each frame, resizing, decoding and suppression included.
        objects: Found in a frame, on average.
    """

    side: DetectorSide
    milliseconds: tuple[float, ...]
    objects: float

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        return float(np.percentile(self.milliseconds, share))


def measure_detectors(
    sides: Sequence[DetectorSide],
    frames: Sequence[Frame],
    rounds: int,
    threads: int = 0,
    seen: Sequence[Detections] = (),
) -> list[DetectorTimes]:
    """Run all sides over the same frames, frame by frame in turns after a warm-up.

    Args:
        sides: At least one.
        frames: At least one; gone through once a round.
        rounds: How many.
        threads: Of the CPU; 0 takes all.
        seen: The boxes that pose and mask models look at, by the frame's index.

    Raises:
        UnitrackError: A model or backend cannot be used.
    """
    with ExitStack() as stack:
        detectors = [stack.enter_context(side.open(KnownBoxes(seen), threads)) for side in sides]
        for detector in detectors:
            for frame in frames[:WARM_UP]:
                detector.detect(frame)
        times: list[list[float]] = [[] for _ in sides]
        counts = [0] * len(sides)
        for turn, frame in enumerate(frame for _ in range(rounds) for frame in frames):
            # Whoever comes first changes, so that what the one leaves in caches favours nobody.
            for place in range(len(sides)):
                which = (turn + place) % len(sides)
                start = time.perf_counter()
                found = detectors[which].detect(frame)
                times[which].append((time.perf_counter() - start) * 1000)
                counts[which] += len(found)
    total = rounds * len(frames)
    return [
        DetectorTimes(side, tuple(ms), count / total)
        for side, ms, count in zip(sides, times, counts, strict=True)
    ]


def times_table(measured: Sequence[DetectorTimes]) -> TextTable:
    """For the terminal; ratios are to the first side, of frames that were neighbours in time."""
    first = np.array(measured[0].milliseconds)
    rows = [
        (
            one.side.name,
            f"{one.percentile(50):.1f}",
            f"{one.percentile(95):.1f}",
            f"{float(np.median(np.array(one.milliseconds) / first)):.2f}",
            f"{one.objects:.1f}",
        )
        for one in measured
    ]
    return TextTable(("detector", "median ms", "95 % ms", "ratio", "objects a frame"), rows)


def times_data(measured: Sequence[DetectorTimes], clip: dict[str, Any]) -> dict[str, Any]:
    """As plain data."""
    return {
        "clip": clip,
        "detectors": [
            {
                "name": one.side.name,
                "backend": one.side.backend,
                "median_ms": one.percentile(50),
                "p95_ms": one.percentile(95),
                "milliseconds": list(one.milliseconds),
                "objects": one.objects,
            }
            for one in measured
        ],
    }
