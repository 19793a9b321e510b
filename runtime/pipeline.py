"""One source through its tasks: detectors, backbone, heads and writers, each stage timed."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf
from operator import ge
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from ..records import Detections, Frame, Tracks
from .detectors.base import Detector
from .events import FrameEvent, RunListener, StopRequest
from .head import NOTHING, FeatureRequest, Head
from .health import FEATURES_EVERY, IMAGES_EVERY_S, ImageWatch, Pace, PaceWatch, check_features
from .inference.base import Array, Graphs
from .preprocessing import FeatureExtractor, FeatureMap, Letterbox, network_size
from .sources.base import Source
from .writers.base import Writer

Item = TypeVar("Item")

MOST_IDS = 10_000
"""Identities that a task remembers having reported."""

KEPT = 20_000
"""Frames that percentiles are taken over: enough for any file, bounded for a camera."""


class StageTimes:
    """Durations by stage, in the order in which stages first appeared."""

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}
        self._added: dict[str, int] = {}

    def add(self, stage: str, seconds: float) -> None:
        """Record a duration."""
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

_CALM = 50
"""After so many detections without a dropped frame, more frames are looked at again; after twice as
many the next time, where that was too much."""

_CALMER = 10
"""So many times as many before smaller images are given up, which cost little."""


LATE_S = 0.5
"""How far a file may fall behind the clock: frames with detections take longer than others."""


WORTH_IT = 0.25
"""Share of the time that detections take below which fewer of them would not save a late file."""


class LateFrames:
    """How many frames a source that waits would have dropped if it had not waited.

    Args:
        fps: Frames per second of the source.

    Attributes:
        count: Those of all frames so far.
        interval_s: Mean time between frames so far.
    """

    def __init__(self, fps: float) -> None:
        self.count, self._fps = 0, fps
        self.interval_s, self._taken = 0.0, 0
        self._began_s = self._due_s = 0.0

    def take(self, now_s: float) -> int:
        """The count when the next frame is taken, at a time of `time.perf_counter`."""
        # A frame that comes early gives those that follow no more time than they would have had.
        if not self._taken:
            self._began_s = self._due_s = now_s
        else:
            self.interval_s = (now_s - self._began_s) / self._taken
        self._taken += 1
        due_s = min(self._due_s, now_s)
        if now_s - due_s > LATE_S:
            # Not all of it, so that what goes on being too slow is known sooner the next time.
            self.count += max(1, round((now_s - due_s - LATE_S / 2) * self._fps))
            due_s = now_s - LATE_S / 2
        self._due_s = due_s + 1 / self._fps
        return self.count


class DetectionSchedule:
    """In which frames the detector runs: the first, and then every n-th.

    Args:
        every: n; None: as many as leave time to keep up with the source, which is known by the
            frames that a live one drops, or by `LateFrames`.
        save_time: `Detector.save_time`: what an adapting schedule does first.

    Attributes:
        every: n at present.
    """

    def __init__(
        self, every: int | None = 1, save_time: Callable[[bool], bool] = lambda _on: False
    ) -> None:
        self.every = self._asked = every or 1
        self._save_time = save_time
        self._adapts = every is None
        self._frames = self._dropped = self._calm = 0
        self._calm_needed, self._tried, self._saves = _CALM, False, False

    @property
    def adapting(self) -> bool:
        """Whether n would still rise if frames were dropped."""
        return self._adapts and self.every < MOST_BETWEEN

    def lengthen(self, interval: int) -> bool:
        """Make n so many times what was asked for; False: it follows the dropped frames."""
        if self._adapts:
            return False
        self.every = self._asked * interval
        self._frames %= self.every
        return True

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
                self._calm_needed *= 2
            self._tried, saved = False, self._saves
            self._saves = True
            if saved or not self._save_time(True):
                self.every = min(self.every + 1, MOST_BETWEEN)
        elif self._calm >= self._calm_needed and self.every > 1:
            self.every, self._calm, self._tried = self.every - 1, 0, True
        elif self._calm >= _CALMER * self._calm_needed and self._saves:
            self._saves, self._calm, self._tried = False, 0, True
            self._save_time(False)


OnFrame = Callable[[Frame, Sequence[Tracks]], None]


@dataclass(slots=True)
class TaskRunner:
    """One task of a run.

    Attributes:
        task: Its name.
        head: What does it.
        detector: Where detections come from; None for heads that need none.
        writers: Where results go, in order.
        ids: The newest identities that were reported.
        unclassed: Rows that were written whose class is not known.
    """

    task: str
    head: Head
    detector: Detector | None
    writers: Sequence[Writer]
    ids: set[int] = field(default_factory=set)
    unclassed: int = 0
    _earlier: int = 0
    _last_earlier: int = -1

    @property
    def identities(self) -> int:
        """How many were reported so far."""
        return self._earlier + len(self.ids)

    def count(self, ids: Sequence[int]) -> None:
        """Count the identities of a frame.

        Numbers rise, and none is reported for the first time long after it was given: in a run of
        months, those that are thousands behind need not be remembered.
        """
        self.ids.update(number for number in ids if number > self._last_earlier)
        if len(self.ids) > MOST_IDS:
            ordered = sorted(self.ids)
            earlier, newest = ordered[: MOST_IDS // 2], ordered[MOST_IDS // 2 :]
            self._earlier, self._last_earlier = self._earlier + len(earlier), earlier[-1]
            self.ids = set(newest)

    def dropped(self) -> dict[str, int]:
        """How many objects were found and are in no result, by reason."""
        return {**(self.detector.dropped() if self.detector else {}), **self.head.dropped()}


Features: TypeAlias = FeatureMap | Sequence[FeatureMap] | None
"""What a head gets for its request: the whole frame's, those of its regions, or nothing."""


