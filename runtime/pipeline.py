"""One source through its tasks: backbone, heads and writers, with the time of every stage."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from ..records import Frame, Tracks
from .detectors.base import Detector
from .events import FrameEvent, RunListener
from .head import Head
from .inference.base import Array, Graphs
from .monitoring.features import FeatureCheck
from .monitoring.images import ImageWatch
from .monitoring.pace import PaceWatch
from .preprocessing import FeatureExtractor, FeatureMap, Letterbox, network_size
from .signals import StopRequest
from .sources.base import Source
from .writers.base import Writer

KEPT = 20_000
"""Frames that percentiles are taken over: enough for any file, bounded for a camera."""


class StageTimes:
    """Durations by stage, in the order in which stages first appeared."""

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}
        self._added: dict[str, int] = {}

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
        # Four bytes each, the newest in place of the oldest.
        kept, number = self._seconds.setdefault(stage, array("f")), self._added.get(stage, 0)
        self._added[stage] = number + 1
        if number < KEPT:
            kept.append(seconds)
        else:
            kept[number % KEPT] = seconds

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Mean, p50, p95 and p99 of every stage in milliseconds."""
        summary = {}
        for stage, seconds in self._seconds.items():
            values = np.array(seconds, np.float64) * 1e3
            p50, p95, p99 = np.percentile(values, (50, 95, 99))
            figures = {"mean": values.mean(), "p50": p50, "p95": p95, "p99": p99}
            summary[stage] = {name: round(float(value), 3) for name, value in figures.items()}
        return summary


MOST_BETWEEN = 10
"""Of so many frames a detector sees at least one, however slow it is."""

_PATIENCE = 50
"""After so many detections without a dropped frame, more frames are looked at again; after twice as
many the next time, where that was too much."""


class DetectionSchedule:
    """In which frames the detector runs: the first, and then every n-th.

    Args:
        every: n; None: as many as a live source leaves time for, which is known by the frames that
            it drops. A file, which waits, has all of its frames looked at.

    Attributes:
        every: n at present.
    """

    def __init__(self, every: int | None = 1) -> None:
        self.every = every or 1
        self._adapts = every is None
        self._frames = self._dropped = self._calm = 0
        self._patience, self._tried = _PATIENCE, False

    def is_due(self, dropped: int) -> bool:
        """Whether the detector runs in the next frame; called once a frame.

        Args:
            dropped: Frames of the source that were dropped so far.
        """
        due = self._frames == 0
        if due and self._adapts:
            self._adapt(dropped)
        self._frames = (self._frames + 1) % self.every
        return due

    def _adapt(self, dropped: int) -> None:
        lost, self._dropped = dropped > self._dropped, dropped
        self._calm = 0 if lost else self._calm + 1
        if lost:
            if self._tried:
                self._patience *= 2
            self.every, self._tried = min(self.every + 1, MOST_BETWEEN), False
        elif self._calm >= self._patience and self.every > 1:
            self.every, self._calm, self._tried = self.every - 1, 0, True


OnFrame = Callable[[Frame, Sequence[Tracks]], None]


