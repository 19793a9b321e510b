"""Files at their own pace."""

from __future__ import annotations

import time

import numpy as np
import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.sources.base import LiveOptions, SourceInfo
from unitrack_edge.runtime.sources.open import open_source
from unitrack_edge.runtime.sources.pacing import PacedSource
from unitrack_edge.runtime.sources.read_ahead import FileSource

FPS = 50.0


def clip(count=20, fps=FPS):
    image = np.zeros((4, 6, 3), np.uint8)
    frames = (Frame(n, n / FPS, image) for n in range(count))
    return FileSource(SourceInfo("clip.mp4", "video", (4, 6), fps, count, False), frames, list)


@pytest.mark.alone
def test_a_quick_consumer_sees_every_frame_in_its_time():
    started = time.monotonic()
    with PacedSource(clip()) as source:
        assert source.info.live
        frames = list(source)
        elapsed = time.monotonic() - started
    assert [frame.index for frame in frames] == list(range(20))
    assert 19 / FPS <= elapsed < 19 / FPS + 0.5
    assert source.dropped == 0
    assert source.ended_early is None


def test_a_slow_consumer_sees_the_present():
    ages = []
    with PacedSource(clip(40)) as source:
        indices = []
        for frame in source:
            ages.append(time.monotonic() - source.started_s - frame.time_s)
            indices.append(frame.index)
            time.sleep(0.05)
    assert indices == sorted(set(indices))
    assert source.dropped == indices[-1] + 1 - len(indices)
    assert source.dropped >= 10
    # The newest one that is due; the last is handed over even where it is late.
    assert sorted(ages)[-3] < 2 / FPS


def test_ready_is_when_the_next_frame_is_due():
    with PacedSource(clip()) as source:
        next(source)
        waited = time.monotonic() + 2
        while not source.ready() and time.monotonic() < waited:
            time.sleep(0.001)
        assert source.ready()
        assert next(source).index >= 1


def test_close_ends_a_wait():
    source = PacedSource(clip(fps=FPS))
    next(source)
    source.close()
    assert list(source) == []
    assert source.ready()


def test_a_file_without_a_rate_needs_one():
    with pytest.raises(RequestError, match="--realtime needs --fps"):
        PacedSource(clip(fps=None))


def test_realtime_option_of_open_source(tmp_path):
    import cv2

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    started = time.monotonic()
    with open_source(str(tmp_path), fps=20, options=LiveOptions(realtime=True)) as source:
        assert [frame.index for frame in source] == [0, 1, 2]
    assert time.monotonic() - started >= 0.1
