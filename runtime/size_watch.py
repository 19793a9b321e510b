"""Tells when the pictures of a video file change size.

OpenCV scales every picture of a file to the size of the first one without a word (and older
versions crop it), so the change has to be read from the compressed packets: a second handle on
the file hands them over undecoded, which costs one pass of reading and no decoding.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from ..records import UInt8Array

# Start codes of the headers that hold a picture's size, by FourCC of the codec; the suffix is
# that of the bare stream, by which FFmpeg knows how to open it.
_H264, _HEVC, _MPEG4 = ".h264", ".hevc", ".m4v"
_STREAMS = {
    **dict.fromkeys(("avc1", "h264", "x264", "avc3"), _H264),
    **dict.fromkeys(("hvc1", "hev1", "hevc", "h265"), _HEVC),
    **dict.fromkeys(("mp4v", "fmp4", "xvid", "divx", "dx50"), _MPEG4),
}
_HEAD_BYTES = 1 << 16  # of a packet; its headers come before the picture
_JPEG = ("mjpg", "jpeg", "mjpa", "avrn")


def jpeg_size(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Height and width of a JPEG from its header, and whether its end marker is there."""
    size, at = None, 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            size = (height, int.from_bytes(data[at + 7 : at + 9], "big"))
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the picture itself: the byte pair of the end marker is escaped in it
            return size, data.find(b"\xff\xd9", at + 2 + length) >= 0
        at += 2 + length
    return size, False


def _size_header(packet: bytes, stream: str) -> bytes | None:
    """The unit of a packet that states the picture size, without its start code."""
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
        """Takes a handle in raw mode, and the bare stream's suffix (None: JPEG pictures)."""
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
