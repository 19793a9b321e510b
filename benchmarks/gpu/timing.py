"""Times on a device that works on while the host goes on: a watch that waits, and fair turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..timing import Stages, Stopwatch

PERCENTILES = 50, 95, 99

FRAME = "frame"
"""The whole of it, from the image to the answer on the host."""


class DeviceStopwatch(Stopwatch):
    """Seconds of a frame, and where that is asked for of its stages.

    A stage's own time is known only if the device is waited for before and after it.  The waiting
    costs time itself and keeps host and device from working side by side, so whole frames are
    measured without it, in frames of their own.

    Args:
        synchronize: Waits until the device has done all it was given.

    Attributes:
        staged: Whether stages are timed separately; if not, only `FRAME` means something.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        super().__init__()
        self.staged = False
        self._synchronize = synchronize
        self._start: float | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage; the first one of a frame starts the frame."""
        if self.staged or self._start is None:
            self._synchronize()
        if self._start is None:
            self._start = time.perf_counter()
        with super().stage(name):
            yield
            if self.staged:
                self._synchronize()

    def take(self) -> Stages:
        """The stages so far and the whole frame, once the device has done all; starts over."""
        self._synchronize()
        end = time.perf_counter()
        stages = super().take()
        stages[FRAME] = end - (end if self._start is None else self._start)
        self._start = None
        return stages


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the same work.

    Attributes:
        watch: Measures `frame`.
        frame: Does a frame, given its number; its times.
        backbone: Queues the backbone on an image that is on the device already.
    """

    watch: DeviceStopwatch
    frame: Callable[[int], Stages]
    backbone: Callable[[], object]


@dataclass(slots=True)
class Samples:
    """Seconds of all counted frames.

    Attributes:
        frames: Of whole frames.
        stages: Of frames whose stages were timed separately.
        backbone: Of the backbone alone, one back to back with the next.
    """

    frames: list[float] = field(default_factory=list)
    stages: list[Stages] = field(default_factory=list)
    backbone: list[float] = field(default_factory=list)

    def add(self, other: Samples) -> None:
        """Take those of another race as well."""
        self.frames += other.frames
        self.stages += other.stages
        self.backbone += other.backbone


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often what is done.

    Attributes:
        warm_up: Rounds that do not count.
        counted: Rounds that do.
        burst: Frames of one contestant in a row, as a video would bring them; once as whole frames
            and once by stages.
        repeats: Runs of the backbone in a row.
    """

    warm_up: int
    counted: int
    burst: int
    repeats: int


def race(
    contestants: Mapping[str, Contestant],
    rounds: Rounds,
    synchronize: Callable[[], None],
    *,
    before_round: Callable[[], None],
    after_warm_up: Callable[[], None],
) -> dict[str, Samples]:
    """Let all do their bursts in turn, so that what disturbs the machine disturbs all of them.

    Args:
        contestants: By name.
        rounds: How often.
        synchronize: Waits for the device.
        before_round: Called before every round that counts.
        after_warm_up: Called after every round that does not, when all have done the same frames.
    """
    samples = {name: Samples() for name in contestants}
    for number in range(rounds.warm_up + rounds.counted):
        counts = number >= rounds.warm_up
        if counts:
            before_round()
        for name, contestant in contestants.items():
            found = _round(contestant, number, rounds, synchronize)
            if counts:
                samples[name].frames += found.frames
                samples[name].stages += found.stages
                samples[name].backbone += found.backbone
        if not counts:
            after_warm_up()
    return samples


def _round(
    contestant: Contestant, number: int, rounds: Rounds, synchronize: Callable[[], None]
) -> Samples:
    first = 1 + number * 2 * rounds.burst
    found = Samples()
    contestant.watch.staged = False
    for frame in range(first, first + rounds.burst):
        found.frames.append(contestant.frame(frame)[FRAME])
    contestant.watch.staged = True
    for frame in range(first + rounds.burst, first + 2 * rounds.burst):
        stages = contestant.frame(frame)
        del stages[FRAME]
        found.stages.append(stages)
    synchronize()
    start = time.perf_counter()
    for _ in range(rounds.repeats):
        contestant.backbone()
    synchronize()
    found.backbone.append((time.perf_counter() - start) / rounds.repeats)
    return found


def percentiles_ms(seconds: Sequence[float]) -> list[float]:
    """Milliseconds at `PERCENTILES`."""
    return [round(float(value) * 1e3, 4) for value in np.percentile(seconds, PERCENTILES)]
