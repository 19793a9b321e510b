"""How long each stage of a frame takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

KEPT = 20_000
"""Frames that percentiles are taken over: enough for any file, bounded for a camera."""


class StageTimes:
    """Durations by stage, in the order in which stages first appeared."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Record a duration that was measured elsewhere."""
        self._seconds.setdefault(stage, deque(maxlen=KEPT)).append(seconds)

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Mean, p50, p95 and p99 of every stage in milliseconds."""
        summary = {}
        for stage, seconds in self._seconds.items():
            values = np.array(seconds) * 1e3
            p50, p95, p99 = np.percentile(values, (50, 95, 99))
            figures = {"mean": values.mean(), "p50": p50, "p95": p95, "p99": p99}
            summary[stage] = {name: round(float(value), 3) for name, value in figures.items()}
        return summary
