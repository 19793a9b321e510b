"""A source that does not wait: its newest frame, whoever is slow.

What a camera sends while nobody looks is dropped and counted, so that a slow consumer sees the
present and not a queue that grows to minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

import cv2

from ..errors import SourceError
from ..records import Frame, UInt8Array
from .capture import Capture, next_picture
from .frame_counter import FrameCounter
from .letterbox import Letterbox
from .reconnection import Connection, Patience
from .sources import SourceInfo, SourceTell

_FIRST_READS = 10
_RETRY_S = 0.02


class LiveSource:
    """The newest frame of a capture that is opened again whenever it fails.

    Numbers and times start with the first frame that is handed over: what a camera sent while a
    model was still loading is not part of the run. Numbers go on over a lost connection as if the
    frames of that time had come. Pictures of another size than the first are scaled into it, the
    rest padded, so that coordinates keep their meaning. (Within one connection OpenCV's FFmpeg does
    so itself and says nothing, stretching what is of another shape.)

    Attributes:
        info: What is known of the source.
        dropped: Frames that arrived between those handed over and were not looked at.
        ended_early: Why frames stopped coming for good, or None (after `close` too).
        started_s: The clock at the first frame handed over; capture time of any frame is
            started_s + time_s.
    """

    def __init__(
        self,
        name: str,
        kind: Literal["camera", "stream"],
        capture: Capture,
        *,
        reopen: Callable[[], Capture | None] | None = None,
        patience: Patience | None = None,
        tell: SourceTell = lambda _kind, _message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Waits for the first frame and starts to read; from here on it owns `capture`.

        Args:
            name: What messages call it; no credentials in it.
            kind: What it is.
            capture: An open capture.
            reopen: Opens it again after a failure; None: the first failure is the end.
            patience: How long it may be silent.
            tell: Told when the source is lost, is back, or changes size; in another thread.
            clock: Monotonic seconds.

        Raises:
            SourceError: It gives no frame.
        """
        first = _first_frame(capture)
        if first is None:
            capture.release()
            raise SourceError(f"{name}: opened, but gives no frame; is another program using it?")
        fps = capture.get(cv2.CAP_PROP_FPS)
        size_hw = (int(first.shape[0]), int(first.shape[1]))
        known_fps = float(fps) if 0 < fps <= 1000 else None
        self.info = SourceInfo(name, kind, size_hw, known_fps, None, live=True)
        self.dropped = 0
        self.ended_early: str | None = None
        self.started_s: float | None = None
        self._size_hw, self._shown_hw = size_hw, size_hw
        self._tell = tell
        self._clock = clock
        self._counter = FrameCounter(known_fps)
        self._changed = threading.Condition()
        now = clock()
        self._newest: tuple[int, float, UInt8Array] | None = (self._counter.count(now), now, first)
        self._untaken = 0
        self._first_number = 0
        self._last_index = -1
        self._failure: str | None = None
        self._closed = False
        self._connection = Connection(
            capture, reopen, self._store, self._tell_of_connection, patience or Patience()
        )
        self._connection.start(self._give_up)

    def ready(self) -> bool:
        """Whether `next` would answer at once."""
        with self._changed:
            return self._newest is not None or self._failure is not None or self._closed

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self.ended_early is not None:
            raise StopIteration
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._failure or self._closed)
            newest, self._newest = self._newest, None
            untaken, self._untaken = self._untaken, 0
        if self._closed:
            raise StopIteration
        if newest is None:
            self.ended_early = (
                f"{self.info.name} ended after frame {max(self._last_index, 0)}: {self._failure}"
            )
            self.close()
            raise StopIteration
        return self._hand_over(*newest, untaken)

    def _hand_over(self, number: int, captured_s: float, image: UInt8Array, untaken: int) -> Frame:
        if self.started_s is None:
            self.started_s, self._first_number = captured_s, number
        else:
            self.dropped += untaken
        # In a burst after a gap several frames bear one number.
        self._last_index = max(number - self._first_number, self._last_index + 1)
        if image.shape[:2] != self._shown_hw:
            self._note_size((image.shape[0], image.shape[1]))
        if image.shape[:2] != self._size_hw:
            image = Letterbox.fit((image.shape[0], image.shape[1]), self._size_hw).apply(image)
        return Frame(self._last_index, captured_s - self.started_s, image)

    def _note_size(self, got_hw: tuple[int, int]) -> None:
        before, self._shown_hw = self._shown_hw, got_hw
        text = f"from {before[1]}x{before[0]} to {got_hw[1]}x{got_hw[0]} (width x height)"
        if got_hw != self._size_hw:
            text += f"; scaled to {self._size_hw[1]}x{self._size_hw[0]} from here on"
        self._tell("changed", f"changes size at frame {self._last_index} {text}")

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops reading and frees the device; waits two seconds at most. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connection.close()

    def _store(self, image: UInt8Array, fresh: bool) -> None:
        now = self._clock()
        with self._changed:
            if self._newest is not None:
                self._untaken += 1
            self._newest = (self._counter.count(now, reconnected=fresh), now, image)
            self._changed.notify_all()

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self._failure = reason
            self._changed.notify_all()

    def _tell_of_connection(self, kind: Literal["lost", "returned"], message: str) -> None:
        self._tell(kind, message)


def _first_frame(capture: Capture) -> UInt8Array | None:
    for _ in range(_FIRST_READS):
        image = next_picture(capture)
        if image is not None:
            return image
        time.sleep(_RETRY_S)
    return None
