"""The newest of every source, kept for viewers in a way that costs the tracker nothing.

The thread that tracks only leaves a reference behind. A thread of the board's own draws and encodes
the newest frame, once for all viewers, and only while somebody watches; whoever is slow gets fewer
images, and lines of tracks wait in a queue of bounded length.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ...records import Frame, Tracks, UInt8Array
from ..drawing.annotate import draw_tracks
from ..events import FrameEvent, SourceEvent
from ..formats.jsonl import track_line
from .stats import SourceFigures, metrics_text

Draw = Callable[[Frame, Mapping[str, Tracks]], UInt8Array]


PREVIEW_SIDE = 960
"""The longer side of an image that viewers get, in pixels."""


PREVIEWS_PER_S = 15.0
"""Of one source at most."""


_QUALITY = 80


_WATCHED_S = 2.0  # who asked for an image is taken to want the next ones for so long


_LINES = 256


@dataclass(frozen=True, slots=True)
class Preview:
    """An annotated frame as viewers get it.

    Attributes:
        number: From 1, rising.
        jpeg: The encoded image.
        source_hw: Height and width of the frame, in whose pixels viewers point at things.
    """

    number: int
    jpeg: bytes
    source_hw: tuple[int, int]


class _Channel:
    """One source."""

    def __init__(self, source: str) -> None:
        self.figures = SourceFigures(source)
        self.newest: FrameEvent | None = None
        self.image: Preview | None = None
        self.is_new = False
        self.wanted_until = 0.0


class LineReader:
    """A reader of tracks as lines of JSON.

    Attributes:
        lines: Those not yet read, the oldest first; the oldest are lost where too many wait.
    """

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_LINES)


class LiveBoard:
    """Watches a run for viewers; a context manager and a `RunListener`.

    Args:
        draw: Makes the image (H, W, 3) uint8 BGR of a frame and each task's tracks.
        clock: Monotonic seconds.
    """

    def __init__(
        self, draw: Draw | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._draw = draw or draw_all
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._lines: deque[FrameEvent] = deque(maxlen=_LINES)
        self._readers: list[LineReader] = []
        self._listener: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="live view", daemon=True)
        self._thread.start()

    def on_frame(self, event: FrameEvent) -> None:
        """Keep a frame; takes microseconds."""
        now = self._clock()
        with self._changed:
            channel = self._channel(event.source)
            channel.figures.add_frame(event, now)
            channel.newest, channel.is_new = event, True
            if self._readers:
                self._lines.append(event)

    def on_source(self, event: SourceEvent) -> None:
        """Keep what happened to a source."""
        with self._changed:
            self._channel(event.source).figures.add_event(event)

    def listen(self, listener: Callable[[], None]) -> None:
        """Name who is told, from the board's thread, of new images and lines."""
        self._listener = listener

    def want(self, source: str) -> Preview | None:
        """Say that somebody wants to see a source; its newest image so far.

        Raises:
            KeyError: There is no such source.
        """
        with self._changed:
            channel = self._channels[source]
            channel.wanted_until = self._clock() + _WATCHED_S
            self._changed.notify()
            return channel.image

    def sources(self) -> list[str]:
        """Names of the sources, in the order in which they appeared."""
        with self._changed:
            return list(self._channels)

    def tasks(self, source: str) -> list[str]:
        """Names of the tasks that were done in a source's last frame."""
        with self._changed:
            return list(self._channels[source].figures.tracks)

    def state(self) -> list[dict[str, Any]]:
        """Every source's figures as plain data; see `SourceFigures.state`."""
        with self._changed:
            return [channel.figures.state(self._clock()) for channel in self._channels.values()]

    def metrics(self) -> str:
        """Every source's figures in Prometheus' text format."""
        with self._changed:
            return metrics_text([c.figures for c in self._channels.values()], self._clock())

    def add_reader(self) -> LineReader:
        """A reader of lines, from the next frame on; give it back with `remove_reader`."""
        reader = LineReader()
        with self._changed:
            self._readers.append(reader)
            self._changed.notify()
        return reader

    def remove_reader(self, reader: LineReader) -> None:
        """No more lines for a reader."""
        with self._changed:
            self._readers.remove(reader)

    @property
    def closed(self) -> bool:
        """Whether the run is over."""
        return self._closed

    def close(self) -> None:
        """End the thread. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._listener()

    def __enter__(self) -> LiveBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _channel(self, source: str) -> _Channel:
        if source not in self._channels:
            self._channels[source] = _Channel(source)
        return self._channels[source]

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._is_watched())
                if self._closed:
                    return
                events = list(self._lines)
                self._lines.clear()
                work = self._take_images()
            for event in events:
                line = track_line(event)
                for reader in tuple(self._readers):
                    reader.lines.append(line)
            for channel, frame_event in work:
                channel.image = self._image(channel, frame_event)
            if events or work:
                self._listener()
            # Looking at a steady pace costs the tracker less than being woken at every frame.
            with self._changed:
                self._changed.wait_for(lambda: self._closed, 1 / PREVIEWS_PER_S)

    def _is_watched(self) -> bool:
        now = self._clock()
        return bool(self._readers) or any(
            channel.wanted_until > now for channel in self._channels.values()
        )

    def _take_images(self) -> list[tuple[_Channel, FrameEvent]]:
        now = self._clock()
        work = []
        for channel in self._channels.values():
            if channel.is_new and channel.wanted_until > now and channel.newest is not None:
                channel.is_new = False
                work.append((channel, channel.newest))
        return work

    def _image(self, channel: _Channel, event: FrameEvent) -> Preview:
        drawn = self._draw(event.frame, event.tracks)
        scale = PREVIEW_SIDE / max(drawn.shape[:2])
        if scale < 1:
            height, width = (max(1, round(side * scale)) for side in drawn.shape[:2])
            small = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
            drawn = small.astype(np.uint8, copy=False)
        _, jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        number = 1 if channel.image is None else channel.image.number + 1
        return Preview(number, jpeg.tobytes(), event.frame.size_hw)


def draw_all(frame: Frame, tracks: Mapping[str, Tracks]) -> UInt8Array:
    """A frame with the tracks of every task drawn in; (H, W, 3) uint8 BGR, a new array."""
    image: UInt8Array = frame.image.copy()
    for found in tracks.values():
        image = draw_tracks(image, found)
    return image
