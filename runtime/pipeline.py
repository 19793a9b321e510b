"""One source through one or more heads: read, letterbox, backbone, then each head in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from ..records import Frame, Tracks
from .features import FeatureExtractor, FeatureMap, network_size
from .graph_runner import GraphRunner
from .head import Head
from .observers import Observer
from .sinks import Sink
from .sources import Source
from .stages import StageTimes
from .stop import StopRequest

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


class Pipeline:
    """Runs heads over a source; the backbone runs once a frame, however many heads look at it.

    Args:
        source: Where frames come from.
        graphs: Runs `backbone`.
        lanes: The tasks; the first one that looks at the whole frame decides its image size.

    Attributes:
        frames: Number of frames done.
        interrupted: Whether the user ended the run.
        exhausted: Whether the source was read to its end.
        elapsed_s: Wall time of the loop.
        times: Durations by stage; `latency` is from capture to result for live sources, and from
            the decoded frame to the result for files.
    """

    def __init__(self, source: Source, graphs: GraphRunner, lanes: Sequence[Lane]) -> None:
        self._source = source
        self._sizes = graphs.spec.sizes_hw
        self._extractor = FeatureExtractor(graphs)
        self._lanes = lanes
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
                with stop.waiting(), self.times.measure("read"):
                    frame = next(self._source, None)
                if frame is None:
                    self.exhausted = True
                    break
                on_frame(frame, self._work(frame))
                self.frames += 1
                self.elapsed_s = time.perf_counter() - start
        except KeyboardInterrupt:
            stop.is_set = True
        self.interrupted = stop.is_set
        self.elapsed_s = time.perf_counter() - start

    def _work(self, frame: Frame) -> list[Tracks]:
        start = time.perf_counter()
        features = self._features(frame)
        results = [self._step(lane, frame, features) for lane in self._lanes]
        self.times.add("latency", self._age(frame, start))
        with self.times.measure("write"):
            for lane, tracks in zip(self._lanes, results, strict=True):
                for sink in lane.sinks:
                    sink.write(frame, tracks)
                lane.ids.update(tracks.ids.tolist())
        return results

    def _features(self, frame: Frame) -> FeatureMap | None:
        heads = [lane.head for lane in self._lanes if lane.head.needs_features]
        if not heads:
            return None
        with self.times.measure("letterbox"):
            wanted = heads[0].network_hw(frame.size_hw)
            size = network_size(self._sizes, wanted, frame.size_hw)
            image, letterbox = self._extractor.prepare(frame, size)
        with self.times.measure("backbone"):
            return self._extractor.extract(image, letterbox)

    def _step(self, lane: Lane, frame: Frame, features: FeatureMap | None) -> Tracks:
        prefix = f"{lane.task} " if len(self._lanes) > 1 else ""
        seen = None
        if lane.observer is not None:
            with self.times.measure(f"{prefix}observe"):
                seen = lane.observer.observe(frame)
        with self.times.measure(f"{prefix}head"):
            # None only where no head needs features, and those heads take it.
            return lane.head.step(frame, cast(FeatureMap, features), seen)

    def _age(self, frame: Frame, start: float) -> float:
        if self._source.started_s is not None:
            return time.monotonic() - self._source.started_s - frame.time_s
        return time.perf_counter() - start