@dataclass(slots=True)
class TaskRunner:
    """One task of a run.

    Attributes:
        task: Its name.
        head: What does it.
        detector: Where detections come from; None for heads that need none.
        writers: Where results go, in order.
        ids: Every identity that was reported.
    """

    task: str
    head: Head
    detector: Detector | None
    writers: Sequence[Writer]
    ids: set[int] = field(default_factory=set)

    def dropped(self) -> dict[str, int]:
        """How many objects were found and are in no result, by reason."""
        return {**(self.detector.dropped() if self.detector else {}), **self.head.dropped()}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that waits for the backbone.

    Attributes:
        frame: The frame.
        start_s: `time.perf_counter()` when it was handed over.
        image: (1, height, width, 3) uint8 for the backbone; None where no head needs it.
        letterbox: How the image was made; None with it.
        detects: Whether the detectors run.
    """

    frame: Frame
    start_s: float
    image: Array | None
    letterbox: Letterbox | None
    detects: bool = True


class Pipeline:
    """Runs heads over a source; the backbone runs once a frame, however many heads look at it.

    `run` does all of it. A caller with several pipelines on one backbone calls `take` and
    `finish` instead, and the backbone in between.

    Args:
        source: Where frames come from.
        graphs: Runs `backbone`.
        task_runners: The tasks; the first one that looks at the whole frame decides its image size.
        name: The source's short name, for `listeners`.
        listeners: Called after every frame.
        detect_every: See `DetectionSchedule`. In a frame without detections, the backbone runs for
            tasks that need none.
        warn: Called with a line on a live source that shows nothing, or is too fast.

    Attributes:
        frames: Number of frames done.
        end: One more than the number of the last one; 0 before the first.
        predicted: Of these, those in which no detector ran.
        interrupted: Whether the user ended the run.
        exhausted: Whether the source was read to its end.
        elapsed_s: Wall time of the loop.
        times: Durations by stage; `latency` is from capture to result for live sources, and from
            the decoded frame to the result for files.
    """

    def __init__(
        self,
        source: Source,
        graphs: Graphs,
        task_runners: Sequence[TaskRunner],
        *,
        name: str = "",
        listeners: Sequence[RunListener] = (),
        detect_every: int | None = 1,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._features = FeatureCheck()
        self._images, self._pace = ImageWatch(warn), PaceWatch(warn)
        self._schedule = DetectionSchedule(detect_every)
        self._extractor = FeatureExtractor(graphs)
        self._source = source
        self._sizes = graphs.spec.sizes_hw
        self._task_runners = task_runners
        self._name = name
        self._listeners = listeners
        self._stages_s: dict[str, float] = {}
        self._size_for: tuple[int, int] | None = None
        self._size = (0, 0)
        self.frames = self.predicted = self.end = 0
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
            UnitrackError: Whatever a source, detector, head or writer raises; what was written
                before stays.
        """
        start = time.perf_counter()
        try:
            while not stop.is_set and (max_frames is None or self.frames < max_frames):
                stop.is_waiting = True
                prepared = self.take()
                stop.is_waiting = False
                if prepared is None:
                    break
                on_frame(prepared.frame, self.finish(prepared, self._extract(prepared)))
                self.elapsed_s = time.perf_counter() - start
        except KeyboardInterrupt:
            stop.is_set = True
        finally:
            stop.is_waiting = False
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
        detects = self._schedule.is_due(self._source.dropped)
        heads = [
            task_runner.head
            for task_runner in self._task_runners
            if task_runner.head.needs_features
        ]
        if not any(detects or not head.needs_detections for head in heads):
            return Prepared(frame, start, None, None, detects)
        with self._measure("letterbox"):
            image, letterbox = self._extractor.prepare(frame, self._network_hw(heads[0], frame))
        return Prepared(frame, start, image, letterbox, detects)

    def _network_hw(self, head: Head, frame: Frame) -> tuple[int, int]:
        """Size of the network's image: of the bundle's, the one nearest to what the head wants."""
        if self._size_for != frame.size_hw:
            wanted = head.network_hw(frame.size_hw)
            self._size = network_size(self._sizes, wanted, frame.size_hw)
            self._size_for = frame.size_hw
        return self._size

    def note(self, stage: str, seconds: float) -> None:
        """Record how long a stage of the current frame took."""
        self.times.add(stage, seconds)
        self._stages_s[stage] = seconds

    def finish(self, prepared: Prepared, features: FeatureMap | None) -> list[Tracks]:
        """Run the heads on a frame, write their results and call the listeners.

        Raises:
            BackendError: The features are of no use; see `FeatureCheck`.
            UnitrackError: Whatever a detector, head or writer raises.
        """
        frame = prepared.frame
        if features is not None:
            self._features.check(features, frame)
        results = [self._step(runner, prepared, features) for runner in self._task_runners]
        self.note("latency", self._age(prepared))
        with self._measure("write"):
            for task_runner, tracks in zip(self._task_runners, results, strict=True):
                for writer in task_runner.writers:
                    writer.write(frame, tracks)
                task_runner.ids.update(tracks.ids.tolist())
        if self._source.info.live:
            self._images.look(frame)
            self._pace.add(frame.time_s, self._source.dropped, self._schedule.every)
        self.frames, self.end = self.frames + 1, frame.index + 1
        self.predicted += not prepared.detects
        if self._listeners:
            self._notify(frame, results)
        return results

    def _extract(self, prepared: Prepared) -> FeatureMap | None:
        if prepared.image is None or prepared.letterbox is None:
            return None
        with self._measure("backbone"):
            return self._extractor.extract(prepared.image, prepared.letterbox)

    def _step(
        self, task_runner: TaskRunner, prepared: Prepared, features: FeatureMap | None
    ) -> Tracks:
        prefix = f"{task_runner.task} " if len(self._task_runners) > 1 else ""
        frame, seen = prepared.frame, None
        if task_runner.detector is not None and task_runner.head.needs_detections:
            if not prepared.detects:
                with self._measure(f"{prefix}head"):
                    return task_runner.head.predict(frame)
            with self._measure(f"{prefix}detect"):
                seen = task_runner.detector.detect(frame)
            if task_runner.detector.class_names is not None:
                seen = seen.named(task_runner.detector.class_names)
        with self._measure(f"{prefix}head"):
            # None only where no head needs features, and those heads take it.
            return task_runner.head.step(frame, cast(FeatureMap, features), seen)

    def _age(self, prepared: Prepared) -> float:
        if self._source.started_s is not None:
            return time.monotonic() - self._source.started_s - prepared.frame.time_s
        return time.perf_counter() - prepared.start_s

    def _notify(self, frame: Frame, results: Sequence[Tracks]) -> None:
        tracks = {
            task_runner.task: found
            for task_runner, found in zip(self._task_runners, results, strict=True)
        }
        event = FrameEvent(
            self._name,
            frame,
            tracks,
            dict(self._stages_s),
            self._source.dropped,
            self._images.health,
        )
        for listener in self._listeners:
            listener.on_frame(event)

    @contextmanager
    def _measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.note(stage, time.perf_counter() - start)
