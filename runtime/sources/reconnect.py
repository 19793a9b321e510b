"""Reads a live source in the background, and connects to it again when it fails or freezes.

`SourceWait` does the same before the first image: it waits for a source that is not there yet.

A reader thread takes every image off one connection as it comes. A second thread watches it: a
connection that fails, or gives no image for a while, is left to end by itself and another one is
opened, with growing pauses between attempts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2

from ...errors import SourceAbsentError, SourceError
from ...records import UInt8Array
from .base import Capture, PolledSource
from .redact import redact

_JOIN_S = 2.0
_FAILED_READS = 10  # in a row; a single one happens on radio links
_RETRY_S = 0.02

# Pauses double up to the longest, which bounds how late a camera that is back is noticed.
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 1.0

# Captures with a timeout of their own get the chance to report it first.
_GRACE_S = 1.0

Deliver = Callable[[UInt8Array, bool, float | None], None]
"""Takes an image, (H, W, 3) uint8 BGR, whether it is the first one of a new connection, and its
timestamp in seconds or None."""

Notify = Callable[[Literal["lost", "returned"], str], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a live source may be silent.

    Attributes:
        freeze_s: A connection without an image for so long is opened anew.
        give_up_s: A source without an image for so long has ended; None: never, 0: with the
            first failure.
    """

    freeze_s: float = 5.0
    give_up_s: float | None = None


