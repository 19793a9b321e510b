"""Keeps the newest frame and the statistics of every source for viewers, at no cost to the tracker.

The thread that tracks only stores a reference to each frame. A thread of the hub draws and encodes
the newest frame, once for all viewers, and only while a viewer is connected; a slow viewer gets
fewer images, and lines of tracks wait in a queue of bounded length.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ...records import UInt8Array
from ..drawing.annotate import draw_tracks
from ..events import FrameEvent, SourceEvent
from ..formats.jsonl import track_line
from .stats import SourceStats, metrics_text

PREVIEW_SIDE = 960
"""The longer side of the images that viewers get, in pixels, at most."""

PREVIEWS_PER_S = 15.0
"""Of one source, at most."""

UNHEALTHY_AFTER_S = 30.0
"""Seconds without a frame after which a run is not healthy, by default."""

_JPEG_QUALITY = 80
_WATCHED_S = 2.0  # after a request for an image, more requests are expected for so long
_MAX_LINES = 256  # lines of tracks that wait for a subscriber


@dataclass(frozen=True, slots=True)
class Preview:
    """An annotated frame as viewers get it.

    Attributes:
        number: From 1, rising.
        jpeg: The encoded image.
        source_hw: Height and width of the source's frame; viewers mark objects in its pixels.
    """

    number: int
    jpeg: bytes
    source_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether frames come.

    Attributes:
        ok: Whether one has come from any source in the last `after_s` seconds.
        late: Sources that are not done and have given none.
        after_s: See `LiveHub`.
    """

    ok: bool
    late: list[str]
    after_s: float


class _Channel:
    """One source."""

    def __init__(self, source: str) -> None:
        self.stats = SourceStats(source, time.monotonic())
        self.newest: FrameEvent | None = None
        self.preview: Preview | None = None
        self.is_new = False
        self.watched_until = 0.0


