"""What every user of OpenCV's video reading and writing shares."""

from __future__ import annotations

import os
from typing import Any, Protocol

import cv2
import numpy as np

from ...records import UInt8Array


def silence_opencv() -> None:
    """Keeps OpenCV and FFmpeg from writing to the terminal, unless the environment asks for it.

    FFmpeg's level is read when the first video is opened, so setting it here is early enough.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4 has it by the first name, OpenCV 5 by the second alone.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(0)


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, Any]: ...
    def get(self, prop: int, /) -> float: ...
    def release(self) -> None: ...


def next_image(capture: Capture) -> UInt8Array | None:
    """The next image, (H, W, 3) uint8 BGR, contiguous; None where none came."""
    ok, image = capture.read()
    return np.ascontiguousarray(image, np.uint8) if ok and image is not None else None
