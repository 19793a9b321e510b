"""Video files: every frame, in order."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ...errors import SourceError
from ...records import Frame, UInt8Array
from .base import SourceInfo
from .capture import Capture, next_image, silence_opencv
from .read_ahead import BrokenOffError, FileSource, _size_change, jpeg_size

# How many announced frames may be missing at the end before it is worth a word: containers that
# count their frames are off by one or two; for the others OpenCV guesses from the duration, which
# an audio track may stretch by a moment.
_COUNTING_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi"})


_MISSING_FRAMES = 2


_MISSING_SECONDS = 2.0


# What FFmpeg takes for a recording of a text terminal, by the name alone.
_TEXT_SUFFIXES = frozenset({".ans", ".art", ".asc", ".diz", ".ice", ".nfo", ".txt", ".vt"})


_AUDIO_SUFFIXES = frozenset({".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma"})


def open_video(location: str, name: str, *, fps: float | None = None) -> FileSource:
    """Opens a video file, or a URL that is a file.

    Args:
        location: Absolute path or URL.
        name: What messages call it; no credentials in it.
        fps: Frames per second in place of those of the container.

    Raises:
        SourceError: Not a video, or no frame in it.
    """
    silence_opencv()
    if not re.match(r"https?://", location, re.IGNORECASE):
        _check_readable(Path(location), name)
    capture = cv2.VideoCapture(location)
    if not capture.isOpened():
        raise SourceError(_not_a_video(location, name))
    image = next_image(capture)
    if image is None:
        capture.release()
        raise SourceError(f"{name}: no frame in it (its header may be all there is)")
    announced_fps = capture.get(cv2.CAP_PROP_FPS)
    known = math.isfinite(announced_fps) and 0 < announced_fps <= 1000
    length = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    info = SourceInfo(
        name=name,
        kind="video",
        size_hw=(int(image.shape[0]), int(image.shape[1])),
        fps=fps or (announced_fps if known else None),
        frame_count=int(length) if math.isfinite(length) and 0 < length < 1e9 else None,
        live=False,
    )
    watch = SizeWatch.of(location, capture)
    frames = _video_frames(capture, image, info, announced_fps if known else None, watch)

    def release() -> None:
        capture.release()
        if watch is not None:
            watch.close()

    return FileSource(info, frames, release)


def _check_readable(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror}") from None
    if empty:
        raise SourceError(f"{name}: the file is empty")
    if path.suffix.lower() in _TEXT_SUFFIXES:
        # FFmpeg would draw its letters, as on a terminal of old, and call that a video.
        raise SourceError(f"{name}: a text file; expected a video, an image or a folder of images")


def _not_a_video(location: str, name: str) -> str:
    if Path(location).suffix.lower() in _AUDIO_SUFFIXES:
        return f"{name}: an audio file; expected a video, an image or a folder of images"
    return (
        f"{name}: cannot be decoded as a video (damaged, cut off before its index, of an unknown "
        "codec, without any image, or not a video at all)"
    )


def _video_frames(
    capture: Capture,
    first: UInt8Array,
    info: SourceInfo,
    announced_fps: float | None,
    watch: SizeWatch | None,
) -> Iterator[Frame]:
    seconds = 1.0 / (info.fps or 25.0)
    image: UInt8Array | None = first
    index, shown_until_s = 0, 0.0
    while image is not None:
        changed = watch.step() if watch is not None else None
        if changed is not None or image.shape[:2] != info.size_hw:
            raise BrokenOffError(_size_change(info, index, changed or image.shape[:2]))
        shown_until_s = max(shown_until_s, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
        yield Frame(index, index * seconds, image)
        index += 1
        image = next_image(capture)
    if _missing(info, index, shown_until_s, announced_fps):
        raise BrokenOffError(
            f"{info.name} ended after {index} of {info.frame_count} announced frames (cut off, "
            "damaged, or trimmed without encoding it anew)"
        )


def _missing(
    info: SourceInfo, count: int, shown_until_s: float, announced_fps: float | None
) -> bool:
    """Whether a video of `count` frames ended well before its announced length."""
    if info.frame_count is None:
        return False
    tolerated = _MISSING_FRAMES
    if Path(info.name).suffix.lower() not in _COUNTING_SUFFIXES:
        tolerated += round(_MISSING_SECONDS * (announced_fps or 25.0))
    # Where the frame rate varies, the announced number may be a guess as well: the last image
    # then stands near the announced end although there are fewer of them.
    shown = round(shown_until_s * announced_fps) + 1 if announced_fps else count
    return max(count, shown) < info.frame_count - tolerated


# Start codes of the headers that hold an image's size, by FourCC of the codec; the suffix is
# that of the bare stream, by which FFmpeg knows how to open it.
_H264, _HEVC, _MPEG4 = ".h264", ".hevc", ".m4v"


_STREAMS = {
    **dict.fromkeys(("avc1", "h264", "x264", "avc3"), _H264),
    **dict.fromkeys(("hvc1", "hev1", "hevc", "h265"), _HEVC),
    **dict.fromkeys(("mp4v", "fmp4", "xvid", "divx", "dx50"), _MPEG4),
}


_HEAD_BYTES = 1 << 16  # of a packet; its headers come before the image


_JPEG = ("mjpg", "jpeg", "mjpa", "avrn")


def _size_header(packet: bytes, stream: str) -> bytes | None:
    """The unit of a packet that states the image size, without its start code."""
    at = packet.find(b"\x00\x00\x01")
    while 0 <= at < len(packet) - 4:
        following = packet.find(b"\x00\x00\x01", at + 3)
        code = packet[at + 3]
        if (
            (stream == _H264 and code & 0x1F == 7)
            or (stream == _HEVC and (code >> 1) & 0x3F == 33)
            or (stream == _MPEG4 and 0x20 <= code <= 0x2F)
        ):
            return packet[at + 3 : following if following >= 0 else len(packet)].rstrip(b"\0")
        at = following
    return None


def _size_of_stream(packet: bytes, stream: str) -> tuple[int, int] | None:
    """Lets FFmpeg read the size from one key packet of a bare stream."""
    handle, name = tempfile.mkstemp(suffix=stream)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(packet)
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            return None
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        capture.release()
        return (height, width) if width > 0 and height > 0 else None
    finally:
        Path(name).unlink()


class SizeWatch:
    """Follows the packets of a video file, one `step` a frame, and reports a change of size."""

    def __init__(self, packets: cv2.VideoCapture, stream: str | None) -> None:
        """Takes a handle in raw mode, and the bare stream's suffix (None: JPEG images)."""
        self._packets = packets
        self._stream = stream
        self._size_hw: tuple[int, int] | None = None
        self._header: bytes | None = None
        self._ended = False

    @staticmethod
    def of(location: str, capture: cv2.VideoCapture) -> SizeWatch | None:
        """A watch over a local file that `capture` decodes; None where its codec is not covered.

        Covered are Motion JPEG, H.264, HEVC and MPEG-4 Part 2.
        """
        if "://" in location or capture.getBackendName() != "FFMPEG":
            return None
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        codec = code.to_bytes(4, "little").decode("latin-1").lower()
        if codec not in _STREAMS and codec not in _JPEG:
            return None
        packets = cv2.VideoCapture(location, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        return SizeWatch(packets, _STREAMS.get(codec)) if packets.isOpened() else None

    def step(self) -> tuple[int, int] | None:
        """Moves to the next packet; its (height, width) in pixels if that is a new size."""
        ok, data = (False, None) if self._ended else self._packets.read()
        if not ok or data is None:
            self._ended = True
            return None
        packet = np.asarray(data, np.uint8).reshape(-1)
        head = packet[:_HEAD_BYTES].tobytes()
        size = jpeg_size(head)[0] if self._stream is None else self._stated_size(head, packet)
        if size is None or size == self._size_hw:
            return None
        before, self._size_hw = self._size_hw, size
        return size if before is not None else None

    def _stated_size(self, head: bytes, packet: UInt8Array) -> tuple[int, int] | None:
        header = _size_header(head, self._stream or "")
        if header is None or header == self._header:
            return None
        self._header = header
        return _size_of_stream(packet.tobytes(), self._stream or "")

    def close(self) -> None:
        """Frees the file."""
        self._packets.release()