class Lines:
    """Lines of tracks that wait for one reader: the newest `_MAX_LINES`.

    Where more wait, the oldest are lost, and the next one says how many: `"lost": N`.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[str, int]] = deque()  # with the number of those lost before it
        self._lock = threading.Lock()

    def append(self, line: str, lost: int = 0) -> None:
        """Add a line; before it, `lost` others never came here."""
        with self._lock:
            self._lines.append((line, lost))
            if len(self._lines) > _MAX_LINES:
                _, before = self._lines.popleft()
                line, lost = self._lines[0]
                self._lines[0] = line, lost + before + 1

    def take(self) -> str:
        """Take the oldest out.

        Raises:
            IndexError: None waits.
        """
        with self._lock:
            line, lost = self._lines.popleft()
        return f'{{"lost":{lost},{line[1:]}' if lost else line

    def __len__(self) -> int:
        return len(self._lines)


class LiveHub:
    """Stands between a run and its viewers; a context manager and a `RunListener`.

    Args:
        unhealthy_after_s: A source is late once it has given no frame for so many seconds.
    """

    def __init__(self, unhealthy_after_s: float = UNHEALTHY_AFTER_S) -> None:
        self._unhealthy_after_s = unhealthy_after_s
        self._started = time.monotonic()
        self._channels: dict[str, _Channel] = {}
        self._events: deque[FrameEvent] = deque()
        self._lost = 0  # frames before the oldest of `_events` of which no line is made
        self._subscribers: list[Lines] = []
        self._callback: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    def on_frame(self, event: FrameEvent) -> None:
        """Keep a frame; takes microseconds."""
        with self._changed:
            channel = self._channel(event.source)
            channel.stats.add_frame(event, time.monotonic())
            channel.newest, channel.is_new = event, True
            if self._subscribers:
                self._events.append(event)
                if len(self._events) > _MAX_LINES:
                    self._events.popleft()
                    self._lost += 1

    def on_source(self, event: SourceEvent) -> None:
        """Keep what happened to a source."""
        with self._changed:
            self._channel(event.source).stats.add_event(event)

    def set_callback(self, callback: Callable[[], None]) -> None:
        """Set what is called, in the hub's thread, when there are new images or lines."""
        self._callback = callback

    def watch(self, source: str) -> Preview | None:
        """The newest image of a source, if any; newer ones are made for the next seconds.

        Raises:
            KeyError: There is no such source.
        """
        with self._changed:
            channel = self._channels[source]
            channel.watched_until = time.monotonic() + _WATCHED_S
            self._changed.notify()
            return channel.preview

    def sources(self) -> list[str]:
        """Names of the sources, in the order in which they appeared."""
        with self._changed:
            return list(self._channels)

    def tasks(self, source: str) -> list[str]:
        """Names of the tasks of a source's last frame.

        Raises:
            KeyError: There is no such source.
        """
        with self._changed:
            return list(self._channels[source].stats.tracks)

    def state(self) -> list[dict[str, Any]]:
        """Every source's statistics as plain data; see `SourceStats.state`."""
        with self._changed:
            return [channel.stats.state(time.monotonic()) for channel in self._channels.values()]

    def metrics(self, refused: Mapping[str, int] | None = None) -> bytes:
        """Every source's statistics in Prometheus' text format, and what the server refused."""
        with self._changed:
            stats = [channel.stats for channel in self._channels.values()]
            return metrics_text(stats, time.monotonic(), refused)

    def health(self, source: str | None = None) -> Health:
        """Whether frames come from any source, or from one.

        Raises:
            KeyError: There is no such source.
        """
        now, limit = time.monotonic(), self._unhealthy_after_s
        with self._changed:
            channels = [self._channels[source]] if source else list(self._channels.values())
            running = [c.stats for c in channels if c.stats.status != "ended"]
            late = [stats.source for stats in running if stats.quiet_s(now) > limit]
        if not channels:
            return Health(now - self._started <= limit, [], limit)
        return Health(not running or len(late) < len(running), late, limit)

    @contextmanager
    def subscribe(self) -> Iterator[Lines]:
        """A queue of lines of JSON, one a frame from the next frame on; the caller takes them."""
        lines = Lines()
        with self._changed:
            self._subscribers.append(lines)
            self._changed.notify()
        try:
            yield lines
        finally:
            with self._changed:
                self._subscribers = [other for other in self._subscribers if other is not lines]

    @property
    def closed(self) -> bool:
        """Whether the run is over, and no line comes any more."""
        return self._closed and not self._thread.is_alive()

    def close(self) -> None:
        """End the thread. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._callback()

    def __enter__(self) -> LiveHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _channel(self, source: str) -> _Channel:
        if source not in self._channels:
            self._channels[source] = _Channel(source)
        return self._channels[source]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._is_watched())
                closed = self._closed
                events = list(self._events)
                self._events.clear()
                lost, self._lost = self._lost, 0
                frames = self._take_frames()
                subscribers = tuple(self._subscribers)
            for event in events:
                line = track_line(event)
                for lines in subscribers:
                    lines.append(line, lost)
                lost = 0
            if closed:
                return
            for channel, event in frames:
                number = 1 if channel.preview is None else channel.preview.number + 1
                channel.preview = make_preview(event, number)
            if events or frames:
                self._callback()
            # A steady pace costs the tracker less than waking this thread at every frame.
            with self._changed:
                self._changed.wait_for(lambda: self._closed, 1 / PREVIEWS_PER_S)

    def _is_watched(self) -> bool:
        now = time.monotonic()
        return bool(self._subscribers) or any(
            channel.watched_until > now for channel in self._channels.values()
        )

    def _take_frames(self) -> list[tuple[_Channel, FrameEvent]]:
        now = time.monotonic()
        frames = []
        for channel in self._channels.values():
            if channel.is_new and channel.watched_until > now and channel.newest is not None:
                channel.is_new = False
                frames.append((channel, channel.newest))
        return frames


def make_preview(event: FrameEvent, number: int) -> Preview:
    """Draw the tracks of every task into a frame, and encode it at `PREVIEW_SIDE` or less."""
    image: UInt8Array = event.frame.image.copy()
    for tracks in event.tracks.values():
        image = draw_tracks(image, tracks)
    scale = PREVIEW_SIDE / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = small.astype(np.uint8, copy=False)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return Preview(number, jpeg.tobytes(), event.frame.size_hw)
