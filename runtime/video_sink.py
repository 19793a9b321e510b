"""Annotated video."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ..errors import OutputError
from ..records import Frame, Tracks, UInt8Array
from .capture import silence_opencv
from .fragmented_mp4 import EncodedClip, fragment, header, read_clip
from .sinks import SinkBase, output_error

Draw = Callable[[UInt8Array, Tracks], UInt8Array]

_MAX_SIDE = 8190  # of MPEG-4 Part 2
_PART_S = 1.0


class VideoFile(SinkBase):
    """An MP4 of the frames with their tracks drawn in, playable at any moment.

    Every second, of the video or of the clock, whichever is over first, what was encoded since is
    appended whole: a process that is killed leaves a video up to there. The first frame fixes the
    size; later frames of another size are fitted into it. Odd sizes are made even by repeating the
    last row or column.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        draw: Draw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened before the first frame.

        Args:
            path: The file, ending in .mp4.
            fps: Frames per second it plays at; rounded to hundredths.
            draw: Makes the picture, (H, W, 3) uint8 BGR, from a frame's image, which it leaves
                as it is, and the tracks.
            clock: Monotonic seconds.

        Raises:
            OutputError: The frame rate is not a positive number.
        """
        if not (math.isfinite(fps) and 0.01 <= fps <= 600):
            raise OutputError(
                f"{path}: frame rate {fps:g}, expected 0.01 to 600; set it with --fps"
            )
        self._path = path
        rate = Fraction(round(fps * 100), 100)
        self._fps = float(rate)
        # Whole ticks a frame at any rate of whole hundredths.
        self._timescale, self._duration = rate.numerator * 100, rate.denominator * 100
        self._draw = draw
        self._clock = clock
        self._part: _Part | None = None
        self._size_hw = (0, 0)
        self._parts = self._frames = self._length = 0
        self._closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draws and encodes one frame.

        Raises:
            OutputError: The video cannot be opened or written; what is in it stays playable.
        """
        if self._closed:
            raise OutputError(f"{self._path}: frame {frame.index} came after the video was closed")
        picture = _even(self._draw(frame.image, tracks))
        if self._size_hw == (0, 0):
            self._begin(picture)
        elif picture.shape[:2] != self._size_hw:
            picture = _fitted(picture, self._size_hw)
        if self._part is None:
            self._part = _Part(self._path, self._fps, self._size_hw, self._clock())
        self._part.write(picture)
        if self._part.frames >= self._fps * _PART_S or self._clock() - self._part.start_s > _PART_S:
            self._append()

    def close(self) -> None:
        """Appends what is left; does nothing where no frame was written. May be called again.

        Raises:
            OutputError: It cannot be written; what was written before stays playable.
        """
        self._closed = True
        if self._part is not None:
            self._append()

    def _begin(self, picture: UInt8Array) -> None:
        silence_opencv()
        height, width = picture.shape[:2]
        if max(height, width) > _MAX_SIDE:
            raise OutputError(
                f"{self._path}: frames of {width}x{height} are too large for an MPEG-4 video "
                f"(at most {_MAX_SIDE} pixels a side); leave out --save-video"
            )
        try:
            # Found out now; but a video without a picture is none, so nothing is left there.
            self._path.write_bytes(b"")
            self._path.unlink()
        except OSError as error:
            raise output_error(self._path, error) from None
        self._size_hw = (height, width)

    def _append(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        try:
            clip = part.finish(self._frames)
            data = b"" if self._parts else header(clip, self._timescale)
            start = self._frames * self._duration
            self._write(data + fragment(clip, self._parts + 1, start, self._duration))
        except OutputError:
            self._closed = True
            if not self._parts:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            raise
        self._parts += 1
        self._frames += part.frames

    def _write(self, data: bytes) -> None:
        try:
            with self._path.open("ab", buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            # A part of a fragment would not harm a player, but is of no use either.
            with contextlib.suppress(OSError), self._path.open("r+b") as file:
                file.truncate(self._length)
            raise output_error(self._path, error, self._frames) from None
        self._length += len(data)


class _Part:
    """A second of video in a file of its own, in the folder of temporary files."""

    def __init__(self, video: Path, fps: float, size_hw: tuple[int, int], start_s: float) -> None:
        self.start_s = start_s
        self.frames = 0
        self._video = video
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="unitrack-")
        except OSError as error:
            raise output_error(Path(tempfile.gettempdir()), error) from None
        self._path = Path(self._folder.name) / "part.mp4"
        height, width = size_hw
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._path), code, fps, (width, height))
        if not self._writer.isOpened():
            self._folder.cleanup()
            raise OutputError(
                f"{video}: this OpenCV cannot write MPEG-4 video of {width}x{height} at "
                f"{fps:g} frames per second; leave out --save-video"
            )

    def write(self, picture: UInt8Array) -> None:
        self._writer.write(picture)
        self.frames += 1

    def finish(self, kept: int) -> EncodedClip:
        self._writer.release()
        try:
            with self._folder:
                clip = read_clip(self._path.read_bytes())
        except (OSError, ValueError) as error:
            raise self._unreadable(kept, str(error)) from None
        # OpenCV does not say so when it could not write.
        if len(clip.sizes) != self.frames:
            raise self._unreadable(kept, f"{len(clip.sizes)} of {self.frames} frames")
        return clip

    def _unreadable(self, kept: int, why: str) -> OutputError:
        return OutputError(
            f"disk full while writing {self._video}, {kept} frames kept (the next second could not "
            f"be encoded in {Path(self._folder.name).parent}: {why}); free some space, name "
            "another folder with TMPDIR, or leave out --save-video"
        )


def _even(picture: UInt8Array) -> UInt8Array:
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8, copy=False)


def _fitted(picture: UInt8Array, size_hw: tuple[int, int]) -> UInt8Array:
    """The picture, scaled and centred on black of another size."""
    scale = min(wanted / got for wanted, got in zip(size_hw, picture.shape[:2], strict=True))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    canvas = np.zeros((*size_hw, 3), np.uint8)
    top, left = (size_hw[0] - height) // 2, (size_hw[1] - width) // 2
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    canvas[top : top + height, left : left + width] = small
    return canvas