class _Reader:
    """The thread of one connection, which it owns."""

    def __init__(
        self, capture: Capture, deliver: Callable[[_Reader, UInt8Array, float | None], None]
    ) -> None:
        self.failure = "no more frames came"
        self.left_alone = threading.Event()
        self.ended = threading.Event()
        self._capture = capture
        self._deliver = deliver
        self._thread = threading.Thread(target=self._read, name="grabber", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _read(self) -> None:
        failed = 0
        try:
            while not self.left_alone.is_set() and failed <= _FAILED_READS:
                image = self._capture.read()
                if image is None:
                    failed += 1
                    self.left_alone.wait(_RETRY_S)
                    continue
                failed = 0
                self._deliver(self, image, getattr(self._capture, "stamp_s", None))
        except cv2.error as error:
            self.failure = redact(str(error).strip().splitlines()[0])
        finally:
            # Only here: no capture bears being released while a read is under way.
            self._capture.release()
            self.ended.set()


class Connection:
    """Keeps images coming from a source that may fail.

    Args:
        capture: The first connection; this object owns it and those that follow.
        reopen: Opens another one, or says None; None in its place: the first failure is the end.
        deliver: Takes each image, whether it is the first of a new connection, and its timestamp;
            in a thread of this object.
        notify: Called when the source is lost and when it is back, with a reason.
        timeouts: How long silence is borne.
    """

    def __init__(
        self,
        capture: Capture,
        reopen: Callable[[], Capture | None] | None,
        deliver: Deliver,
        notify: Notify,
        timeouts: Timeouts,
    ) -> None:
        self._reopen = reopen
        self._deliver = deliver
        self._notify = notify
        self._timeouts = timeouts
        self._reader = _Reader(capture, self._take)
        self._last_s = time.monotonic()
        self._lost_s: float | None = None
        self._fresh = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._on_end: Callable[[str], None] = lambda _reason: None

    def start(self, on_end: Callable[[str], None]) -> None:
        """Begin to read; `on_end` gets the reason when images stop for good, unless by `close`."""
        self._on_end = on_end
        self._reader.start()
        self._thread.start()

    def close(self) -> None:
        """Stop both threads, which frees the device; waits two seconds at most.

        A read that hangs longer than that (a dead network) goes on in the background; the device
        is freed when it returns. May be called again.
        """
        with self._lock:
            self._stop.set()
            self._reader.left_alone.set()
            reader = self._reader
        started = time.monotonic()
        for thread in (reader, self._thread):
            thread.join(max(0.0, _JOIN_S - (time.monotonic() - started)))

    def _take(self, reader: _Reader, image: UInt8Array, stamp_s: float | None) -> None:
        with self._lock:
            if reader.left_alone.is_set():
                return
            now = time.monotonic()
            self._last_s = now
            fresh, self._fresh = self._fresh, False
            lost_s, self._lost_s = self._lost_s, None
        if lost_s is not None:
            self._notify("returned", f"back after {now - lost_s:.1f} s")
        self._deliver(image, fresh, stamp_s)

    def _watch(self) -> None:
        while True:
            reason = self._follow(self._reader)
            self._reader.left_alone.set()
            if self._stop.is_set():
                break
            if self._reopen is None or self._timeouts.give_up_s == 0:
                self._on_end(reason)
                break
            self._note_loss(reason)
            capture = self._connect()
            if capture is None:
                if not self._stop.is_set():
                    self._on_end(f"no frame for {self._timeouts.give_up_s:g} s (--give-up)")
                break
            # Under the lock, so that `close` meets a thread that has started, or none.
            with self._lock:
                if self._stop.is_set():
                    capture.release()
                    break
                self._fresh = True
                self._reader = _Reader(capture, self._take)
                self._reader.start()
        if self._stop.is_set():
            self._reader.left_alone.set()

    def _follow(self, reader: _Reader) -> str:
        """Wait until a connection fails or freezes, or `close`; say why."""
        began_s = time.monotonic()
        limit_s = self._timeouts.freeze_s + _GRACE_S
        while not self._stop.is_set():
            silent_s = time.monotonic() - max(self._last_s, began_s)
            if silent_s >= limit_s:
                return f"no frame for {silent_s:.1f} s"
            if reader.ended.wait(min(limit_s - silent_s, 0.1)):
                return reader.failure
        return ""

    def _note_loss(self, reason: str) -> None:
        with self._lock:
            known, now = self._lost_s is not None, time.monotonic()
            if not known:
                self._lost_s = self._last_s
        if not known:
            silent_s = now - self._last_s
            self._notify("lost", f"{reason}; reconnecting (silent for {silent_s:.1f} s)")

    def _connect(self) -> Capture | None:
        """Try until it works; None after `close` or when the timeout `give_up_s` has passed."""
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set() and self._reopen is not None:
            give_up_s = self._timeouts.give_up_s
            if give_up_s is not None and time.monotonic() - self._last_s > give_up_s:
                return None
            capture = self._reopen()
            if capture is not None:
                return capture
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None


_CLOSED = SourceError("the source was closed while it was waited for")


class SourceWait:
    """Opens a source in a thread, again and again while it is absent.

    Pauses between attempts grow to a second; what is wrong with a source that is there ends the
    waiting.

    Args:
        open_source: Opens it, or raises `SourceAbsentError` while it is not there.
        give_up_s: So long at most; None: until it comes, 0: one attempt.

    Attributes:
        absent: Why the newest attempt failed, or None.
    """

    def __init__(
        self, open_source: Callable[[], PolledSource], give_up_s: float | None = None
    ) -> None:
        self.absent: SourceAbsentError | None = None
        self._open = open_source
        self._give_up_s = give_up_s
        self._source: PolledSource | None = None
        self._error = _CLOSED
        self._tried = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = False
        self._thread = threading.Thread(target=self._run, name="waiting", daemon=True)
        self._thread.start()

    def wait_for_first_attempt(self) -> None:
        """Return once it is known whether the source is there now."""
        self._tried.wait()

    @property
    def done(self) -> bool:
        """Whether `take` answers."""
        with self._lock:
            return self._done

    def take(self) -> PolledSource:
        """The source, which belongs to the caller from here on; to be called once, when `done`.

        Raises:
            SourceError: What is wrong with it, or it was given up.
        """
        with self._lock:
            source, self._source = self._source, None
        if source is None:
            raise self._error
        return source

    def close(self) -> None:
        """Stop waiting; an attempt under way ends by itself. May be called again."""
        with self._lock:
            self._stop.set()
            source, self._source = self._source, None
        if source is not None:
            source.close()

    def _run(self) -> None:
        # What no attempt is expected to raise shows this thread's traceback, and ends the waiting.
        source, error = None, SourceError("opening the source failed; see the traceback above")
        try:
            source, error = self._attempts()
        finally:
            self._end(source, error)

    def _attempts(self) -> tuple[PolledSource | None, SourceError]:
        began_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                return self._open(), _CLOSED
            except SourceAbsentError as error:
                self.absent = error
                give_up_s, silent_s = self._give_up_s, time.monotonic() - began_s
                if give_up_s is not None and silent_s >= give_up_s:
                    return None, SourceError(f"{error} (--give-up {give_up_s:g})")
            except SourceError as error:
                return None, error
            self._tried.set()
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None, _CLOSED

    def _end(self, source: PolledSource | None, error: SourceError) -> None:
        with self._lock:
            self._done, self._error = True, error
            late = source if self._stop.is_set() else None
            self._source = None if late else source
        self._tried.set()
        if late is not None:
            late.close()
