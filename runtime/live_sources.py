"""Sources that do not wait: cameras and network streams.

A thread takes every frame off the device as it comes and keeps the newest one only, so that a
slow consumer sees the present and not a queue that grows to minutes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2

from ..errors import SourceError
from ..records import Frame, UInt8Array
from .capture import Capture, next_picture, silence_opencv
from .file_sources import natural_key
from .sources import SourceInfo, redact

_TIMEOUT_MS = 10_000  # for opening a stream and for one read from it
_STALL_S = 15.0
_JOIN_S = 2.0
_FAILED_READS = 10  # in a row; a single one happens on radio links
_RETRY_S = 0.02


class LiveSource:
    """The newest frame of an open capture.

    Numbers and times start with the first frame that is handed over: what a camera sent while a
    model was still loading is not part of the run.

    Attributes:
        info: What is known of the source.
        dropped: Frames that arrived between those handed over and were not looked at.
        ended_early: Why frames stopped coming, or None (after `close` too).
        started_s: The clock at the first frame handed over; capture time of any frame is
            started_s + time_s.
    """

    def __init__(
        self,
        name: str,
        kind: Literal["camera", "stream"],
        capture: Capture,
        *,
        clock: Callable[[], float] = time.monotonic,
        stall_s: float = _STALL_S,
    ) -> None:
        """Waits for the first frame and starts the thread; from here on it owns `capture`.

        Args:
            name: What messages call it; no credentials in it.
            kind: What it is.
            capture: An open capture.
            clock: Monotonic seconds.
            stall_s: A source without a frame for so long has ended.

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
        self._capture = capture
        self._clock = clock
        self._stall_s = stall_s
        self._changed = threading.Condition()
        self._newest: tuple[int, float, UInt8Array] | None = (0, clock(), first)
        self._first_number = 0
        self._next_index = 0
        self._failure = "no more frames came"
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._grab, name="grabber", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self._stop.is_set() or self.ended_early is not None:
            raise StopIteration
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, self._stall_s)
            newest, self._newest = self._newest, None
            ended = self._ended
        if self._stop.is_set():
            raise StopIteration
        if newest is None:
            why = self._failure if ended else f"no frame for {self._stall_s:g} s"
            raise self._end(f"{self.info.name} ended after frame {self._next_index - 1}: {why}")
        return self._hand_over(*newest)

    def _hand_over(self, number: int, captured_s: float, image: UInt8Array) -> Frame:
        if self.started_s is None:
            self.started_s, self._first_number = captured_s, number
        index = number - self._first_number
        height, width = self.info.size_hw or (0, 0)
        if image.shape[:2] != (height, width):
            raise self._end(
                f"{self.info.name} changes size at frame {index} from {width}x{height} to "
                f"{image.shape[1]}x{image.shape[0]} (width x height)"
            )
        self.dropped += index - self._next_index
        self._next_index = index + 1
        return Frame(index, captured_s - self.started_s, image)

    def _end(self, reason: str) -> StopIteration:
        self.ended_early = reason
        self.close()
        return StopIteration()

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
        """Stops the thread, which frees the device; waits two seconds at most.

        A read that hangs longer than that (a dead network) goes on in the background; the device
        is freed when it returns. May be called again.
        """
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _grab(self) -> None:
        number, failed = 1, 0
        try:
            while not self._stop.is_set() and failed <= _FAILED_READS:
                image = next_picture(self._capture)
                if image is None:
                    failed += 1
                    self._stop.wait(_RETRY_S)
                    continue
                failed = 0
                with self._changed:
                    self._newest = (number, self._clock(), image)
                    self._changed.notify_all()
                number += 1
        except cv2.error as error:
            self._failure = redact(str(error).strip().splitlines()[0])
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            self._capture.release()


def _first_frame(capture: Capture) -> UInt8Array | None:
    for _ in range(_FAILED_READS):
        image = next_picture(capture)
        if image is not None:
            return image
        time.sleep(_RETRY_S)
    return None


def open_camera(index: int) -> LiveSource:
    """Opens the camera with a number.

    Raises:
        SourceError: It is not there or cannot be opened; names the cameras that exist.
    """
    silence_opencv()
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise SourceError(_no_camera(index))
    return LiveSource(f"camera{index}", "camera", capture)


def open_stream(url: str) -> LiveSource:
    """Opens a network stream.

    Raises:
        SourceError: It does not answer within ten seconds, or cannot be decoded.
    """
    silence_opencv()
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS]
    limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise SourceError(
            f"{redact(url)}: no stream there (no answer within {_TIMEOUT_MS // 1000} s, refused, "
            "wrong user or password, or not a video); check it with another player"
        )
    return LiveSource(redact(url), "stream", capture)


def video_devices() -> list[Path]:
    """The capture devices that Linux lists, by number."""
    return sorted(Path("/dev").glob("video[0-9]*"), key=natural_key)


def _no_camera(index: int) -> str:
    if not sys.platform.startswith("linux"):
        return f"camera{index} cannot be opened; is it plugged in, and free of other programs?"
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
