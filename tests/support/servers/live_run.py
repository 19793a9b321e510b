"""A run that is not one: frames with a moving square, handed to whoever watches."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.events import FrameEvent, SourceEvent

HEIGHT, WIDTH = 240, 320


def square(index):
    """(HEIGHT, WIDTH, 3) with a bright square that moves, and its box."""
    image = np.full((HEIGHT, WIDTH, 3), (70, 50, 40), np.uint8)
    left = 20 + 3 * index % 200
    cv2.rectangle(image, (left, 80), (left + 59, 139), (80, 200, 250), -1)
    return image, (left, 80, left + 60, 140)


def event(index, source="door", task="sot", fps=30.0, dropped=0):
    """The event of a frame with one track."""
    image, box = square(index)
    seen = Detections(
        np.array([box], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64)
    )
    tracks = {task: Tracks(index, np.array([7]), seen)}
    stages = {"backbone": 0.02, "head": 0.005, "latency": 0.03}
    return FrameEvent(source, Frame(index, index / fps, image), tracks, stages, dropped)


def opened(source="door"):
    """The event of a source that was opened."""
    return SourceEvent(source, "opened", f"{source} opened")


class Producer:
    """A thread that calls a listener with frames at a rate; a context manager.

    Attributes:
        costs_s: How long each call of the listener took.
        times_s: When it was done with each frame.
    """

    def __init__(self, listener, fps, source="door", task="sot"):
        self.costs_s, self.times_s = [], []
        self._listener, self._fps, self._source, self._task = listener, fps, source, task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        # Made before: only what the listener costs is to be measured.
        events = [event(i, self._source, self._task) for i in range(60)]
        start = time.perf_counter()
        number = 0
        while not self._stop.wait(max(0.0, start + number / self._fps - time.perf_counter())):
            before = time.perf_counter()
            self._listener.on_frame(events[number % len(events)])
            self.times_s.append(time.perf_counter())
            self.costs_s.append(self.times_s[-1] - before)
            number += 1

    def __enter__(self):
        self._listener.on_source(opened(self._source))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
