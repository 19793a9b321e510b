"""What follows from measured frames: percentiles, FPS, ratios, and whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .measure import Rounds

NOISY = 0.10
"""Rounds of one side that differ by more than this share of their median prove nothing."""

PERCENTILES = (50, 95, 99)

_HIDDEN_STAGES = frozenset({"read", "write", "detect"})
"""Frames and detections lie in memory and results go nowhere: these take no time here."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SideFigures:
    """One side.

    Attributes:
        stages_ms: p50, p95, p99 and the best of every stage; `latency` is capture to result.
        fps: Frames per second, without pauses between frames.
        jitter_ms: Mean difference between the latencies of one frame and the next.
        rounds_ms: Median latency of every round.
        latencies_ms: Of every frame.
    """

    stages_ms: Mapping[str, Mapping[str, float]]
    fps: float
    jitter_ms: float
    rounds_ms: tuple[float, ...]
    latencies_ms: tuple[float, ...]

    @property
    def spread(self) -> float:
        """How far the rounds lie apart: largest less smallest median, over their median."""
        return spread(self.rounds_ms)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster one side is than another.

    Attributes:
        value: Median over all frames of one latency over its neighbour's.
        rounds: The same of every round.
    """

    value: float
    rounds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """How far the rounds lie apart; see `SideFigures.spread`."""
        return spread(self.rounds)


def spread(values: Sequence[float]) -> float:
    """Largest less smallest value, over their median."""
    return float(np.ptp(values) / np.median(values))


def side_figures(rounds: Rounds) -> SideFigures:
    """The figures of one side from its frames."""
    frames = [frame for one in rounds for frame in one]
    latencies = _latencies_ms(rounds)
    together = np.concatenate(latencies)
    seconds = [
        sum(frame.get(stage, 0.0) for stage in ("read", "latency", "write")) for frame in frames
    ]
    return SideFigures(
        stages_ms={
            stage: _percentiles([frame[stage] * 1e3 for frame in frames])
            for stage in frames[0]
            if stage not in _HIDDEN_STAGES
        },
        fps=len(frames) / sum(seconds),
        jitter_ms=float(np.abs(np.diff(together)).mean()) if len(together) > 1 else 0.0,
        rounds_ms=tuple(float(np.median(one)) for one in latencies),
        latencies_ms=tuple(together.tolist()),
    )


def ratio(slow: Rounds, fast: Rounds) -> Ratio:
    """How many times faster `fast` is than `slow`, of frames measured next to one another.

    A disturbance that lasts longer than a frame is on both sides of a quotient, and one that does
    not is beyond the median.
    """
    pairs = zip(_latencies_ms(slow), _latencies_ms(fast), strict=True)
    quotients = [a / b for a, b in pairs]
    return Ratio(
        float(np.median(np.concatenate(quotients))),
        tuple(float(np.median(one)) for one in quotients),
    )


def noise_notes(
    figures: Mapping[str, SideFigures], ratios: Mapping[str, Ratio], base: str
) -> list[str]:
    """What cannot be concluded, in plain words; empty where the machine was quiet enough."""
    notes = [
        f"the machine was too noisy to conclude how long {name} takes: the rounds' medians differ "
        f"by {one.spread:.1%}, expected {NOISY:.0%} at most"
        for name, one in figures.items()
        if one.spread > NOISY
    ]
    notes += [
        f"the machine was too noisy to conclude how {name} compares with {base}: the rounds' "
        f"ratios differ by {one.spread:.1%}, expected {NOISY:.0%} at most"
        for name, one in ratios.items()
        if one.spread > NOISY
    ]
    if notes:
        notes.append("end other programs, or give more --rounds and --frames")
    return notes


def _latencies_ms(rounds: Rounds) -> list[Float64]:
    return [np.array([frame["latency"] * 1e3 for frame in one]) for one in rounds]


def _percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    points = np.percentile(values_ms, PERCENTILES)
    found = {f"p{p}": float(value) for p, value in zip(PERCENTILES, points, strict=True)}
    return {**found, "best": float(min(values_ms))}
