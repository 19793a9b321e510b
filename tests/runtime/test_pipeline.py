"""The loop of a run: order, times, live sources, sizes, and every way in which it can end."""

from __future__ import annotations

import json
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, OutputError
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime import events
from unitrack_edge.runtime import pipeline as stages
from unitrack_edge.runtime.detectors.base import Detector
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.head import NOTHING, WHOLE, FeatureRequest, Head
from unitrack_edge.runtime.pipeline import (
    LATE_S,
    MOST_BETWEEN,
    DetectionSchedule,
    LateFrames,
    Pipeline,
    StageTimes,
    TaskRunner,
)
from unitrack_edge.runtime.preprocessing import FeatureMap, Region, network_size
from unitrack_edge.runtime.sources.base import SourceInfo
from unitrack_edge.tracking import session
from unitrack_edge.tracking.config import RunConfig, SourceConfig, TrackConfig

SIZE = (48, 64)
CHANNELS = 4


class FakeSource:
    """Frames of some numbers, as a file or as a live source that drops what lies between."""

    def __init__(self, indices=range(5), started_s=None, before=lambda _index: None):
        live = started_s is not None
        kind = "camera" if live else "video"
        self.info = SourceInfo("fake", kind, SIZE, 25.0, None, live)
        self.started_s = started_s
        self.ended_early = None
        self.dropped = 0
        self.closed = False
        self._indices = iter(indices)
        self._next = 0
        self._before = before

    def ready(self):
        return True

    def notes(self):
        return []

    def __iter__(self):
        return self

    def __next__(self):
        index = next(self._indices)
        self._before(index)
        self.dropped += index - self._next
        self._next = index + 1
        return Frame(index, index / 25, np.full((*SIZE, 3), index % 256, np.uint8))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True


class SceneSource(FakeSource):
    def __init__(self, scene):
        super().__init__()
        self._frames = iter(scene)

    def __next__(self):
        return next(self._frames)


