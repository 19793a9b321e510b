"""What a detector costs: latency of a frame, several backends and models in turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...records import Frame
from ...runtime.detectors.model import open_model
from ...runtime.tables import TextTable

WARM_UP = 3


@dataclass(frozen=True, slots=True)
class DetectorSide:
    """One of those that are compared.

    Attributes:
        name: What tables call it.
        model: A bundle or an ONNX file.
        backend: A key of `BACKENDS`.
    """

    name: str
    model: Path
    backend: str


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
    sides: Sequence[DetectorSide], frames: Sequence[Frame], rounds: int, threads: int = 0
) -> list[DetectorTimes]:
    """Run all sides over the same frames, frame by frame in turns after a warm-up.

    Args:
        sides: At least one.
        frames: At least one; gone through once a round.
        rounds: How many.
        threads: Of the CPU; 0 takes all.

    Raises:
        UnitrackError: A model or backend cannot be used.
    """
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(open_model(side.model, backend=side.backend, threads=threads))
            for side in sides
        ]
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
                seen = detectors[which].detect(frame)
                times[which].append((time.perf_counter() - start) * 1000)
                counts[which] += len(seen)
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
