"""How long each stage of a frame takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from ..records import Frame, Tracks
from .detectors.base import Observer
from .events import FrameEvent, RunObserver
from .head import Head
from .inference.base import Array
from .inference.runner import GraphRunner
from .preprocessing import FeatureExtractor, FeatureMap, Letterbox, network_size
from .signals import StopRequest
from .sources.base import Source
from .writers.base import Sink

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


OnFrame = Callable[[Frame, Sequence[Tracks]], None]


@dataclass(slots=True)
class Lane:
    """One task of a run.

    Attributes:
        task: Its name.
        head: What does it.
        observer: Where detections come from; None for heads that need none.
        sinks: Where results go, in order.
        ids: Every identity that was reported.
    """

    task: str
    head: Head
    observer: Observer | None
    sinks: Sequence[Sink]
    ids: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that waits for the backbone.

    Attributes:
        frame: The frame.
        start_s: `time.perf_counter()` when it was handed over.
        image: (1, height, width, 3) uint8 for the backbone; None where no head needs it.
        letterbox: How the image was made; None with it.
    """

    frame: Frame
    start_s: float
    image: Array | None
    letterbox: Letterbox | None


class Pipeline:
    """Runs heads over a source; the backbone runs once a frame, however many heads look at it.

    `run` does all of it. Who runs several pipelines on one backbone calls `take` and `finish`
    instead, and the backbone in between.

    Args:
        source: Where frames come from.
        graphs: Runs `backbone`.
        lanes: The tasks; the first one that looks at the whole frame decides its image size.
        name: The source's short name, for `observers`.
        observers: Told of every frame.

    Attributes:
        frames: Number of frames done.
        interrupted: Whether the user ended the run.
        exhausted: Whether the source was read to its end.
        elapsed_s: Wall time of the loop.
        times: Durations by stage; `latency` is from capture to result for live sources, and from
            the decoded frame to the result for files.
    """

    def __init__(
        self,
        source: Source,
        graphs: GraphRunner,
        lanes: Sequence[Lane],
        *,
        name: str = "",
        observers: Sequence[RunObserver] = (),
    ) -> None:
        self._extractor = FeatureExtractor(graphs)
        self._source = source
        self._sizes = graphs.spec.sizes_hw
        self._lanes = lanes
        self._name = name
        self._observers = observers
        self._stages_s: dict[str, float] = {}
        self.frames = 0
        self.interrupted = False
        self.exhausted = False
        self.elapsed_s = 0.0
        self.times = StageTimes()

    def run(
        self,
        stop: StopRequest,
        *,
        max_frames: int | None = None,
        on_frame: OnFrame = lambda _frame, _tracks: None,
    ) -> None:
        """Work until the source ends, `max_frames` are done or the user stops.

        Raises:
            UnitrackError: Whatever a source, observer, head or sink raises; what was written
                before stays.
        """
        start = time.perf_counter()
        try:
            while not stop.is_set and (max_frames is None or self.frames < max_frames):
                with stop.waiting():
                    prepared = self.take()
                if prepared is None:
                    break
                on_frame(prepared.frame, self.finish(prepared, self._extract(prepared)))
                self.elapsed_s = time.perf_counter() - start
        except KeyboardInterrupt:
            stop.is_set = True
        self.interrupted = stop.is_set
        self.elapsed_s = time.perf_counter() - start

    def take(self) -> Prepared | None:
        """The next frame, made ready for the backbone; None at the end of the source."""
        self._stages_s = {}
        with self._measure("read"):
            frame = next(self._source, None)
        if frame is None:
            self.exhausted = True
            return None
        start = time.perf_counter()
        heads = [lane.head for lane in self._lanes if lane.head.needs_features]
        if not heads:
            return Prepared(frame, start, None, None)
        with self._measure("letterbox"):
            wanted = heads[0].network_hw(frame.size_hw)
            size = network_size(self._sizes, wanted, frame.size_hw)
            image, letterbox = self._extractor.prepare(frame, size)
        return Prepared(frame, start, image, letterbox)

    def note(self, stage: str, seconds: float) -> None:
        """Record how long a stage of the frame in hand took."""
        self.times.add(stage, seconds)
        self._stages_s[stage] = seconds

    def finish(self, prepared: Prepared, features: FeatureMap | None) -> list[Tracks]:
        """Run the heads on a frame, write what they found and tell the observers."""
        frame = prepared.frame
        results = [self._step(lane, frame, features) for lane in self._lanes]
        self.note("latency", self._age(prepared))
        with self._measure("write"):
            for lane, tracks in zip(self._lanes, results, strict=True):
                for sink in lane.sinks:
                    sink.write(frame, tracks)
                lane.ids.update(tracks.ids.tolist())
        self.frames += 1
        if self._observers:
            self._tell(frame, results)
        return results

    def _extract(self, prepared: Prepared) -> FeatureMap | None:
        if prepared.image is None or prepared.letterbox is None:
            return None
        with self._measure("backbone"):
            return self._extractor.extract(prepared.image, prepared.letterbox)

    def _step(self, lane: Lane, frame: Frame, features: FeatureMap | None) -> Tracks:
        prefix = f"{lane.task} " if len(self._lanes) > 1 else ""
        seen = None
        if lane.observer is not None:
            with self._measure(f"{prefix}observe"):
                seen = lane.observer.observe(frame)
        with self._measure(f"{prefix}head"):
            # None only where no head needs features, and those heads take it.
            return lane.head.step(frame, cast(FeatureMap, features), seen)

    def _age(self, prepared: Prepared) -> float:
        if self._source.started_s is not None:
            return time.monotonic() - self._source.started_s - prepared.frame.time_s
        return time.perf_counter() - prepared.start_s

    def _tell(self, frame: Frame, results: Sequence[Tracks]) -> None:
        tracks = {lane.task: found for lane, found in zip(self._lanes, results, strict=True)}
        event = FrameEvent(self._name, frame, tracks, dict(self._stages_s), self._source.dropped)
        for observer in self._observers:
            observer.on_frame(event)

    @contextmanager
    def _measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.note(stage, time.perf_counter() - start)
