"""A whole run of `tracking.session` in milliseconds: no graph runs, and captures are scripted."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
from unitrack_edge.heads.config import SotConfig
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.head import Head
from unitrack_edge.runtime.sources import decoder, gstreamer, live, reconnect
from unitrack_edge.tracking import session
from unitrack_edge.tracking.config import RunConfig, SourceConfig, TrackConfig

SIZE = (24, 32)
STALL_S, GONE_S = 10.0, 1000.0
FREEZE_S, GIVE_UP_S = 5.0, 500.0
"""Between these two, and far beyond what a busy machine loses."""
assert decoder.StreamCapture  # imported here: the first attempt to open a stream takes no time


class BlindHead(Head):
    """Reports one object in every frame, and looks at nothing."""

    needs_features = False
    graphs_used = ()

    def network_hw(self, source_hw):
        return source_hw

    def step(self, frame, features, detections=None):  # noqa: ARG002
        box = np.array([[1, 2, 11, 12]], np.float32)
        seen = Detections(box, np.array([0.5], np.float32), np.zeros(1, np.int64))
        return Tracks(frame.index, np.array([1]), seen)

    def reset(self):
        pass


class NoGraphs:
    """What `GraphRunner` is to a run whose heads run no graph."""

    def __init__(self, *_):
        self.spec = SimpleNamespace(stride=8, sizes_hw=())
        self.backends_in_use, self.reports = {}, {}

    on_device = False

    def engine(self, _name):
        return None

    def warm_up(self, _heads):
        pass

    def place(self, array):
        return array

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Clock:
    """Monotonic seconds that a test can let pass."""

    def __init__(self):
        self.passed_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.passed_s


class Script:
    """A capture that gives what it is told: a number of frames, then what ends it.

    Args:
        frames: How many, each at once.
        end: 'dies' (no more frames), 'raises', 'stalls' (for `STALL_S`), 'garbage' (reads fail now
            and then), 'resizes' (frames of another size follow, then no more).

    Attributes:
        clock: What a stall lets pass.
    """

    fps = 25.0
    clock = Clock()

    def __init__(self, frames=3, end="dies"):
        self.released = threading.Event()
        self._end = end
        self._left = [np.full((*SIZE, 3), number, np.uint8) for number in range(frames)]
        if end == "garbage":
            self._left = [image for whole in self._left for image in (whole, None, None)]
        if end == "resizes":
            self._left += [np.full((SIZE[0] * 2, SIZE[1], 3), 200, np.uint8)] * 3

    def read(self):
        if self._left:
            # Slower than the run, so that each is looked at.
            self.released.wait(0.004)
            return self._left.pop(0)
        if self._end == "raises":
            raise cv2.error("the device broke")
        if self._end == "stalls":
            self._end = "dies"
            self.clock.passed_s += STALL_S
            self.released.wait(0.15)
        return None

    def release(self):
        self.released.set()


def stand_in(monkeypatch, attempts):
    """Make a session run on stand-ins.

    Once every source is gone for good, `GONE_S` pass at once.

    Args:
        monkeypatch: Of pytest.
        attempts: By the name of a source, what each attempt to open it gives: a `Script`, or None
            where it is absent; the last one stands for all that follow.
    """
    spec = SimpleNamespace(backbone="none", layer="", precision="fp32", graphs={})
    bundle = SimpleNamespace(spec=spec)
    monkeypatch.setattr(session, "Bundle", SimpleNamespace(load=lambda _path: bundle))
    monkeypatch.setattr(session, "GraphRunner", NoGraphs)
    monkeypatch.setattr(session, "open_head", lambda *_: BlindHead())
    for module in (live, gstreamer):
        monkeypatch.setattr(module, "silence_opencv", lambda: None)
    monkeypatch.setattr(live, "_RETRY_S", 0.0)
    for name in ("_RETRY_S", "_GRACE_S"):
        monkeypatch.setattr(reconnect, name, 0.0)
    monkeypatch.setattr(reconnect, "_FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(reconnect, "_LONGEST_PAUSE_S", 0.01)
    clock = Clock()
    monkeypatch.setattr(reconnect, "time", clock)
    monkeypatch.setattr(Script, "clock", clock)
    queues = {name: list(rows) for name, rows in attempts.items()}

    def attempt(name):
        rows = queues[name]
        if all(left == [None] for left in queues.values()):
            clock.passed_s += GONE_S
        made = rows.pop(0) if len(rows) > 1 else rows[0]
        return made() if callable(made) else made

    monkeypatch.setattr(live, "_camera", lambda index: attempt(f"camera{index}"))
    monkeypatch.setattr(live, "_stream", lambda url, _timeout: attempt(url))
    monkeypatch.setattr(
        gstreamer, "open_pipeline", lambda _text, name: _pipeline(attempt(name), name)
    )


def _pipeline(capture, name):
    if capture is None:
        raise live.SourceAbsentError(f"{name}: GStreamer refuses the pipeline")
    return capture


def config(output, *sources, run=(), **options):
    """A run of task sot on sources, with options of `SourceConfig`; given up after `GIVE_UP_S`."""
    options = {"freeze_s": FREEZE_S, "give_up_s": GIVE_UP_S, **options}
    rows = tuple(SourceConfig(source, init="1,2,10,10", **options) for source in sources)
    return TrackConfig(rows, (SotConfig(),), RunConfig(output=output, **dict(run)))


class Events:
    """A listener that keeps what happens to the sources."""

    def __init__(self):
        self.kinds = []
        self.messages = []
        self.frames = 0

    def on_frame(self, event):  # noqa: ARG002
        self.frames += 1

    def on_source(self, event):
        self.kinds.append((event.source, event.kind))
        self.messages.append(event.message)
