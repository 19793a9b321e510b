"""A file that plays at its own pace, as a camera would: `--realtime`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ...errors import RequestError
from ...records import Frame
from .base import PolledSource, SourceBase

_MOST_SKIPPED = 100
"""Frames dropped for one that is handed over, where even decoding is slower than the file."""


class PacedSource(SourceBase):
    """Hands over each frame of a file when its time has come, and drops those that are overdue.

    Its clock starts with the first frame handed over.

    Args:
        source: The file; owned from here on.
        clock: Monotonic seconds.

    Attributes:
        info: The file's, as that of a live source.
        dropped: Frames that were overdue.
        started_s: The clock at `Frame.time_s` 0.

    Raises:
        RequestError: Nothing says how fast the file plays.
    """

    def __init__(self, source: PolledSource, clock: Callable[[], float] = time.monotonic) -> None:
        if source.info.fps is None:
            source.close()
            raise RequestError(
                f"{source.info.name} does not say its frame rate: --realtime needs --fps as well"
            )
        self.info = replace(source.info, live=True)
        self.dropped = 0
        self.started_s: float | None = None
        self._source = source
        self._clock = clock
        self._interval_s = 1.0 / source.info.fps
        self._next_s = 0.0
        self._closed = threading.Event()

    @property
    def ended_early(self) -> str | None:
        """Why the file ended before its time, or None."""
        return self._source.ended_early

    def notes(self) -> list[str]:
        """The file's."""
        return self._source.notes()

    def ready(self) -> bool:
        """Whether `next` would answer at once."""
        if self._closed.is_set():
            return True
        return self._due_in(self._next_s) <= 0 and self._source.ready()

    def __next__(self) -> Frame:
        frame = next(self._source)
        if self.started_s is None:
            self.started_s = self._clock() - frame.time_s
        for _ in range(_MOST_SKIPPED):
            # Overdue is a frame whose successor's time has come.
            if self._due_in(frame.time_s + self._interval_s) > 0 or self._closed.is_set():
                break
            following = next(self._source, None)
            if following is None:
                break
            frame = following
            self.dropped += 1
        self._closed.wait(max(0.0, self._due_in(frame.time_s)))
        if self._closed.is_set():
            raise StopIteration
        self._next_s = frame.time_s + self._interval_s
        return frame

    def _due_in(self, time_s: float) -> float:
        return 0.0 if self.started_s is None else self.started_s + time_s - self._clock()

    def close(self) -> None:
        """Frees the file; may be called again."""
        self._closed.set()
        self._source.close()
