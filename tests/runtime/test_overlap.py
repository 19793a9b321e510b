"""Frames at once: the same results in the same order, some frames ahead and no more."""

from __future__ import annotations

import threading

import pytest
from unitrack_edge.errors import DetectionError, SourceError
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.pipeline import AHEAD, Ahead

from .test_pipeline import FakeDetector, FakeHead, FakeSource, FakeWriter, make

WAIT_S = 20.0


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("depth", [1, 3])
def test_calls_are_as_far_ahead_as_asked_and_not_further(depth):
    made, wanted = [], threading.Event()

    def number():
        made.append(len(made))
        if len(made) > depth:
            wanted.set()
        return made[-1]

    ahead = Ahead(number, lambda: None, depth)
    assert made == []
    assert ahead() == 0
    ahead.begin()
    ahead.begin()
    assert wanted.wait(WAIT_S)
    # Those that were begun, and one that is begun when it is asked for.
    assert [ahead() for _ in range(depth + 1)] == list(range(1, depth + 2))
    ahead.end()
    assert made == list(range(depth + 2))
    assert threads() == []


def test_no_more_calls_are_begun_than_are_wanted():
    made = []
    ahead = Ahead(lambda: made.append(0), lambda: None, 5)
    ahead.begin(2)
    ahead()
    ahead()
    ahead.begin(0)
    ahead.end()
    assert made == [0, 0]


def test_a_call_that_waits_is_interrupted_in_the_end():
    interrupted = threading.Event()
    ahead = Ahead(lambda: interrupted.wait(WAIT_S), interrupted.set)
    ahead.begin()
    ahead.end()
    assert interrupted.is_set()
    assert threads() == []


def test_what_a_call_raises_comes_where_its_result_would():
    def fails():
        raise SourceError("gone")

    ahead = Ahead(fails, lambda: None)
    ahead.begin()
    with pytest.raises(SourceError, match="gone"):
        ahead()
    ahead.end()


def test_after_a_failure_nothing_is_called_any_more():
    made = []

    def fails_second():
        made.append(len(made))
        if len(made) == 2:
            raise SourceError("gone")

    ahead = Ahead(fails_second, lambda: None, 4)
    ahead.begin()
    ahead()
    for _ in range(2):
        with pytest.raises(SourceError, match="gone"):
            ahead()
    ahead.end()
    assert made == [0, 1]


def test_a_slow_frame_does_not_leave_the_detector_without_work():
    begun = [threading.Event() for _ in range(6)]
    met = []

    class Seen(FakeDetector):
        def detect(self, frame):
            begun[frame.index].set()
            return super().detect(frame)

    def work(frame):
        # The head has the first frame until the detector has been shown all that may wait.
        if frame.index == 0:
            met.append(begun[AHEAD].wait(WAIT_S))
            met.append(begun[AHEAD + 1].wait(0.05))

    pipeline, _, _ = make(FakeSource(range(6)), FakeHead(work=work), detector=Seen(), overlap=True)
    pipeline.run(StopRequest())
    assert met == [True, False]
    assert pipeline.frames == 6


def test_a_source_that_ended_ahead_is_not_exhausted_before_its_frames_are_done():
    stop = StopRequest()

    def work(frame):
        stop.is_set = frame.index == 1

    read = threading.Event()

    def before(index):
        if index == 2:
            read.set()

    head = FakeHead(work=lambda frame: (read.wait(WAIT_S), work(frame)))
    pipeline, _, _ = make(FakeSource(range(3), before=before), head, overlap=True)
    pipeline.run(stop)
    assert (pipeline.frames, pipeline.exhausted, pipeline.interrupted) == (2, False, True)


def test_the_next_frame_is_read_and_looked_at_while_a_head_works():
    detected = {index: threading.Event() for index in range(4)}
    both = []

    class Seen(FakeDetector):
        def detect(self, frame):
            detected[frame.index].set()
            return super().detect(frame)

    def work(frame):
        both.append(frame.index == 3 or detected[frame.index + 1].wait(WAIT_S))

    head = FakeHead(work=work)
    pipeline, _, _ = make(FakeSource(range(4)), head, detector=Seen(), overlap=True)
    pipeline.run(StopRequest())
    assert both == [True] * 4
    assert pipeline.exhausted
    assert threads() == []


@pytest.mark.parametrize("detect_every", [1, 3])
def test_results_are_those_of_one_frame_after_the_other(detect_every):
    results = []
    for overlap in (False, True):
        head, writer = FakeHead(), FakeWriter()
        pipeline, _, graphs = make(
            FakeSource(range(7)),
            head,
            detector=FakeDetector(),
            writer=writer,
            detect_every=detect_every,
            overlap=overlap,
        )
        pipeline.run(StopRequest())
        boxes = [getattr(seen, "boxes_xyxy", seen) for _, _, seen in head.calls]
        counts = pipeline.frames, pipeline.predicted, pipeline.backbone_pixels, len(graphs.images)
        stages = set(pipeline.times.summary_ms())
        results.append((writer.written, [str(box) for box in boxes], counts, stages))
    assert results[0] == results[1]


def test_frames_after_the_last_one_wanted_stay_unread():
    asked = []
    source = FakeSource(before=asked.append)
    pipeline, _, _ = make(source, overlap=True)
    pipeline.run(StopRequest(), max_frames=2)
    assert (pipeline.frames, pipeline.exhausted, asked) == (2, False, [0, 1])


def test_an_error_of_a_head_ends_the_thread_and_keeps_what_was_written():
    def work(frame):
        if frame.index == 2:
            raise DetectionError("the head")

    writer = FakeWriter()
    pipeline, _, _ = make(head=FakeHead(work=work), writer=writer, overlap=True)
    with pytest.raises(DetectionError, match="the head"):
        pipeline.run(StopRequest())
    assert [index for index, _ in writer.written] == [0, 1]
    assert threads() == []


def test_a_head_whose_request_depends_on_the_last_frame_is_not_overtaken():
    order = []

    class Focused(FakeHead):
        asks_ahead = False

        def step(self, frame, features, detections=None):
            order.append(("step", frame.index))
            return super().step(frame, features, detections)

    source = FakeSource(range(3), before=lambda index: order.append(("read", index)))
    pipeline, _, _ = make(source, Focused(), overlap=True)
    pipeline.run(StopRequest())
    assert order == [(what, index) for index in range(3) for what in ("read", "step")]
