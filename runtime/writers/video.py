"""`video.mp4`: H.264 that browsers play, playable at any moment while it is written.

An ordinary MP4 has its index at the end, so that a process that is killed leaves nothing playable.
Here a short index comes first and every frame follows as a fragment of its own (ISO/IEC 14496-12's
movie fragments), which is on the disk as soon as the next frame's time gives its duration.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ...errors import OutputError
from ...records import Frame, Tracks, UInt8Array
from .base import Writer, output_error

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_LIBC = ctypes.CDLL(None) if os.name == "posix" else None

Draw = Callable[[UInt8Array, Tracks], UInt8Array]
_MAX_SIDE = 16_384  # of x264
_LEAST_TICKS = 90_000  # a second

# Without the table of fragments at the end, which would grow in memory for days.
_FRAGMENTS = "frag_every_frame+empty_moov+default_base_moof+skip_trailer"

# One thread: the same frames give the same bytes on every machine, and none is held back.
_X264 = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
_BT601, _LIMITED_RANGE = 6, 1  # as cv2.cvtColor makes it; ISO/IEC 23091-2 and FFmpeg's numbers


class VideoWriter(Writer):
    """An MP4 of the frames with their tracks drawn in, at their own times.

    All but the newest frame are on the disk and playable when `write` returns. The first frame
    fixes the size; later frames of another size are fitted into it. Odd sizes are made even by
    repeating the last row or column. Every second of video begins with a key frame.
    """

    def __init__(self, path: Path, fps: float, draw: Draw) -> None:
        """Nothing is opened before the first frame.

        Args:
            path: The file, ending in .mp4.
            fps: Usual frames per second, for how long the last frame is shown.
            draw: Makes the image, (H, W, 3) uint8 BGR, from a frame's image, which it leaves
                as it is, and the tracks.

        Raises:
            OutputError: The frame rate is not a positive number.
        """
        if not (math.isfinite(fps) and 0.01 <= fps <= 600):
            raise OutputError(
                f"{path}: frame rate {fps:g}, expected 0.01 to 600; set it with --fps"
            )
        self._path = path
        self._fps = Fraction(fps).limit_denominator(1001)
        self._draw = draw
        self._video: _FragmentedMp4 | None = None
        self._start_s = 0.0
        self._frames = 0
        self._closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draws and encodes one frame.

        Raises:
            OutputError: The video cannot be opened or written; what is in it stays playable.
        """
        if self._closed:
            raise OutputError(f"{self._path}: frame {frame.index} came after the video was closed")
        image = _even(self._draw(frame.image, tracks))
        self._frames += 1
        try:
            with self._encoding():
                if self._video is None:
                    self._video = _FragmentedMp4(self._path, self._fps, image.shape[:2])
                    self._start_s = frame.time_s
                elif image.shape[:2] != self._video.size_hw:
                    image = _fitted(image, self._video.size_hw)
                self._video.add(image, frame.time_s - self._start_s)
        except OutputError:
            self._closed = True
            raise

    def close(self) -> None:
        """Writes what is left; does nothing where no frame was written. May be called again.

        Raises:
            OutputError: It cannot be written; what was written before stays playable.
        """
        already, self._closed = self._closed, True
        if self._video is not None:
            if not already:
                with self._encoding():
                    self._video.finish()
            self._video = None
            _give_back_memory()

    @contextlib.contextmanager
    def _encoding(self) -> Iterator[None]:
        """What FFmpeg lacks, descriptors, threads or memory, ends this video and nothing else."""
        import av

        try:
            yield
            return
        except OutputError as error:
            failure = error
        except (av.FFmpegError, OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            failure = OutputError(
                f"cannot encode {self._path}: {reason} (or leave out --save-video)"
            )
        # The newest frame but this one was not on the disk yet.
        failure.lost = self._frames - (0 if self._video is None else self._video.kept[0])
        raise failure from None


class _FragmentedMp4:
    """A video of one size, encoded and appended to a file frame by frame.

    Attributes:
        size_hw: Of its images.
        kept: Frames and bytes that are on the disk and playable.
    """

    def __init__(self, path: Path, fps: Fraction, size_hw: tuple[int, int]) -> None:
        import av

        height, width = size_hw
        if max(size_hw) > _MAX_SIDE:
            raise OutputError(
                f"{path}: frames of {width}x{height} are too large for an H.264 video "
                f"(at most {_MAX_SIDE} pixels a side); leave out --save-video"
            )
        self.size_hw = size_hw
        self._path = path
        self._file = _File(path)
        # Whole ticks a frame at a constant rate.
        self._ticks = fps.numerator * math.ceil(_LEAST_TICKS / fps.numerator)  # a second
        self._duration = int(self._ticks / fps)
        self._frames = 0
        self.kept = (0, 0)
        self._pts, self._key_pts = -1, -self._ticks
        # FFmpeg writes to a file of ours, since its own does not say what part of a fragment a
        # full disk took.
        self._container: OutputContainer = av.open(
            self._file,
            "w",
            format="mp4",
            container_options={"movflags": _FRAGMENTS, "flush_packets": "1"},
        )
        self._stream: VideoStream = self._container.add_stream("libx264", fps, dict(_X264))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = Fraction(1, self._ticks)
        codec.colorspace, codec.color_range = _BT601, _LIMITED_RANGE

    def add(self, image: UInt8Array, time_s: float) -> None:
        """Encode an image of the video's size, shown `time_s` after the first one.

        One that would not be after the image before it is shown a tick after that.
        """
        from av.video.frame import PictureType, VideoFrame

        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        frame = VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts = self._pts = max(round(time_s * self._ticks), self._pts + 1)
        frame.time_base = Fraction(1, self._ticks)
        if self._pts - self._key_pts >= self._ticks:
            frame.pict_type, self._key_pts = PictureType.I, self._pts
        for packet in self._stream.encode(frame):
            packet.duration = self._duration
            self._container.mux(packet)
        self._check(self._frames)
        self._frames += 1

    def finish(self) -> None:
        """Write the newest frame and close the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._check(self._frames)
        self._file.close()

    def _check(self, playable: int) -> None:
        """Note that so many frames are on the disk, or take away the part of one that is."""
        if self._file.error is None:
            self.kept = (playable, self._file.length)
            return
        frames, length = self.kept
        with contextlib.suppress(OSError):
            self._file.truncate(length)
        self._file.close()
        if not frames:
            with contextlib.suppress(OSError):
                self._path.unlink()
        error = output_error(self._path, self._file.error, frames)
        raise OutputError(f"{error} (or leave out --save-video)") from None


class _File:
    """What FFmpeg writes to: takes everything, but nothing more after its first error."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise output_error(path, error) from None
        self.error: OSError | None = None
        self.length = 0

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        self.length += len(data) - len(left)
        return len(data)

    def truncate(self, length: int) -> None:
        self._file.truncate(length)

    def close(self) -> None:
        self._file.close()


def _give_back_memory() -> None:
    """Return what was freed to the system.

    x264 takes 2.5 MB for each video and uses little of it, but elsewhere with every segment, until
    after days every page of the heap has been used once.
    """
    trim = getattr(_LIBC, "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _even(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8, copy=False)


def _fitted(image: UInt8Array, size_hw: tuple[int, int]) -> UInt8Array:
    """The image, scaled and centred on black of another size."""
    scale = min(wanted / got for wanted, got in zip(size_hw, image.shape[:2], strict=True))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    canvas = np.zeros((*size_hw, 3), np.uint8)
    top, left = (size_hw[0] - height) // 2, (size_hw[1] - width) // 2
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    canvas[top : top + height, left : left + width] = small
    return canvas
