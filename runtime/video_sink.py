"""Annotated video."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ..errors import OutputError
from ..records import Frame, Tracks, UInt8Array
from .capture import silence_opencv
from .sinks import SinkBase, output_error

Draw = Callable[[UInt8Array, Tracks], UInt8Array]

# OpenCV does not report a write that failed, and the index comes last: stop while there is room
# for it (about 20 bytes a frame) and for what the encoder still holds.
_RESERVE_BYTES = 8 << 20
_INDEX_BYTES = 32
_MAX_SIDE = 8190  # of MPEG-4 Part 2


class VideoFile(SinkBase):
    """An MP4 of the frames with their tracks drawn in.

    It is written under another name (video.partial.mp4) and renamed when closed, which also
    happens on Ctrl-C; the file is then complete and playable. The first frame fixes the size.
    Odd sizes are made even by repeating the last row or column.
    """

    def __init__(self, path: Path, fps: float, draw: Draw) -> None:
        """Nothing is opened before the first frame.

        Args:
            path: The file, ending in .mp4.
            fps: Frames per second it plays at; rounded to hundredths, which the format can hold.
            draw: Makes the picture, (H, W, 3) uint8 BGR, from a frame's image, which it leaves
                as it is, and the tracks.

        Raises:
            OutputError: The frame rate is not a positive number.
        """
        if not (math.isfinite(fps) and 0.01 <= fps <= 600):
            raise OutputError(
                f"{path}: frame rate {fps:g}, expected 0.01 to 600; set it with --fps"
            )
        self._path = path
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._fps = round(fps, 2)
        self._draw = draw
        self._writer: cv2.VideoWriter | None = None
        self._size_hw = (0, 0)
        self._frames = 0
        self._closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draws and encodes one frame.

        Raises:
            OutputError: The video cannot be opened, the frame has another size than the first, or
                the disk is nearly full (the video so far is completed first).
        """
        if self._closed:
            raise OutputError(f"{self._path}: frame {frame.index} came after the video was closed")
        picture = self._draw(frame.image, tracks)
        height, width = picture.shape[:2]
        picture = cv2.copyMakeBorder(
            picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
        ).astype(np.uint8, copy=False)
        if self._writer is None:
            self._writer = self._open((height, width), picture)
        elif (height, width) != self._size_hw:
            raise OutputError(
                f"{self._path}: frame {frame.index} is {width}x{height}, the video "
                f"{self._size_hw[1]}x{self._size_hw[0]} (width x height)"
            )
        self._stop_if_full()
        self._writer.write(picture)
        self._frames += 1

    def close(self) -> None:
        """Completes the video and gives it its name; does nothing where no frame was written.

        Raises:
            OutputError: The file is not readable as a video, as after a full disk or quota.
        """
        self._closed = True
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.release()
        if self._frames == 0:
            self._partial.unlink(missing_ok=True)
            return
        readable = cv2.VideoCapture(str(self._partial.absolute()))
        written = int(readable.get(cv2.CAP_PROP_FRAME_COUNT)) if readable.isOpened() else 0
        readable.release()
        if written < self._frames:
            with contextlib.suppress(OSError):
                self._partial.unlink()
            raise OutputError(
                f"disk full while writing {self._path}, 0 of {self._frames} frames kept (the video "
                "could not be completed); free some space, or leave out --save-video"
            )
        try:
            self._partial.replace(self._path)
        except OSError as error:
            raise output_error(self._path, error) from None

    def _open(self, size_hw: tuple[int, int], picture: UInt8Array) -> cv2.VideoWriter:
        silence_opencv()
        height, width = picture.shape[:2]
        if max(height, width) > _MAX_SIDE:
            raise OutputError(
                f"{self._path}: frames of {width}x{height} are too large for an MPEG-4 video "
                f"(at most {_MAX_SIDE} pixels a side); leave out --save-video"
            )
        try:
            self._partial.touch()
        except OSError as error:
            raise output_error(self._path, error) from None
        self._size_hw = size_hw
        self._stop_if_full()
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._partial.absolute()), code, self._fps, (width, height))
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            raise OutputError(
                f"{self._path}: this OpenCV cannot write MPEG-4 video of {width}x{height} at "
                f"{self._fps:g} frames per second; leave out --save-video"
            )
        return writer

    def _stop_if_full(self) -> None:
        needed = _RESERVE_BYTES + _INDEX_BYTES * self._frames
        if shutil.disk_usage(self._partial.parent).free >= needed:
            return
        if self._writer is None:
            self._partial.unlink(missing_ok=True)
        frames = self._frames
        self.close()
        raise OutputError(
            f"disk full while writing {self._path}, {frames} frames kept (less than "
            f"{needed >> 20} MB left); free some space, or leave out --save-video"
        )
