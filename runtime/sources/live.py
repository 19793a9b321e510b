"""Cameras and streams: the newest frame, dropped frames counted, numbers that follow time."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ...errors import SourceAbsentError
from ...records import Frame, UInt8Array
from ..preprocessing import Letterbox
from .base import (
    Capture,
    LiveOptions,
    SourceBase,
    SourceCallback,
    SourceInfo,
    known_fps,
    natural_key,
    silence_opencv,
)
from .reconnect import Connection, Timeouts
from .redact import redact

_USUAL_FPS = 30.0

# A connection begins with a burst of what was buffered; only what follows shows the rate, over
# enough time that delays of single frames do not count.
_BURST_S = 1.0
_ENOUGH_S = 3.0
_KEPT = 600  # arrivals that the rate is taken over
_GAP_S = 1.0
_GAP_INTERVALS = 5.0


class FrameCounter:
    """Counts by arrivals, and over gaps by the clock.

    A gap may be followed by a burst of the frames that were held up in it. They were counted with
    the gap, so that they are not counted again.

    Args:
        fps: What the source announces, frames per second; None where it does not.
    """

    def __init__(self, fps: float | None) -> None:
        self._assumed_s = 1.0 / (fps or _USUAL_FPS)
        self._arrivals_s: deque[float] = deque(maxlen=_KEPT)
        self._steady_s = 0.0
        self._last_s: float | None = None
        self._number = 0
        self._counted_ahead = 0

    @property
    def interval_s(self) -> float:
        """Seconds from one frame to the next: measured, or announced while little is measured."""
        times = self._arrivals_s
        if not times or times[-1] - times[0] < _ENOUGH_S:
            return self._assumed_s
        return (times[-1] - times[0]) / (len(times) - 1)

    def count(self, captured_s: float, *, reconnected: bool = False) -> int:
        """The number of the frame that has just arrived.

        Args:
            captured_s: When, on a clock that does not go back.
            reconnected: Whether it is the first one of a new connection.

        Returns:
            From 0; never smaller than the last one, and equal to it only in a burst after a gap.
        """
        if self._last_s is None:
            self._begin(captured_s)
            return 0
        gap_s, self._last_s = captured_s - self._last_s, captured_s
        interval_s = self.interval_s
        if reconnected or gap_s > max(_GAP_S, _GAP_INTERVALS * interval_s):
            step = max(1, round(gap_s / max(interval_s, 1e-3)))
            self._counted_ahead = step - 1
            self._number += step
            self._begin(captured_s)
        elif self._counted_ahead and gap_s < interval_s / 2:
            self._counted_ahead -= 1
        else:
            self._counted_ahead = 0
            self._number += 1
            if captured_s >= self._steady_s:
                self._arrivals_s.append(captured_s)
        return self._number

    def _begin(self, captured_s: float) -> None:
        """Frames come, for the first time or again; the rate measured before stays for a while."""
        self._last_s = captured_s
        self._steady_s = captured_s + _BURST_S
        known_s = self.interval_s
        self._arrivals_s.clear()
        self._assumed_s = known_s


_FAR_S = 10.0
"""A timestamp that lies further from the arrivals is of another clock, or after a jump."""

_DRIFT = 1e-3
"""Seconds a second that the source's clock may go slower than this machine's."""


class StreamClock:
    """When images were captured, from their timestamps: arrivals jitter, and come in bursts.

    The image that came fastest of all shows how the source's clock lies to this machine's.
    """

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        self._arrived_s = self._last_s = 0.0

    def captured(self, now_s: float, stamp_s: float | None, *, reconnected: bool = False) -> float:
        """The time of an image on this machine's clock.

        Args:
            now_s: When it came.
            stamp_s: Its own timestamp, of a clock that may begin anywhere; None: it has none.
            reconnected: Whether it is the first one of a new connection.

        Returns:
            At most `now_s`, and later than that of the image before wherever this is possible.
        """
        captured_s = now_s
        if stamp_s is not None:
            apart_s = now_s - stamp_s
            known_s = None if reconnected else self._ahead_s
            if known_s is not None and abs(apart_s - known_s) <= _FAR_S:
                drift_s = _DRIFT * (now_s - self._arrived_s)
                apart_s = min(apart_s, known_s + drift_s)
            self._ahead_s = apart_s
            captured_s = stamp_s + apart_s
        self._arrived_s = now_s
        self._last_s = min(max(captured_s, self._last_s + 1e-6), now_s)
        return self._last_s


_FIRST_READS = 10
_RETRY_S = 0.02


class LiveSource(SourceBase):
    """The newest frame of a capture that is opened again whenever it fails.

    Numbers and times start with the first frame that is handed over: what a camera sent while a
    model was still loading is not part of the run. Numbers go on over a lost connection as if the
    frames of that time had come. Images of another size than the first are scaled into it, the
    rest padded, so that coordinates keep their meaning.

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
        timeouts: Timeouts | None = None,
        notify: SourceCallback = lambda _kind, _message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Waits for the first frame and starts to read; from here on it owns `capture`.

        Args:
            name: What messages call it; no credentials in it.
            kind: What it is.
            capture: An open capture.
            reopen: Opens it again after a failure; None: the first failure is the end.
            timeouts: How long it may be silent.
            notify: Called when the source is lost, is back, or changes size; in another thread.
            clock: Monotonic seconds.

        Raises:
            SourceAbsentError: It gives no frame.
        """
        first = _first_frame(capture)
        if first is None:
            capture.release()
            raise SourceAbsentError(
                f"{name}: opened, but gives no frame; is another program using it?"
            )
        size_hw = (int(first.shape[0]), int(first.shape[1]))
        self.info = SourceInfo(name, kind, size_hw, capture.fps, None, live=True)
        self.dropped = 0
        self.ended_early: str | None = None
        self.started_s: float | None = None
        self._size_hw, self._shown_hw = size_hw, size_hw
        self._notify = notify
        self._clock = clock
        self._counter, self._stamps = FrameCounter(capture.fps), StreamClock()
        self._changed = threading.Condition()
        now = clock()
        captured_s = self._stamps.captured(now, getattr(capture, "stamp_s", None))
        self._newest: tuple[int, float, UInt8Array] | None = (
            self._counter.count(now),
            captured_s,
            first,
        )
        self._untaken = 0
        self._first_number = 0
        self._last_index = -1
        self._failure: str | None = None
        self._closed = False
        self._connection = Connection(
            capture, reopen, self._store, self._notify_connection, timeouts or Timeouts()
        )
        self._connection.start(self._give_up)

    def notes(self) -> list[str]:
        """Empty: what happens is reported at once, see `notify`."""
        return []

    def ready(self) -> bool:
        """Whether `next` would answer at once."""
        with self._changed:
            return self._newest is not None or self._failure is not None or self._closed

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
        self._notify("changed", f"changes size at frame {self._last_index} {text}")

    def close(self) -> None:
        """Stops reading and frees the device; waits two seconds at most. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connection.close()

    def _store(self, image: UInt8Array, fresh: bool, stamp_s: float | None) -> None:
        now = self._clock()
        captured_s = self._stamps.captured(now, stamp_s, reconnected=fresh)
        with self._changed:
            if self._newest is not None:
                self._untaken += 1
            self._newest = (self._counter.count(now, reconnected=fresh), captured_s, image)
            self._changed.notify_all()

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self._failure = reason
            self._changed.notify_all()

    def _notify_connection(self, kind: Literal["lost", "returned"], message: str) -> None:
        self._notify(kind, message)