class FakeGraphs:
    """A backbone that counts, and gives features of the right shape."""

    def __init__(self, sizes_hw=()):
        self.spec = SimpleNamespace(stride=8, sizes_hw=sizes_hw)
        self.images = []

    on_device = False

    def least(self, _graph, _input_index, _axis):
        return 1

    def run(self, graph, image):
        assert graph == "backbone"
        self.images.append(image)
        _, height, width, _ = image.shape
        return (np.zeros((1, -(-height // 8), -(-width // 8), CHANNELS), np.float32),)


class FakeHead(Head):
    """Reports one object whose id is the frame's number + 1, and keeps what it was given."""

    def __init__(self, wanted_hw=(64, 96), work=lambda _frame: None):
        self.calls = []
        self._wanted_hw = wanted_hw
        self._work = work

    def network_hw(self, source_hw):
        assert source_hw == SIZE
        return self._wanted_hw

    def predict(self, frame):
        self.calls.append((frame.index, None, "predicted"))
        return tracks_of(frame.index)

    def step(self, frame, features, detections=None):
        self._work(frame)
        self.calls.append((frame.index, features, detections))
        return tracks_of(frame.index)

    def reset(self):
        self.calls.clear()


class FakeDetector(Detector):
    class_names = ("person",)

    def detect(self, frame):
        return Detections(
            np.array([[0, 0, 5 + frame.index, 5]], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int64),
        )


class FakeWriter:
    def __init__(self, work=lambda _frame: None):
        self.written = []
        self._work = work

    def write(self, frame, tracks):
        self._work(frame)
        self.written.append((frame.index, tracks.ids.tolist()))


def tracks_of(index):
    seen = Detections(
        np.array([[1, 2, 11, 22]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    return Tracks(index, np.array([index + 1], np.int64), seen)


def make(source=None, head=None, *, detector=None, writer=None, sizes_hw=(), **settings):
    head = head or FakeHead()
    head.needs_detections = detector is not None
    task_runner = TaskRunner("mot", head or FakeHead(), detector, [writer or FakeWriter()])
    graphs = FakeGraphs(sizes_hw)
    pipeline = Pipeline(source or FakeSource(), graphs, [task_runner], **settings)
    return pipeline, task_runner, graphs


# What a frame goes through.


def test_frames_go_through_all_stages_in_order():
    pipeline, task_runner, graphs = make(detector=FakeDetector())
    told = []
    pipeline.run(StopRequest(), on_frame=lambda frame, tracks: told.append((frame.index, tracks)))
    assert (pipeline.frames, pipeline.exhausted, pipeline.interrupted) == (5, True, False)
    assert [index for index, _ in told] == [0, 1, 2, 3, 4]
    assert [tracks[0].ids.tolist() for _, tracks in told] == [[1], [2], [3], [4], [5]]
    assert task_runner.writers[0].written == [(index, [index + 1]) for index in range(5)]
    assert task_runner.ids == {1, 2, 3, 4, 5}
    for index, (number, features, seen) in enumerate(task_runner.head.calls):
        assert number == index
        assert isinstance(features, FeatureMap)
        assert (features.grid_hw, features.stride) == ((8, 12), 8)
        assert seen.boxes_xyxy[0, 2] == 5 + index
        assert seen.class_names == ("person",)
    assert [image.shape for image in graphs.images] == [(1, 64, 96, 3)] * 5
    assert all(image.dtype == np.uint8 for image in graphs.images)
    # The image lies in the middle of the network's image, the rest is padding.
    assert (graphs.images[3][0, 10:50, 20:80] == 3).all()
    summary = pipeline.times.summary_ms()
    wanted = ["read", "detect", "letterbox", "backbone", "head", "latency", "write"]
    assert list(summary) == wanted


class TwoFrames:
    """A delay of two frames, that adds a second object to each."""

    def __init__(self):
        self.filled, self._waiting = [0], []

    def __len__(self):
        return len(self._waiting)

    def add(self, frame, stages_s, results):
        (tracks,) = results
        two = np.append(tracks.ids, 90 + frame.index)
        seen = tracks.detections[np.array([0, 0])]
        self._waiting.append((frame, stages_s, [Tracks(frame.index, two, seen)]))

    def ready(self, *, ended=False):
        while len(self._waiting) > (0 if ended else 2):
            yield self._waiting[0]
            self._waiting.pop(0)
            self.filled[0] += 1


class Listener:
    def __init__(self):
        self.frames = []

    def on_frame(self, event):
        self.frames.append((event.frame.index, event.tracks["mot"].ids.tolist(), event.stages_s))


def test_what_waits_is_written_and_passed_on_later_and_at_the_end():
    listener = Listener()
    pipeline, runner, _ = make(listeners=[listener], delay=TwoFrames())
    told = []
    pipeline.run(StopRequest(), on_frame=lambda frame, found: told.append((frame.index, found)))
    written = runner.writers[0].written
    assert written == [(index, [index + 1, 90 + index]) for index in range(3)]
    assert (pipeline.frames, pipeline.written, pipeline.filled) == (5, 3, [3])
    # Progress is that of the heads.
    assert [(index, found[0].ids.tolist()) for index, found in told] == [
        (index, [index + 1]) for index in range(5)
    ]
    before_s = pipeline.elapsed_s
    pipeline.flush()
    assert pipeline.elapsed_s > before_s
    assert written == [(index, [index + 1, 90 + index]) for index in range(5)]
    assert (pipeline.written, pipeline.filled) == (5, [5])
    assert [frame[:2] for frame in listener.frames] == written
    # Each frame's own times, the writing of it too.
    assert all({"head", "latency", "write"} <= stages.keys() for _, _, stages in listener.frames)
    assert len({stages["head"] for _, _, stages in listener.frames}) == 5
    assert runner.ids == {*range(1, 6), *range(90, 95)}


def test_what_waits_is_not_counted_as_written_when_a_writer_fails():
    def refuse(frame):
        if frame.index == 2:
            raise OutputError("disk full")

    pipeline, runner, _ = make(writer=FakeWriter(refuse), delay=TwoFrames())
    with pytest.raises(OutputError, match="disk full"):
        pipeline.run(StopRequest())
    assert [index for index, _ in runner.writers[0].written] == [0, 1]
    assert (pipeline.frames, pipeline.written) == (5, 2)


def test_without_a_delay_all_is_written_at_once():
    pipeline, runner, _ = make()
    pipeline.run(StopRequest())
    pipeline.flush()
    assert len(runner.writers[0].written) == 5
    assert (pipeline.written, pipeline.filled) == (5, [0])


def test_identities_are_counted_whatever_their_number():
    runner = TaskRunner("mot", FakeHead(), None, [])
    rng = np.random.default_rng(0)
    seen = set()
    for first in range(1, 5 * stages.MOST_IDS, 50):
        # In any order, some never, and with a few that are as old as the run.
        ids = [number for number in range(first, first + 60) if number % 7]
        ids = [*rng.permutation(ids).tolist(), 1, 2]
        runner.count(ids)
        seen.update(ids)
        assert runner.identities == len(seen)
    assert len(runner.ids) <= stages.MOST_IDS


def test_between_detections_nothing_is_computed_and_every_frame_has_a_result():
    pipeline, task_runner, graphs = make(detector=FakeDetector(), detect_every=3)
    pipeline.run(StopRequest())
    looked_at = [seen is None or len(seen) == 1 for _, _, seen in task_runner.head.calls]
    assert looked_at == [True, False, False, True, False]
    assert [index for index, _ in task_runner.writers[0].written] == [0, 1, 2, 3, 4]
    assert (len(graphs.images), pipeline.predicted) == (2, 3)


def test_a_task_without_detections_gets_the_features_of_every_frame():
    pipeline, task_runner, graphs = make(detector=FakeDetector(), detect_every=3)
    other = TaskRunner("vos", FakeHead(), None, [FakeWriter()])
    pipeline = Pipeline(FakeSource(), graphs, [task_runner, other], detect_every=3)
    pipeline.run(StopRequest())
    assert len(graphs.images) == 5
    assert all(isinstance(features, FeatureMap) for _, features, _ in other.head.calls)
    assert [seen == "predicted" for _, _, seen in task_runner.head.calls] == [
        False, True, True, False, True
    ]  # fmt: skip


def due_frames(schedule, frames, dropped=lambda _index: 0):
    return [index for index in range(frames) if schedule.is_due(dropped(index))]


def test_a_schedule_begins_with_the_first_frame():
    assert due_frames(DetectionSchedule(), 4) == [0, 1, 2, 3]
    assert due_frames(DetectionSchedule(4), 10) == [0, 4, 8]


def test_a_schedule_that_adapts_looks_at_all_frames_while_none_is_late():
    assert due_frames(DetectionSchedule(None), 300) == list(range(300))


def late_frames(times_s, fps=25.0):
    late = LateFrames(fps)
    return [late.take(time_s) for time_s in times_s]


def test_a_file_is_late_once_it_is_half_a_second_behind():
    assert set(late_frames(np.arange(500) / 25)) == {0}
    # Frames that take twice their time: 0.04 s more behind with every one of them.
    late = late_frames(np.arange(40) * 0.08)
    assert [late.index(count) for count in sorted(set(late))] == [0, 13, 20, 27, 34]
    assert 26 <= late[-1] <= 34, "of 34 frames behind, 6 to 12 may still be made up for"
    # One slow frame among quick ones is made up for.
    assert set(late_frames(np.cumsum([0.4 if i % 20 == 0 else 0.02 for i in range(200)]))) == {0}
    # But not in advance.
    assert late_frames([0.0, 0.01, 0.02, 0.03, 0.6])[-1] > 0


class Clock:
    """`time.perf_counter` of a run whose work takes as long as it says."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(("detect_s", "every"), [(0.02, 1), (0.05, 2), (0.08, 3)])
def test_auto_keeps_up_with_the_rate_of_a_file(monkeypatch, detect_s, every):
    """25 FPS leave 0.04 s a frame, of which 0.01 s are the head's."""
    pipeline, clock = run_by_the_clock(monkeypatch, detect_s, 0.01)
    assert pipeline.detect_every == every
    assert clock.now_s < 1000 / 25 + 3 * LATE_S
    looked_at = 1000 - pipeline.predicted
    assert looked_at >= 1000 / (every + 0.2), "no more frames are left out than have to be"


def test_auto_gives_up_no_detections_that_would_not_save_a_late_file(monkeypatch):
    pipeline, clock = run_by_the_clock(monkeypatch, 0.02, 0.2)
    assert clock.now_s > 1000 / 25 + 100
    assert pipeline.predicted == 0


@pytest.mark.parametrize(
    ("detect_s", "saved_s", "every"), [(0.02, 0.01, 1), (0.1, 0.025, 1), (0.1, 0.05, 2)]
)
def test_auto_looks_at_smaller_images_before_fewer(monkeypatch, detect_s, saved_s, every):
    """As above; the detector needs less time where it is to save some."""
    pipeline, clock = run_by_the_clock(monkeypatch, detect_s, 0.01, saved_s)
    assert pipeline.detect_every == every
    assert clock.now_s < 1000 / 25 + 3 * LATE_S
    assert 1000 - pipeline.predicted >= 1000 / (every + 0.2)
    saves = pipeline._task_runners[0].detector.saves
    assert saves[:1] == ([] if detect_s < 0.03 else [True])


def test_smaller_images_are_given_up_when_there_has_been_time_for_long():
    asked = []
    schedule = DetectionSchedule(None, lambda on: asked.append(on) or True)
    schedule.is_due(0)
    due_frames(schedule, 500, lambda _index: 3)
    assert (asked, schedule.every) == ([True], 1)
    due_frames(schedule, 10, lambda _index: 3)
    assert asked == [True, False]
    # That was too early: the next time is later.
    due_frames(schedule, 990, lambda _index: 6)
    assert (asked, schedule.every) == ([True, False, True], 1)
    due_frames(schedule, 100, lambda _index: 6)
    assert asked == [True, False, True, False]


def run_by_the_clock(monkeypatch, detect_s, head_s, saved_s=None):
    clock = Clock()
    monkeypatch.setattr(stages.time, "perf_counter", clock)

    class Slow(FakeDetector):
        def __init__(self):
            self.saves = []

        def detect(self, frame):
            clock.now_s += saved_s if self.saves[-1:] == [True] else detect_s
            return super().detect(frame)

        def save_time(self, on):
            if saved_s is not None:
                self.saves.append(on)
            return saved_s is not None

    pipeline, _, _ = make(FakeSource(range(1000)), detector=Slow(), detect_every=None)
    for _ in range(1000):
        prepared = pipeline.take()
        clock.now_s += head_s
        pipeline.finish(prepared, pipeline._extract(prepared))
    return pipeline, clock


@pytest.mark.parametrize("affordable", [2, 4])
def test_a_schedule_that_adapts_keeps_up(affordable):
    """Frames are dropped as long as more than every n-th is looked at."""
    schedule, dropped, lost = DetectionSchedule(None), 0, []
    for index in range(6000):
        schedule.is_due(dropped)
        if schedule.every < affordable:
            dropped += 1
            lost.append(index)
    assert schedule.every == affordable
    assert len(lost) < 30, "it does not go on trying"
    late = DetectionSchedule(None)
    due_frames(late, 1000, lambda index: index)
    assert late.every == MOST_BETWEEN
    due_frames(late, 10000, lambda _index: 999)
    assert late.every == 1, "once there is time again, all frames are looked at"


def test_slow_stages_are_found_slow():
    pipeline, _, _ = make(
        FakeSource(range(3), before=lambda _: time.sleep(0.1)),
        FakeHead(work=lambda _: time.sleep(0.01)),
        writer=FakeWriter(work=lambda _: time.sleep(0.1)),
    )
    pipeline.run(StopRequest())
    summary = pipeline.times.summary_ms()
    # From the decoded frame to the result: neither reading nor writing counts.
    assert summary["read"]["p50"] >= 95
    assert summary["head"]["p50"] >= 10
    assert summary["write"]["p50"] >= 100
    assert 10 <= summary["latency"]["p50"] < 90
    assert summary["letterbox"]["p50"] < 90
    assert pipeline.elapsed_s >= 3 * 0.21


def test_stage_times_are_percentiles_of_milliseconds(monkeypatch):
    times = StageTimes()
    for value in range(1, 101):
        times.add("head", value / 1e3)
    assert times.summary_ms() == {"head": {"mean": 50.5, "p50": 50.5, "p95": 95.05, "p99": 99.01}}
    # Bounded, for cameras that run for weeks: the newest count.
    monkeypatch.setattr(stages, "KEPT", 3)
    few = StageTimes()
    for value in (9.0, 9.0, 1.0, 2.0, 3.0):
        few.add("head", value)
    assert few.summary_ms()["head"]["mean"] == 2000


def test_two_tasks_share_one_pass_of_the_backbone():
    first, second = FakeHead((64, 96)), FakeHead((480, 640))
    task_runners = [
        TaskRunner("mot", first, None, [FakeWriter()]),
        TaskRunner("vos", second, None, [FakeWriter()]),
    ]
    graphs = FakeGraphs()
    pipeline = Pipeline(FakeSource(range(3)), graphs, task_runners)
    pipeline.run(StopRequest())
    assert len(graphs.images) == 3
    assert graphs.images[0].shape == (1, 64, 96, 3)
    assert [task_runner.writers[0].written for task_runner in task_runners] == [
        [(0, [1]), (1, [2]), (2, [3])]
    ] * 2
    for (_, mine, _), (_, theirs, _) in zip(first.calls, second.calls, strict=True):
        assert mine is theirs
    assert {"mot head", "vos head"} <= set(pipeline.times.summary_ms())


def test_a_head_that_needs_no_features_costs_no_backbone():
    class Blind(FakeHead):
        needs_features = False

    pipeline, task_runner, graphs = make(head=Blind())
    pipeline.run(StopRequest())
    assert graphs.images == []
    assert [features for _, features, _ in task_runner.head.calls] == [None] * 5
    assert not {"letterbox", "backbone"} & set(pipeline.times.summary_ms())


class Asking(FakeHead):
    """Asks for what it is told to, frame by frame, and keeps with what it was asked."""

    needs_features = False

    def __init__(self, *requests):
        super().__init__()
        self.asked, self._requests = [], iter(requests)

    def request(self, frame, detections=None):
        self.asked.append((frame.index, detections))
        return next(self._requests)


def test_a_head_says_frame_by_frame_what_it_needs():
    """Two regions, the same one again, nothing; another head looks at one of them as well."""
    one, other = Region(1, 2, 4, 5, pitch=4), Region(0, 0, 2, 2, pitch=8)
    first = Asking(FeatureRequest((one, other)), FeatureRequest((one,)), NOTHING)
    second = Asking(FeatureRequest((other,)), FeatureRequest((one,)), NOTHING)
    task_runners = [TaskRunner("vos", head, None, []) for head in (first, second)]
    graphs = FakeGraphs()
    pipeline = Pipeline(FakeSource(range(3)), graphs, task_runners)
    pipeline.run(StopRequest())
    assert [image.shape for image in graphs.images] == [
        (1, 32, 40, 3), (1, 16, 16, 3), (1, 32, 40, 3),
    ]  # fmt: skip
    grids = [[f.grid_hw for f in features or ()] for _, features, _ in first.calls]
    assert grids == [[(4, 5), (2, 2)], [(4, 5)], []]
    assert first.calls[0][1][1] is second.calls[0][1][0], "one image is looked at once"
    assert first.calls[2][1] is None
    assert first.calls[0][1][0].letterbox.origin_xy == (8, 4)


def test_a_head_is_asked_once_a_frame_with_its_detections():
    head = Asking(*[NOTHING] * 2)
    pipeline, _, graphs = make(head=head, detector=FakeDetector(), detect_every=2)
    pipeline.run(StopRequest(), max_frames=4)
    assert [index for index, _ in head.asked] == [0, 2]
    given = [detections for _, _, detections in head.calls[::2]]
    assert all(seen is got for (_, seen), got in zip(head.asked, given, strict=True))
    assert graphs.images == []
    assert [seen == "predicted" for _, _, seen in head.calls] == [False, True, False, True]


def test_the_whole_frame_keeps_its_size_whoever_asks_for_it_first():
    """The second head asks for it before the first does, which decides."""
    first, second = Asking(NOTHING, WHOLE), Asking(WHOLE, WHOLE)
    first.needs_features = second.needs_features = True
    first._wanted_hw, second._wanted_hw = (48, 64), (96, 128)
    runners = [TaskRunner("mot", head, None, []) for head in (first, second)]
    graphs = FakeGraphs()
    Pipeline(FakeSource(range(2)), graphs, runners).run(StopRequest())
    assert [image.shape[1:3] for image in graphs.images] == [(48, 64)] * 2


def test_the_same_head_after_a_reset_begins_anew(quick_runner):
    scene = Scene(SceneConfig(frames=5, height=96, width=160, objects=3))

    class Seen(Detector):
        def detect(self, frame):
            return scene.detections(frame.index)

    head = MotHead(quick_runner, MotConfig(height=96, width=160), 25.0)
    results = []
    for _ in range(2):
        task_runner = TaskRunner("mot", head, Seen(), [])
        told = []
        pipeline = Pipeline(SceneSource(scene), quick_runner, [task_runner])
        pipeline.run(StopRequest(), on_frame=lambda _, tracks, told=told: told.extend(tracks))
        results.append([(t.ids.tolist(), t.detections.boxes_xyxy.tolist()) for t in told])
        head.reset()
    assert results[0] == results[1]
    assert any(ids for ids, _ in results[0])


# Sizes.


@pytest.mark.parametrize(
    ("sizes", "wanted", "source", "chosen"),
    [
        ((), (608, 1088), (360, 640), (608, 1088)),  # any size
        (((608, 1088),), (608, 1088), (360, 640), (608, 1088)),
        (((96, 160),), (608, 1088), (360, 640), (96, 160)),  # the only one there is
        (((96, 160), (480, 864), (1080, 1920)), (480, 854), (720, 1280), (480, 864)),
        (((96, 160), (480, 864), (1080, 1920)), (100, 170), (720, 1280), (96, 160)),
        (((96, 160), (480, 864), (1080, 1920)), (900, 1600), (720, 1280), (1080, 1920)),
        (((480, 864), (864, 480)), (640, 480), (1280, 960), (864, 480)),
        (((480, 864), (864, 480)), (854, 480), (1280, 720), (864, 480)),  # a portrait video
        (((512, 512), (512, 1024)), (512, 513), (512, 512), (512, 512)),  # no padding for nothing
    ],
)
def test_the_size_of_the_network_image(sizes, wanted, source, chosen):
    assert network_size(sizes, wanted, source) == chosen


def test_a_bundle_of_one_size_gets_that_size():
    pipeline, task_runner, graphs = make(head=FakeHead((608, 1088)), sizes_hw=((96, 160),))
    pipeline.run(StopRequest(), max_frames=2)
    assert [image.shape for image in graphs.images] == [(1, 96, 160, 3)] * 2
    features = task_runner.head.calls[0][1]
    assert features.grid_hw == (12, 20)
    np.testing.assert_allclose(features.letterbox.scale_xy, (2, 2))


# Live sources.


def test_live_frames_keep_their_numbers_and_latency_counts_from_the_capture():
    started = time.monotonic() - 100
    source = FakeSource([0, 3, 4, 9], started_s=started)
    pipeline, task_runner, _ = make(source)
    pipeline.run(StopRequest())
    assert [index for index, _ in task_runner.writers[0].written] == [0, 3, 4, 9]
    assert (pipeline.frames, source.dropped) == (4, 6)
    latency = pipeline.times.summary_ms()["latency"]
    assert 99_000 < latency["p50"] < 101_000


def test_a_live_run_reports_what_was_dropped(quick_bundle, tmp_path, monkeypatch):
    source = FakeSource([0, 3, 4, 9], started_s=time.monotonic())
    monkeypatch.setattr(session, "open_source", lambda _text, **_options: source)
    rows = "".join(f"{n},-1,10,8,20,30,0.9\n" for n in range(1, 12))
    (tmp_path / "det.txt").write_text(rows)
    config = TrackConfig(
        (SourceConfig("camera0", detections=tmp_path / "det.txt"),),
        (MotConfig(height=48, width=64),),
        RunConfig(bundle=quick_bundle.path, output=tmp_path / "out"),
    )
    report = session.track(config)
    written = (tmp_path / "out" / "tracks.txt").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in written] == [1, 4, 5, 10]
    data = json.loads((tmp_path / "out" / "run.json").read_text())
    assert data["source"]["dropped"] == 6
    assert (data["frames"], data["source"]["live"]) == (4, True)
    assert any("6 frames of the live source" in note for note in report.notes)
    assert source.closed


# How it ends.


def test_max_frames_leaves_the_rest_unread():
    asked = []
    pipeline, _, _ = make(FakeSource(before=asked.append))
    pipeline.run(StopRequest(), max_frames=2)
    assert (pipeline.frames, pipeline.exhausted, asked) == (2, False, [0, 1])


def test_an_error_leaves_what_was_written_before_it():
    def work(frame):
        if frame.index == 3:
            raise DetectionError("no more")

    pipeline, task_runner, _ = make(head=FakeHead(work=work))
    with pytest.raises(DetectionError, match="no more"):
        pipeline.run(StopRequest())
    assert pipeline.frames == 3
    assert [index for index, _ in task_runner.writers[0].written] == [0, 1, 2]


def test_a_source_without_frames_is_an_error_and_leaves_no_folder(
    quick_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(session, "open_source", lambda _text, **_options: FakeSource([]))
    (tmp_path / "det.txt").write_text("")
    config = TrackConfig(
        (SourceConfig("x", detections=tmp_path / "det.txt"),),
        (MotConfig(),),
        RunConfig(bundle=quick_bundle.path, output=tmp_path / "out", save_video=True),
    )
    with pytest.raises(OutputError, match="the source gave no frame"):
        session.track(config)
    assert not (tmp_path / "out").exists()


def test_a_signal_ends_the_run_after_the_frame_in_hand():
    def work(frame):
        if frame.index == 2:
            signal.raise_signal(signal.SIGINT)

    pipeline, task_runner, _ = make(head=FakeHead(work=work))
    with StopRequest() as stop:
        pipeline.run(stop)
    assert pipeline.interrupted
    assert [index for index, _ in task_runner.writers[0].written] == [0, 1, 2]


def test_a_signal_while_waiting_for_a_frame_ends_at_once():
    def before(index):
        if index == 3:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("went on waiting")

    pipeline, task_runner, _ = make(FakeSource(before=before))
    with StopRequest() as stop:
        pipeline.run(stop)
    assert (pipeline.interrupted, pipeline.frames) == (True, 3)
    assert len(task_runner.writers[0].written) == 3


def test_a_signal_that_comes_twice_at_once_is_one():
    """As `timeout` sends it: to the process, and to its group."""

    def work(frame):
        if frame.index == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    pipeline, task_runner, _ = make(head=FakeHead(work=work))
    with StopRequest() as stop:
        pipeline.run(stop)
        signal.raise_signal(signal.SIGTERM)
    assert pipeline.interrupted
    assert [index for index, _ in task_runner.writers[0].written] == [0, 1, 2]


def test_a_second_signal_does_not_wait_for_the_frame_in_hand(monkeypatch):
    monkeypatch.setattr(events, "SAME_REQUEST_S", 0.0)

    def work(frame):
        if frame.index == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on working")

    pipeline, task_runner, _ = make(head=FakeHead(work=work))
    with StopRequest() as stop:
        pipeline.run(stop)
    assert (pipeline.interrupted, pipeline.frames) == (True, 1)
    assert len(task_runner.writers[0].written) == 1


def test_signals_are_given_back():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) not in before
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_run_in_another_thread_is_stopped_by_its_owner():
    done = []

    def run():
        with StopRequest() as stop:
            pipeline, _, _ = make(head=FakeHead(work=lambda _: setattr(stop, "is_set", True)))
            pipeline.run(stop)
            done.append((pipeline.frames, pipeline.interrupted))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [(1, True)]
    assert signal.getsignal(signal.SIGINT) is before
