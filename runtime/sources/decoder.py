"""Video files and network streams decoded by FFmpeg, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from ...records import UInt8Array
from .base import known_fps

OPEN_TIMEOUT_S = 10.0


class VideoDecoder:
    """The images of the best video stream of a file or URL, upright, with their timestamps.

    Attributes:
        fps: Average frames per second; None where unknown.
        frame_count: Announced number of frames, counted by the container or made of its duration;
            None where unknown.
        packets: Packets read so far that are to be shown.
        failure: Why reading stopped before the end of the file, or None.

    Raises:
        av.FFmpegError: It cannot be opened.
        LookupError: There is no video in it, or one of an unknown codec.
    """

    def __init__(self, location: str, *, live: bool, read_timeout_s: float | None = None) -> None:
        """Opens it; the first image is decoded when it is asked for.

        Args:
            location: Absolute path or URL.
            live: Whether a short delay counts more than speed: one decoding thread (each of
                several holds back a frame) and no buffering.
            read_timeout_s: How long a packet of a URL may take.
        """
        options = {"fflags": "nobuffer", "rtsp_flags": "prefer_tcp"} if live else {}
        timeout = None if read_timeout_s is None else (OPEN_TIMEOUT_S, read_timeout_s)
        self._container: InputContainer = av.open(
            location, "r", container_options=options, timeout=timeout, metadata_errors="replace"
        )
        try:
            self._stream = _best_stream(self._container)
        except LookupError:
            self._container.close()
            raise
        codec = self._stream.codec_context
        if live:
            codec.thread_count = 1
            codec.flags |= Flags.low_delay
        else:
            codec.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = known_fps(None if rate is None else float(rate))
        self.frame_count = self._stream.frames or self._estimated_count()
        self.packets = 0
        self.failure: str | None = None
        self._reformatter = VideoReformatter()

    def images(self) -> Iterator[tuple[UInt8Array, Fraction | None]]:
        """Every image, (H, W, 3) uint8 BGR contiguous, with its timestamp in seconds or None.

        Damaged packets are skipped; a file or connection that fails ends it, see `failure`.
        """
        for packet in self._packets():
            yield from self._decoded(packet)
        yield from self._decoded(None)  # those that the decoder still holds

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        try:
            for packet in packets:
                if packet.size:  # an empty one would end the decoder
                    self.packets += not packet.is_discard
                    yield packet
        except av.FFmpegError as error:
            self.failure = error.strerror

    def _decoded(
        self, packet: Packet[VideoStream] | None
    ) -> Iterator[tuple[UInt8Array, Fraction | None]]:
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            return  # damaged; the next one may be whole
        for frame in frames:
            stamp = frame.dts if frame.pts is None else frame.pts
            base = frame.time_base or self._stream.time_base
            yield self._upright(frame), None if stamp is None or not base else stamp * base

    def close(self) -> None:
        """Frees the file or connection; to be called by the thread that reads."""
        self._container.close()

    def _estimated_count(self) -> int | None:
        stream, rate = self._stream, self._stream.guessed_rate or self._stream.average_rate
        if self._container.duration is not None:
            seconds = Fraction(self._container.duration, av.time_base)
        elif stream.duration is not None and stream.time_base is not None:
            seconds = stream.duration * stream.time_base
        else:
            return None
        count = round(seconds * rate) if rate else 0
        return count if 0 < count < 1e9 else None

    def _upright(self, frame: VideoFrame) -> UInt8Array:
        converted = self._reformatter.reformat(
            frame, format="bgr24", interpolation=Interpolation.BICUBIC
        )
        image = converted.to_ndarray()
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            # The place of a pixel (x, y) on the display: (a x + c y, b x + d y).
            a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
            if abs(b) > abs(a):
                image, a, d = image.transpose(1, 0, 2), c, b
            image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(image, np.uint8)


def _best_stream(container: InputContainer) -> VideoStream:
    """The video stream that FFmpeg likes best, cover art left out."""
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None
        and not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
    ]
    if not streams:
        raise LookupError("no video stream")
    best = container.streams.best("video")
    return next((stream for stream in streams if stream is best), streams[0])


class StreamCapture:
    """A `Capture` of a network stream.

    Raises:
        av.FFmpegError: It does not answer within ten seconds, or refuses.
        LookupError: There is no video in it.
    """

    def __init__(self, url: str, read_timeout_s: float) -> None:
        """Connects; a packet that takes longer than `read_timeout_s` seconds ends the stream."""
        self._decoder = VideoDecoder(url, live=True, read_timeout_s=read_timeout_s)
        self._images = self._decoder.images()
        self.fps = self._decoder.fps

    def read(self) -> UInt8Array | None:
        """As `Capture.read`; None for good once the stream has ended."""
        return next(self._images, (None, None))[0]

    def release(self) -> None:
        """As `Capture.release`."""
        self._images = iter(())
        self._decoder.close()