class OpenCVCapture:
    """A `Capture` of what OpenCV reads: V4L2 cameras and GStreamer pipelines."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self.fps = known_fps(capture.get(cv2.CAP_PROP_FPS))

    def read(self) -> UInt8Array | None:
        """As `Capture.read`.

        Raises:
            cv2.error: The device failed.
        """
        ok, image = self._capture.read()
        return np.ascontiguousarray(image, np.uint8) if ok and image is not None else None

    def release(self) -> None:
        """As `Capture.release`."""
        self._capture.release()


def _first_frame(capture: Capture) -> UInt8Array | None:
    for _ in range(_FIRST_READS):
        with contextlib.suppress(cv2.error):
            image = capture.read()
            if image is not None:
                return image
        time.sleep(_RETRY_S)
    return None


def open_camera(index: int, options: LiveOptions | None = None) -> LiveSource:
    """Opens the camera with a number.

    Raises:
        SourceAbsentError: It is not there or cannot be opened; names the cameras that exist.
    """
    name = f"camera{index}"
    return open_live(name, "camera", partial(_camera, index), options, _no_camera(index))


def open_stream(url: str, options: LiveOptions | None = None) -> LiveSource:
    """Opens a network stream.

    Raises:
        SourceAbsentError: It does not answer within ten seconds, or cannot be decoded.
    """
    from .decoder import OPEN_TIMEOUT_S

    options = options or LiveOptions()
    nothing = (
        f"{redact(url)}: no stream there (no answer within {OPEN_TIMEOUT_S:g} s, refused, "
        "wrong user or password, or not a video); check it with another player"
    )
    attempt = partial(_stream, url, options.freeze_s)
    return open_live(redact(url), "stream", attempt, options, nothing)


def open_live(
    name: str,
    kind: Literal["camera", "stream"],
    attempt: Callable[[], Capture | None],
    options: LiveOptions | None,
    nothing: str,
) -> LiveSource:
    """Opens a live source.

    Args:
        name: What messages call it; no credentials in it.
        kind: What it is.
        attempt: Opens a capture, now and after every failure; None where there is nothing.
        options: Of sources that do not wait.
        nothing: The error where there is nothing now.

    Raises:
        SourceAbsentError: There is nothing, or it gives no frame.
    """
    options = options or LiveOptions()
    silence_opencv()
    capture = attempt()
    if capture is None:
        raise SourceAbsentError(nothing)
    timeouts = Timeouts(options.freeze_s, options.give_up_s)
    return LiveSource(name, kind, capture, reopen=attempt, timeouts=timeouts, notify=options.notify)


def _camera(index: int) -> Capture | None:
    capture = cv2.VideoCapture(index)
    if capture.isOpened():
        return OpenCVCapture(capture)
    capture.release()
    return None


def _stream(url: str, read_timeout_s: float) -> Capture | None:
    import av

    from .decoder import open_capture

    try:
        return open_capture(url, read_timeout_s)
    except (av.FFmpegError, LookupError):
        return None


def video_devices() -> list[Path]:
    """The capture devices that Linux lists, by number."""
    return sorted(Path("/dev").glob("video[0-9]*"), key=natural_key)


def _no_camera(index: int) -> str:
    if not sys.platform.startswith("linux"):
        return f"camera{index} cannot be opened; is it plugged in and not in use elsewhere?"
    devices = video_devices()
    if not devices:
        return f"camera{index}: no cameras found (no /dev/video*); in a container, pass the device"
    if Path(f"/dev/video{index}") in devices:
        return (
            f"camera{index} (/dev/video{index}) is there but cannot be opened: in use, not "
            "readable by this user (group 'video'), or not a capture device"
        )
    names = ", ".join(f"camera{device.name[5:]}" for device in devices)
    return f"camera{index} is not there; found {names}"
