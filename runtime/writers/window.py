"""A live view on the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import cv2

from ...errors import OutputError
from ...records import Frame, Tracks, UInt8Array
from ..events import StopRequest
from .base import Writer

_QUIT_KEYS = (ord("q"), 27)


class Window(Writer):
    """Shows each frame with its tracks; the key q, Escape or closing the window ends the run.

    Args:
        title: Of the window.
        draw: Makes the image of a frame's image and its tracks.
        stop: Called when the user closes the window or presses q.

    Raises:
        OutputError: There is no display.
    """

    def __init__(
        self, title: str, draw: Callable[[UInt8Array, Tracks], UInt8Array], stop: StopRequest
    ) -> None:
        if not has_display():
            raise OutputError(
                "--show: there is no display here; use --serve PORT and a browser, or --save-video"
            )
        self._title = f"UniTrack Edge: {title} (q ends)"
        self._draw = draw
        self._stop = stop
        self._shown = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show one frame."""
        try:
            cv2.imshow(self._title, self._draw(frame.image, tracks))
            key = cv2.waitKey(1) & 0xFF
            closed = self._shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error as error:
            raise OutputError(
                f"--show: OpenCV cannot open a window ({' '.join(str(error).split())[:120]}); "
                "use --serve PORT and a browser, or --save-video"
            ) from error
        self._shown = True
        if key in _QUIT_KEYS or closed:
            self._stop.is_set = True

    def close(self) -> None:
        """Close the window."""
        if self._shown:
            cv2.destroyAllWindows()
            self._shown = False


def has_display() -> bool:
    """Whether a window could be opened.

    OpenCV's Qt ends the process when it finds no display, so it must not be asked.
    """
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
