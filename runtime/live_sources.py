"""Opens cameras, network streams and GStreamer pipelines, and opens them again when they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import cv2

from ..errors import SourceError
from .capture import silence_opencv
from .file_sources import natural_key
from .gstreamer import open_pipeline
from .live_source import LiveSource
from .reconnection import Patience
from .redaction import redact
from .sources import LiveOptions

_OPEN_TIMEOUT_MS = 10_000


def open_camera(index: int, options: LiveOptions | None = None) -> LiveSource:
    """Opens the camera with a number.

    Raises:
        SourceError: It is not there or cannot be opened; names the cameras that exist.
    """
    name = f"camera{index}"
    return _live(name, "camera", partial(_camera, index), options, _no_camera(index))


def open_stream(url: str, options: LiveOptions | None = None) -> LiveSource:
    """Opens a network stream.

    Raises:
        SourceError: It does not answer within ten seconds, or cannot be decoded.
    """
    options = options or LiveOptions()
    nothing = (
        f"{redact(url)}: no stream there (no answer within {_OPEN_TIMEOUT_MS // 1000} s, refused, "
        "wrong user or password, or not a video); check it with another player"
    )
    attempt = partial(_stream, url, options.freeze_s)
    return _live(redact(url), "stream", attempt, options, nothing)


def open_gstreamer(
    pipeline: str,
    name: str,
    kind: Literal["camera", "stream"],
    options: LiveOptions | None = None,
) -> LiveSource:
    """Opens a GStreamer pipeline that ends in an appsink.

    Raises:
        SourceError: OpenCV has no GStreamer, GStreamer refuses it, or it gives no frame.
    """
    silence_opencv()
    first = [open_pipeline(pipeline, name)]

    def attempt() -> cv2.VideoCapture | None:
        if first:
            return first.pop()
        try:
            return open_pipeline(pipeline, name)
        except SourceError:
            return None

    return _live(name, kind, attempt, options, "")


def _live(
    name: str,
    kind: Literal["camera", "stream"],
    attempt: Callable[[], cv2.VideoCapture | None],
    options: LiveOptions | None,
    nothing: str,
) -> LiveSource:
    options = options or LiveOptions()
    silence_opencv()
    capture = attempt()
    if capture is None:
        raise SourceError(nothing)
    patience = Patience(options.freeze_s, options.give_up_s)
    return LiveSource(name, kind, capture, reopen=attempt, patience=patience, tell=options.tell)


def _camera(index: int) -> cv2.VideoCapture | None:
    return _if_open(cv2.VideoCapture(index))


def _stream(url: str, read_timeout_s: float) -> cv2.VideoCapture | None:
    # One decoding thread: FFmpeg's several hold back a frame each.
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS]
    limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, max(1, round(1000 * read_timeout_s))]
    limits += [cv2.CAP_PROP_N_THREADS, 1]
    return _if_open(cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits))


def _if_open(capture: cv2.VideoCapture) -> cv2.VideoCapture | None:
    if capture.isOpened():
        return capture
    capture.release()
    return None


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
