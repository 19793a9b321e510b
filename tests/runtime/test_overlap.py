"""Two frames at once: the same results in the same order, one frame ahead and no more."""

from __future__ import annotations

import threading

import pytest
from unitrack_edge.errors import DetectionError, SourceError
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.pipeline import Ahead

from .test_pipeline import FakeDetector, FakeHead, FakeSource, FakeWriter, make

WAIT_S = 20.0


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_call_is_one_ahead_and_not_two():
    made, wanted = [], threading.Event()

    def number():
        made.append(len(made))
        wanted.set()
        return made[-1]

    ahead = Ahead(number, lambda: None)
    assert made == []
    assert ahead() == 0
    wanted.clear()
    ahead.begin()
    ahead.begin()
    assert wanted.wait(WAIT_S)
    assert [ahead(), ahead()] == [1, 2]
    ahead.end()
    assert made == [0, 1, 2]
    assert threads() == []


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