@dataclass(frozen=True, slots=True)
class Views:
    """The images of a frame that heads want to see, each one once.

    Attributes:
        images: (1, height, width, 3) uint8 each, for the backbone.
        letterboxes: How each was made.
        wanted: Head by head, the one image of the whole frame, those of its regions, or None.
    """

    images: tuple[Array, ...]
    letterboxes: tuple[Letterbox, ...]
    wanted: tuple[int | tuple[int, ...] | None, ...]

    def given(self, features: Sequence[FeatureMap]) -> list[Features]:
        """What each head gets, of the features of all images."""
        return [
            tuple(features[k] for k in one)
            if isinstance(one, tuple)
            else (None if one is None else features[one])
            for one in self.wanted
        ]


class Viewer:
    """Makes the images that heads ask for, and their features.

    Args:
        graphs: Runs `backbone`.
        heads: Of them, the first that needs the whole frame decides its image size.
        on_host: See `FeatureExtractor`.
    """

    def __init__(self, graphs: Graphs, heads: Sequence[Head], *, on_host: bool = False) -> None:
        self._extractor = FeatureExtractor(graphs, on_host=on_host)
        self._graphs, self._spec = graphs, graphs.spec
        self._on_device = graphs.on_device
        self._heads = heads
        self._whole: tuple[tuple[int, int], Letterbox] | None = None
        self._scale = 1.0

    def shrink(self, scale: float) -> bool:
        """Make the image of the whole frame so many times as large; False: it stays as it is.

        Of heads that compare places of one frame's features with another's, it stays.
        """
        if self._whole is None or not all(h.may_shrink for h in self._heads if h.needs_features):
            return False
        (size_hw, before), former = self._whole, self._scale
        self._scale, self._whole = scale, None
        sides = self._letterbox(size_hw).network_hw
        least = (self._graphs.least("backbone", 0, axis) for axis in (1, 2))
        changed = sides != before.network_hw and all(map(ge, sides, least))
        if not changed:
            self._scale, self._whole = former, (size_hw, before)
        return changed

    def views(self, frame: Frame, requests: Sequence[FeatureRequest]) -> Views:
        """The images that answer the requests of the heads, equal ones shared."""
        places: dict[Letterbox, int] = {}

        def place(letterbox: Letterbox) -> int:
            return places.setdefault(letterbox, len(places))

        wanted: list[int | tuple[int, ...] | None] = []
        for request in requests:
            if request.regions is None:
                wanted.append(place(self._letterbox(frame.size_hw)))
            else:
                size, stride = frame.size_hw, self._spec.stride
                rows = tuple(place(region.letterbox(size, stride)) for region in request.regions)
                wanted.append(rows or None)
        if self._on_device:
            # Of several heads, the first is fed first.
            first = next((request for request in requests if request != NOTHING), NOTHING)
            if first.fed_next:
                self._graphs.send_with(first.fed_next)
        images = tuple(self._extractor.image_of(frame, letterbox) for letterbox in places)
        return Views(images, tuple(places), tuple(wanted))

    def features(self, views: Views) -> list[FeatureMap]:
        """Those of each image."""
        pairs = zip(views.images, views.letterboxes, strict=True)
        stride, run = self._spec.stride, self._graphs.run
        return [FeatureMap(run("backbone", image)[0], box, stride) for image, box in pairs]

    def _letterbox(self, size_hw: tuple[int, int]) -> Letterbox:
        """Of the whole frame: of the bundle's sizes, the one nearest to what the head wants."""
        if self._whole is None or self._whole[0] != size_hw:
            head = next(head for head in self._heads if head.needs_features)
            wanted = head.network_hw(size_hw)
            if self._scale != 1.0:
                height, width = (self._scaled(side) for side in wanted)
                wanted = height, width
            size = network_size(self._spec.sizes_hw, wanted, size_hw)
            self._whole = size_hw, Letterbox.fit(size_hw, size)
        return self._whole[1]

    def _scaled(self, side: int) -> int:
        """In whole cells of the feature map."""
        stride = self._spec.stride
        return max(1, round(side * self._scale / stride)) * stride


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that waits for the backbone.

    Attributes:
        frame: The frame.
        start_s: `time.perf_counter()` when it was handed over.
        views: What the backbone is to look at.
        detections: Task by task; None for tasks that need none, and where no detector ran.
        detects: Whether the detectors run.
        stages_s: How long each stage of the frame took so far.
    """

    frame: Frame
    start_s: float
    views: Views
    detections: tuple[Detections | None, ...]
    detects: bool = True
    stages_s: dict[str, float] = field(default_factory=dict)


AHEAD = 3
"""Frames that may wait for the backbone: where the time of a frame varies, as that of association
with appearance on demand does, one alone would leave the slowest stage without work."""


class Ahead(Generic[Item]):
    """Calls a function in a thread of its own, some calls ahead.

    Args:
        make: Called in that thread; what it raises is raised where its result is taken, and it is
            not called again.
        interrupt: Makes a call that waits come back; called where the last result is not wanted.
        depth: Most calls ahead.
    """

    def __init__(
        self, make: Callable[[], Item], interrupt: Callable[[], object], depth: int = AHEAD
    ) -> None:
        self._make = make
        self._interrupt = interrupt
        self._depth = depth
        self._worker = ThreadPoolExecutor(1, "ahead")
        self._coming: deque[Future[Item]] = deque()
        self._failed: BaseException | None = None

    def begin(self, most: float = inf) -> None:
        """Begin the next calls, and no more than `most`, unless they have begun."""
        while len(self._coming) < min(self._depth, most):
            self._coming.append(self._worker.submit(self._call))

    def __call__(self) -> Item:
        """The result of the next call, begun or not."""
        if not self._coming:
            self.begin(1)
        result = self._coming[0].result()
        self._coming.popleft()
        return result

    def end(self) -> None:
        """Wait until the thread has ended; results that nobody took are thrown away."""
        waiting = [call for call in self._coming if not call.cancel() and not call.done()]
        if waiting:
            self._interrupt()
        self._worker.shutdown()

    def _call(self) -> Item:
        if self._failed is not None:
            raise self._failed
        try:
            return self._make()
        except BaseException as error:
            self._failed = error
            raise


class Delay(Protocol):
    """Holds frames and their results back, and may add to them; see `tracking.gaps`."""

    @property
    def filled(self) -> Sequence[int]:
        """Task by task, how many rows were added."""
        ...

    def __len__(self) -> int:
        """How many frames wait."""
        ...

    def add(self, frame: Frame, stages_s: dict[str, float], results: Sequence[Tracks]) -> None:
        """Take the next frame."""
        ...

    def ready(
        self, *, ended: bool = False
    ) -> Iterator[tuple[Frame, dict[str, float], Sequence[Tracks]]]:
        """The frames that wait no longer, in order; all of them where none follows."""
        ...


class Pipeline:
    """Runs heads over a source; the backbone looks at no image twice, whoever asks for it.

    `run` does all of it. A caller with several pipelines on one backbone calls `take` and
    `finish` instead, and the backbone in between.

    Args:
        source: Where frames come from.
        graphs: Runs `backbone`.
        task_runners: The tasks; the first one that looks at the whole frame decides its image size.
        name: The source's short name, for `listeners`.
        listeners: Called after every frame.
        detect_every: See `DetectionSchedule`. In a frame without detections, the backbone runs for
            tasks that need none. Of a source whose rate is not known, None looks at all frames.
        warn: Called with a line on a live source that shows nothing, or is too fast.
        degrade: Whether less is done for a live source that is too fast; see `health.PaceWatch`.
        overlap: Whether `run` may read, detect and letterbox frames in a second thread, `AHEAD` at
            most, while heads and writers have one before. Results are the same; where a head's
            request depends on the last frame, nothing overlaps. For graphs and detectors that run
            on the CPU.
        together: Whether the caller sends images of several sources through the backbone at once.
        delay: What results wait in before they are written and listeners get them; None: nothing.

    Attributes:
        frames: Number of frames done, whether they still wait or not.
        end: One more than the number of the last one; 0 before the first.
        detected: Of these, those in which a detector ran.
        predicted: Of these, those in which a task had to do without the detector that it needs.
        without_backbone: Of these, those in which the backbone saw nothing.
        backbone_pixels: How many it saw in all of them.
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
        degrade: bool = False,
        overlap: bool = False,
        together: bool = False,
        delay: Delay | None = None,
    ) -> None:
        self._delay = delay
        self._with_features, self._look_s = 0, -inf
        self._images, self._pace = ImageWatch(warn), PaceWatch(warn, self if degrade else None)
        self._overlap = overlap and all(runner.head.asks_ahead for runner in task_runners)
        self._schedule = DetectionSchedule(detect_every, self._save_time)
        self._late: LateFrames | None = None
        if detect_every is None and not source.info.live and source.info.fps:
            self._late = LateFrames(source.info.fps)
        self._late_frames, self._detect_s = 0, 0.0
        heads = [task_runner.head for task_runner in task_runners]
        self._viewer = Viewer(graphs, heads, on_host=together)
        self._source = source
        self._task_runners = task_runners
        self._name = name
        self._listeners = listeners
        self.frames = self.detected = self.predicted = self.end = 0
        self.without_backbone = self.backbone_pixels = 0
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
        most = inf if max_frames is None else max_frames
        coming = Ahead(self.take, self._source.close) if self._overlap else self.take
        try:
            while not stop.is_set and self.frames < most:
                stop.is_waiting = True
                prepared = coming()
                stop.is_waiting = False
                if prepared is None:
                    self.exhausted = True
                    break
                if isinstance(coming, Ahead):
                    coming.begin(most - self.frames - 1)
                on_frame(prepared.frame, self.finish(prepared, self._extract(prepared)))
                self.elapsed_s = time.perf_counter() - start
        except KeyboardInterrupt:
            stop.is_set = True
        finally:
            stop.is_waiting = False
            if isinstance(coming, Ahead):
                coming.end()
        self.interrupted = stop.is_set
        self.elapsed_s = time.perf_counter() - start

    def take(self) -> Prepared | None:
        """The next frame, made ready for the backbone; None at the end of the source.

        Frames that were taken may still wait: who takes None sets `exhausted` when they are done.
        """
        stages_s: dict[str, float] = {}
        with self._measure("read", stages_s):
            frame = next(self._source, None)
        if frame is None:
            return None
        start = time.perf_counter()
        detects = self._schedule.is_due(self._lost(start))
        seen = tuple(
            self._detect(runner, frame, stages_s) if detects else None
            for runner in self._task_runners
        )
        if detects:
            self._detect_s = sum(s for stage, s in stages_s.items() if stage.endswith("detect"))
        requests = [
            NOTHING if self._predicts(runner, detects) else runner.head.request(frame, found)
            for runner, found in zip(self._task_runners, seen, strict=True)
        ]
        looks = any(request != NOTHING for request in requests)
        with self._measure("letterbox", stages_s) if looks else nullcontext():
            views = self._viewer.views(frame, requests)
        return Prepared(frame, start, views, seen, detects, stages_s)

    def _lost(self, now_s: float) -> int:
        """Frames that were dropped, or came too late for more detections than there are."""
        if self._late is None:
            return self._source.dropped
        late = self._late.take(now_s)
        if self._detect_s >= WORTH_IT * self._schedule.every * self._late.interval_s:
            self._late_frames = late
        return self._late_frames

    @staticmethod
    def _predicts(runner: TaskRunner, detects: bool) -> bool:
        """Whether a task has to do without the detections that it needs."""
        needs = runner.detector is not None and runner.head.needs_detections
        return needs and not detects

    @property
    def pace(self) -> Pace | None:
        """What is done to keep up with a live source; None for files, which wait."""
        return self._pace.pace if self._source.info.live else None

    @property
    def detect_every(self) -> int:
        """In every how manieth frame the detector runs at present."""
        return self._schedule.every

    def lengthen(self, interval: int) -> bool:
        """See `health.Reducible`."""
        detects = any(r.detector and r.head.needs_detections for r in self._task_runners)
        return detects and self._schedule.lengthen(interval)

    def shrink(self, scale: float) -> bool:
        """See `health.Reducible`."""
        return any([self._viewer.shrink(scale), *(one.resize(scale) for one in self._detectors)])

    def _save_time(self, on: bool) -> bool:
        """See `Detector.save_time`; all detectors are asked."""
        return any([*(detector.save_time(on) for detector in self._detectors)])

    @property
    def _detectors(self) -> list[Detector]:
        return [runner.detector for runner in self._task_runners if runner.detector]

    def note(self, stages_s: dict[str, float], stage: str, seconds: float) -> None:
        """Record how long a stage of a frame took; `stages_s` is the frame's own record."""
        self.times.add(stage, seconds)
        stages_s[stage] = seconds

    def finish(self, prepared: Prepared, features: Sequence[FeatureMap]) -> list[Tracks]:
        """Run the heads on a frame, write their results and call the listeners.

        Args:
            prepared: What `take` gave.
            features: Of each of its images.

        Returns:
            Task by task what the head found; where results wait, before anything is added.

        Raises:
            BackendError: The features are of no use; see `check_features`.
            UnitrackError: Whatever a detector, head or writer raises.
        """
        frame = prepared.frame
        # On a device, features and images have a way to go: not every time.
        if features and self._with_features % FEATURES_EVERY == 0:
            check_features(features, prepared.views.images, frame)
        self._with_features += bool(features)
        # What a stage ahead looked for, a head that has begun since does not need.
        found = zip(self._task_runners, prepared.detections, strict=True)
        self.detected += any(seen is not None and r.head.needs_detections for r, seen in found)
        self.predicted += any(self._predicts(r, prepared.detects) for r in self._task_runners)
        before = self._own_pixels()
        given = prepared.views.given(features)
        work = zip(self._task_runners, prepared.detections, given, strict=True)
        results = [self._step(runner, prepared, seen, found) for runner, seen, found in work]
        self.note(prepared.stages_s, "latency", self._age(prepared))
        if self._delay is None:
            self._write(frame, prepared.stages_s, results)
        if self._source.info.live and frame.time_s >= self._look_s:
            self._look_s = frame.time_s + IMAGES_EVERY_S
            self._images.look(frame)
            dropped, schedule = self._source.dropped, self._schedule
            adapting = schedule.adapting
            self._pace.look(frame.time_s, self.frames, dropped, schedule.every, adapting=adapting)
        self.frames, self.end = self.frames + 1, frame.index + 1
        shapes = [image.shape for image in prepared.views.images]
        pixels = self._own_pixels() - before + sum(shape[1] * shape[2] for shape in shapes)
        self.backbone_pixels += pixels
        self.without_backbone += not pixels
        if self._delay is not None:
            self._delay.add(frame, prepared.stages_s, results)
            self._hand_on(self._delay)
        elif self._listeners:
            self._notify(frame, prepared.stages_s, results)
        return results

    def flush(self) -> None:
        """Write what still waits, and call the listeners: no frame follows.

        Raises:
            UnitrackError: Whatever a writer raises.
        """
        start = time.perf_counter()
        if self._delay is not None:
            self._hand_on(self._delay, ended=True)
            self.elapsed_s += time.perf_counter() - start

    @property
    def written(self) -> int:
        """How many frames the writers have got."""
        return self.frames - (0 if self._delay is None else len(self._delay))

    @property
    def filled(self) -> Sequence[int]:
        """Task by task, how many rows the delay has added."""
        return [0] * len(self._task_runners) if self._delay is None else self._delay.filled

    def _hand_on(self, delay: Delay, *, ended: bool = False) -> None:
        for frame, stages_s, results in delay.ready(ended=ended):
            self._write(frame, stages_s, results)
            if self._listeners:
                self._notify(frame, stages_s, results)

    def _write(self, frame: Frame, stages_s: dict[str, float], results: Sequence[Tracks]) -> None:
        with self._measure("write", stages_s):
            for task_runner, tracks in zip(self._task_runners, results, strict=True):
                for writer in task_runner.writers:
                    writer.write(frame, tracks)
                task_runner.count(tracks.ids.tolist())
                task_runner.unclassed += int(np.count_nonzero(tracks.detections.classes < 0))

    def _own_pixels(self) -> int:
        """Of the backbone's, those that heads gave it themselves."""
        return sum(runner.head.backbone_pixels for runner in self._task_runners)

    def _extract(self, prepared: Prepared) -> list[FeatureMap]:
        if not prepared.views.images:
            return []
        with self._measure("backbone", prepared.stages_s):
            return self._viewer.features(prepared.views)

    def _prefix(self, task_runner: TaskRunner) -> str:
        return f"{task_runner.task} " if len(self._task_runners) > 1 else ""

    def _detect(
        self, task_runner: TaskRunner, frame: Frame, stages_s: dict[str, float]
    ) -> Detections | None:
        detector = task_runner.detector
        if detector is None or not task_runner.head.needs_detections:
            return None
        with self._measure(f"{self._prefix(task_runner)}detect", stages_s):
            seen = detector.detect(frame)
        return seen if detector.class_names is None else seen.named(detector.class_names)

    def _step(
        self,
        task_runner: TaskRunner,
        prepared: Prepared,
        seen: Detections | None,
        features: Features,
    ) -> Tracks:
        with self._measure(f"{self._prefix(task_runner)}head", prepared.stages_s):
            if self._predicts(task_runner, prepared.detects):
                return task_runner.head.predict(prepared.frame)
            # Heads take what answers their request, though their base class says less.
            return task_runner.head.step(prepared.frame, cast(FeatureMap, features), seen)

    def _age(self, prepared: Prepared) -> float:
        if self._source.started_s is not None:
            return time.monotonic() - self._source.started_s - prepared.frame.time_s
        return time.perf_counter() - prepared.start_s

    def _notify(self, frame: Frame, stages_s: dict[str, float], results: Sequence[Tracks]) -> None:
        tracks = {
            task_runner.task: found
            for task_runner, found in zip(self._task_runners, results, strict=True)
        }
        dropped = self._source.dropped
        event = FrameEvent(
            *(self._name, frame, tracks, dict(stages_s), dropped, self._images.health),
            *(self.pace, self._schedule.every),
        )
        for listener in self._listeners:
            listener.on_frame(event)

    @contextmanager
    def _measure(self, stage: str, stages_s: dict[str, float]) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.note(stages_s, stage, time.perf_counter() - start)
