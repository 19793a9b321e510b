"""What a run and those around it say to each other while it goes on.

Its listeners hear of every frame and of what happens to its sources: a server, a meter or a log
implements `RunListener`, the only interface that the run calls.  The run hears that the user wants
it to end: Ctrl-C, SIGTERM and SIGHUP end it after the current frame, and nothing is half written.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Literal, Protocol

from ..errors import SAME_REQUEST_S, Stopped
from ..records import Frame, Tracks
from .health import ImageHealth, Pace
from .sources.base import SourceInfo


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """One frame of one source, done and written.

    Attributes:
        source: The source's short name, unique in the run; names its folder of results.
        frame: The frame; its image is shared with the run and must not be written to.
        tracks: What each task found, by the task's name, in source pixels.
        stages_s: Seconds that each stage of this frame took, by the stage's name; 'latency' is
            from capture to result. Of a batched pass of the backbone, the frame's share.
        dropped: Frames of the source that were dropped so far to keep up.
        health: What the images of a live source look like; None for others.
        pace: What is done to keep up with a live source; None for others.
        detect_every: In every how manieth frame the detector runs.
    """

    source: str
    frame: Frame
    tracks: Mapping[str, Tracks]
    stages_s: Mapping[str, float]
    dropped: int
    health: ImageHealth | None = None
    pace: Pace | None = None
    detect_every: int = 1


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something happened to a source.

    Attributes:
        source: The source's short name.
        kind: 'waiting' (it is not there yet), 'opened' (it is about to be tracked), 'lost' (it is
            being reconnected), 'returned', 'changed' (the size of its images), 'warning' (recording
            has stopped, say, or a viewer's command was refused), 'ended' (by itself or by the user)
            or 'failed'.
        message: One line for people, without credentials.
        info: What is known of the source; None where it could not be opened.
    """

    source: str
    kind: Literal["waiting", "opened", "lost", "returned", "changed", "warning", "ended", "failed"]
    message: str
    info: SourceInfo | None = None


class RunListener(Protocol):
    """Watches a run.

    Both methods must return at once and raise nothing: what takes time belongs in a thread of the
    listener's own, behind a bounded queue.
    """

    def on_frame(self, event: FrameEvent) -> None:
        """A frame is done; called by the thread that tracks, between two frames."""

    def on_source(self, event: SourceEvent) -> None:
        """Something happened to a source; may be called by the source's own thread."""


_KEPT = 20
"""Messages that the report shows; a camera on a bad line has thousands in a month."""


class SourceLog:
    """Counts and keeps the events of one source; may be called from several threads.

    Args:
        name: The source's short name.
        listeners: Get every event.

    Attributes:
        name: The source's short name.
        outages: How often the source was lost.
        messages: The newest messages, oldest first.
    """

    def __init__(self, name: str, listeners: Sequence[RunListener] = ()) -> None:
        self.name = name
        self.outages = 0
        self.messages: deque[str] = deque(maxlen=_KEPT)
        self._listeners = listeners
        self._lock = threading.Lock()

    def notify(self, kind: Literal["lost", "returned", "changed"], message: str) -> None:
        """Record an event that the source reports, and pass it to the listeners."""
        with self._lock:
            self.outages += kind == "lost"
            self.messages.append(message)
            self._pass_on(SourceEvent(self.name, kind, message))

    def warn(self, message: str) -> None:
        """Record a warning about the source's results: for the listeners now, the report later."""
        with self._lock:
            self.messages.append(message)
            self._pass_on(SourceEvent(self.name, "warning", message))

    def waiting(self, message: str) -> None:
        """The source is not there yet, and is waited for."""
        with self._lock:
            self.messages.append(message)
            self._pass_on(SourceEvent(self.name, "waiting", message))

    def opened(self, info: SourceInfo) -> None:
        """The source is about to be tracked."""
        self._pass_on(SourceEvent(self.name, "opened", "opened", info))

    def ended(self, message: str, *, failed: bool) -> None:
        """The source is done."""
        self._pass_on(SourceEvent(self.name, "failed" if failed else "ended", message))

    def notes(self) -> list[str]:
        """One-line notes for the end of a run."""
        with self._lock:
            if not self.messages:
                return []
            times = f"lost {self.outages} times; " if self.outages > 1 else ""
            shown = list(self.messages)[-3:]
            return [f"source: {times}{'; '.join(shown)}"]

    def _pass_on(self, event: SourceEvent) -> None:
        for listener in self._listeners:
            listener.on_source(event)


_HANGUP = getattr(signal, "SIGHUP", None)  # the terminal is gone; not on Windows


class StopRequest:
    """Whether the user asked to stop; a context manager that listens while it is entered.

    The first signal only sets `is_set`; a second one, after `SAME_REQUEST_S`, or one that comes
    while the run waits for a frame, raises `Stopped`.

    Attributes:
        is_set: Whether the user asked to stop.
        number: Of the signal that did.
        is_waiting: Set by the run while nothing is being written: a signal then interrupts at once.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.number: int = signal.SIGINT
        self.is_waiting = False
        self._former: dict[int, object] = {}
        self._first_s = 0.0

    def __enter__(self) -> StopRequest:
        # Only the main thread may listen to signals; elsewhere the owner sets `is_set`.
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            # What `nohup` made the process deaf to stays so.
            if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
                numbers.append(_HANGUP)
            for number in numbers:
                self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._former.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self.is_set, self.number = self.is_set, True, number
        if again and time.monotonic() < self._first_s + SAME_REQUEST_S:
            return
        if not again:
            self._first_s = time.monotonic()
        if again or self.is_waiting:
            raise Stopped(number)

    def raise_if_set(self) -> None:
        """End what cannot be of use when it is half done.

        Raises:
            Stopped: The user asked to stop.
        """
        if self.is_set:
            raise Stopped(self.number)
