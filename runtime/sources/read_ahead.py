"""Sources that end: frames decoded ahead of their consumer, and how one breaks off."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import cv2

from ...errors import SourceError, UnitrackError
from ...records import Frame, UInt8Array
from ..preprocessing import Letterbox
from .base import SourceBase, SourceInfo
from .redact import redact

_QUEUE = 2
_JOIN_S = 2.0


class BrokenOffError(Exception):
    """The frames end here, before their time; what was read stays good."""


_READ_ERRORS = (UnitrackError, BrokenOffError, OSError, ValueError, MemoryError, cv2.error)


class FileSource(SourceBase):
    """A source that hands over every frame of an iterator, made ahead of time in a thread.

    Attributes:
        info: What is known of the source.
        dropped: Always 0.
        ended_early: Why the frames ended before their time, or None.
        started_s: Always None.
        notes: Notes on the frames, one line each.
    """

    dropped: int = 0
    started_s: float | None = None

    def __init__(
        self,
        info: SourceInfo,
        frames: Iterator[Frame],
        release: Callable[[], object],
        notes: Callable[[], list[str]] = list,
    ) -> None:
        """Takes the frames, what frees their file, and what is to be said of them in the end.

        The thread starts with the first `next`.
        """
        self.info = info
        self.notes = notes
        self.ended_early: str | None = None
        self._frames = frames
        self._release = release
        self._queue: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._done = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def ready(self) -> bool:
        """Whether `next` would answer at once; the first call starts to read."""
        self._start()
        with self._changed:
            return bool(self._queue) or self._done or self._closed

    def __next__(self) -> Frame:
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._done or self._closed)
            if self._queue and not self._closed:
                self._changed.notify_all()
                return self._queue.popleft()
            error, self._error = self._error, None
        self.close()
        if isinstance(error, BrokenOffError):
            self.ended_early = str(error)
        elif isinstance(error, UnitrackError):
            raise error
        elif error is not None:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SourceError(f"{self.info.name}: reading failed: {redact(reason)}") from None
        raise StopIteration

    def close(self) -> None:
        """Stops reading and frees the file; waits two seconds at most. May be called again."""
        with self._changed:
            already, self._closed = self._closed, True
            self._queue.clear()
            self._changed.notify_all()
        if already:
            return
        if self._thread is None:
            self._release()
        elif self._thread is not threading.current_thread():
            # A read from a dead network may last longer; the thread then frees the file itself.
            self._thread.join(_JOIN_S)

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._read_ahead, name="frames", daemon=True)
            self._thread.start()

    def _read_ahead(self) -> None:
        # What reading can raise is handed over; anything else is a bug, shows the thread's
        # traceback, and must not look like the end of the file to the consumer.
        error: BaseException | None = SourceError(f"{self.info.name}: the reading thread died")
        try:
            for frame in self._frames:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._queue) < _QUEUE or self._closed)
                    if self._closed:
                        break
                    self._queue.append(frame)
                    self._changed.notify_all()
            error = None
        except _READ_ERRORS as caught:
            error = caught
        finally:
            self._release()
            with self._changed:
                self._error = error
                self._done = True
                self._changed.notify_all()


class OneSize:
    """Gives all images of a source the size of its first one, and says which had another.

    Args:
        name: The source's.
        size_hw: Height and width of the first image.

    Attributes:
        name: The source's, for messages.
    """

    def __init__(self, name: str, size_hw: tuple[int, int]) -> None:
        self.name, self._size_hw = name, size_hw
        self._scaled = 0
        self._first = ""

    def apply(self, image: UInt8Array, index: int, place: str = "") -> UInt8Array:
        """The image itself, or scaled into the size with its ratio kept.

        Args:
            image: (H, W, 3) uint8.
            index: Of its frame.
            place: Where it comes from, behind the frame in the note.
        """
        height, width = image.shape[:2]
        if (height, width) == self._size_hw:
            return image
        if not self._scaled:
            first = f"{self._size_hw[1]}x{self._size_hw[0]}"
            self._first = f"at frame {index}{place} from {first} to {width}x{height}"
        self._scaled += 1
        return Letterbox.fit((height, width), self._size_hw).apply(image)

    def notes(self) -> list[str]:
        """One line where an image had another size."""
        if not self._scaled:
            return []
        frames = (
            "1 frame of another size was"
            if self._scaled == 1
            else (f"{self._scaled} frames of another size were")
        )
        return [
            f"{self.name} changes size {self._first} (width x height): {frames} scaled into the "
            "first size, in whose pixels the results are, and boxes of --detections are taken"
        ]
