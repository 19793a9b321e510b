"""One source through one head: read, letterbox, backbone, observe, step, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ..records import Frame, Tracks
from .features import FeatureExtractor, network_size
from .graph_runner import GraphRunner
from .head import Head
from .observers import Observer
from .sinks import Sink
from .sources import Source
from .stages import StageTimes
from .stop import StopRequest

OnFrame = Callable[[Frame, Tracks], None]


class Pipeline:
    """Runs a head over a source.

    Args:
        source: Where frames come from.
        graphs: Runs `backbone`.
        head: The task.
        observer: Where detections come from; None for heads that need none.
        sinks: Where results go, in order.

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
        head: Head,
        observer: Observer | None,
        sinks: Sequence[Sink],
    ) -> None:
        self._source = source
        self._sizes = graphs.spec.sizes_hw
        self._extractor = FeatureExtractor(graphs)
        self._head = head
        self._observer = observer
        self._sinks = sinks
        self._ids: set[int] = set()
        self.frames = 0
        self.interrupted = False
        self.exhausted = False
        self.elapsed_s = 0.0
        self.times = StageTimes()

    @property
    def identities(self) -> int:
        """How many different ids were reported."""
        return len(self._ids)

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

    def _work(self, frame: Frame) -> Tracks:
        start = time.perf_counter()
        with self.times.measure("letterbox"):
            wanted = self._head.network_hw(frame.size_hw)
            size = network_size(self._sizes, wanted, frame.size_hw)
            image, letterbox = self._extractor.prepare(frame, size)
        with self.times.measure("backbone"):
            features = self._extractor.extract(image, letterbox)
        seen = None
        if self._observer is not None:
            with self.times.measure("observe"):
                seen = self._observer.observe(frame)
        with self.times.measure("head"):
            tracks = self._head.step(frame, features, seen)
        self.times.add("latency", self._age(frame, start))
        with self.times.measure("write"):
            for sink in self._sinks:
                sink.write(frame, tracks)
        # Ids only grow, so the set is as large as the answer and no larger.
        self._ids.update(np.asarray(tracks.ids).tolist())
        return tracks

    def _age(self, frame: Frame, start: float) -> float:
        if self._source.started_s is not None:
            return time.monotonic() - self._source.started_s - frame.time_s
        return time.perf_counter() - start
