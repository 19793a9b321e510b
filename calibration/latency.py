"""How long two graphs take, side by side in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import onnx

from ..records import UInt8Array
from .probe import Probe

ROUNDS = 7


def latencies_ms(
    models: Sequence[onnx.ModelProto], image: UInt8Array, rounds: int = ROUNDS
) -> list[float]:
    """Median milliseconds of each graph on the CPU, taken in turns after one run for warming up.

    Args:
        models: Backbone graphs.
        image: (H, W, 3) uint8.
        rounds: How often each is run.
    """
    probes = [Probe(model) for model in models]
    times: list[list[float]] = [[] for _ in probes]
    for probe in probes:
        probe.features(image)
    for _ in range(rounds):
        for probe, taken in zip(probes, times, strict=True):
            start = time.perf_counter()
            probe.features(image)
            taken.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(taken) for taken in times]
