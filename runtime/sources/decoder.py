"""Video files and network streams decoded by FFmpeg, through PyAV."""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from ...records import UInt8Array
from .base import Capture, known_fps
from .image_files.decode import Pixels
from .image_files.levels import Scaling

OPEN_TIMEOUT_S = 10.0

SNAPSHOTS_PER_S = 10.0
"""How often a camera that gives an image a request is asked for one, at most."""

_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS of FFmpeg's formats: bare streams of packets

# Pixels that are handed over as they are, in the byte order of NumPy.
_DEEP_GREY = {"gray16le": "gray16le", "gray16be": "gray16le"} | {
    "grayf32le": "grayf32le",
    "grayf32be": "grayf32le",
}

# Formats whose packets have no time of being shown, but only their place among all packets.
_IN_ORDER = frozenset({"avi"})

# Of a frame. `VideoFrame.side_data` would be kept by the frame and itself keep the frame: such a
# circle is left to Python's collector, which may not come for hundreds of images.
_side_data: Any = SideDataContainer

_VP8 = frozenset({"vp8", "libvpx"})

_MOST_PIXELS, _USUAL_PIXELS = 1 << 27, 1 << 25  # more than 15360x8640, and than 7680x4320


def _most_pixels(announced: int) -> int:
    """How many pixels an image may have in a stream that announces so many, 0 where it does not."""
    return min(max(4 * announced, _USUAL_PIXELS), _MOST_PIXELS) if announced else _MOST_PIXELS


class VideoDecoder:
    """The images of the best video stream of a file or URL, upright, with their timestamps.

    Attributes:
        fps: Average frames per second; None where unknown.
        counted: Number of frames that the container counts; None where it does not.
        end_s: When the container says that it ends, on the clock of its timestamps; None where it
            does not.
        is_images: Whether what is read are image files, such as the one of a snapshot camera.
        has_times: Whether the container has timestamps; FFmpeg makes some up for bare streams.
        packets: Packets read so far that are to be shown.
        lost: Packets so far that could not be decoded; at the end, those that gave no image.
        in_part: Images so far of which parts are missing or made up.
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
        # A damaged packet may say that its image has any size.
        codec.options = {"max_pixels": str(_most_pixels(codec.width * codec.height))}
        self.is_images = self._container.format.name.endswith(("_pipe", "image2"))
        self.has_times = not self._container.format.flags & _NO_TIMES
        self.fps = self._rate()
        self.counted: int | None = self._stream.frames or None
        self.end_s = self._announced_end()
        self.packets = self.lost = self.in_part = 0
        self._shown = 0
        self._interlaced = False
        self.failure: str | None = None
        self._reformatter = VideoReformatter()
        in_order = not _IN_ORDER.isdisjoint(self._container.format.name.split(","))
        self._waiting: deque[int | None] | None = deque() if in_order else None

    @property
    def frame_count(self) -> int | None:
        """Announced number of frames, made of the duration where they are not counted, or None."""
        if self.counted is not None or self.end_s is None or self.fps is None:
            return self.counted
        count = round((self.end_s - self._start()) * Fraction(self.fps))
        return count if 0 < count < 1e9 else None

    def images(self) -> Iterator[tuple[Pixels, Fraction | None]]:
        """Every image with its timestamp in seconds or None.

        It is (H, W, 3) uint8 BGR contiguous, or deeper where grey pixels fill 16 bits or are
        floats: of these the format does not say what is white, and `Scaling` finds out.

        Damaged packets are skipped; a file or connection that fails ends it, see `failure`.
        """
        for packet in self._packets():
            yield from self._decoded(packet)
        yield from self._decoded(None)  # those that the decoder still holds
        # Decoders skip what refers to a damaged image without a word. Each field of an interlaced
        # H.264 video may have a packet of its own: there, packets do not count images.
        if not (self._interlaced and self._stream.codec_context.name == "h264"):
            self.lost = max(self.lost, self.packets - self._shown)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        try:
            for packet in packets:
                if packet.size:  # an empty one would end the decoder
                    self.packets += not packet.is_discard and not self._hidden(packet)
                    yield packet
        except av.FFmpegError as error:
            self.failure = error.strerror

    def _hidden(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet of VP8 is only there for others to refer to (RFC 6386, 9.1)."""
        return self._stream.codec_context.name in _VP8 and not bytes(packet)[0] & 0x10

    def _decoded(
        self, packet: Packet[VideoStream] | None
    ) -> Iterator[tuple[Pixels, Fraction | None]]:
        waiting = self._waiting
        if waiting is not None and packet is not None:
            waiting.append(packet.dts)
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            if waiting:
                waiting.pop()
            self.lost += 1
            return  # the next one may be whole
        for frame in frames:
            self._shown += 1
            self.in_part += frame.is_corrupt
            self._interlaced |= frame.interlaced_frame
            stamp = frame.dts if frame.pts is None else frame.pts
            if waiting is not None:
                stamp = waiting.popleft() if waiting else None
            base = frame.time_base or self._stream.time_base
            time_s = None
            if stamp is not None and base is not None and self.has_times:
                time_s = stamp * base
            yield self._upright(frame), time_s

    def close(self) -> None:
        """Frees the file or connection; to be called by the thread that reads."""
        self._container.close()

    def _rate(self) -> float | None:
        """Frames per second: of the container, or of the codec where the former knows none."""
        stream = self._stream
        rates = [stream.average_rate, stream.guessed_rate]
        if not self.has_times:  # the average is then FFmpeg's own idea
            rates = [stream.guessed_rate]
        known = (known_fps(None if rate is None else float(rate)) for rate in rates)
        return next((fps for fps in known if fps is not None), None)

    def _announced_end(self) -> Fraction | None:
        """When the video ends: its own track, or the container, which may hold longer ones."""
        stream, container = self._stream, self._container
        if stream.duration is not None and stream.time_base is not None:
            return self._start() + stream.duration * stream.time_base
        own = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", "").strip())
        if own is not None:  # Matroska's, from the start of the container
            return int(own[1]) * 3600 + int(own[2]) * 60 + Fraction(own[3])
        if container.duration is None:
            return None
        return Fraction((container.start_time or 0) + container.duration, av.time_base)

    def _start(self) -> Fraction:
        start, base = self._stream.start_time, self._stream.time_base
        return Fraction(0) if start is None or base is None else start * base

    def _upright(self, frame: VideoFrame) -> Pixels:
        deep = _DEEP_GREY.get(frame.format.name)
        converted = self._reformatter.reformat(
            frame, format=deep or "bgr24", interpolation=Interpolation.BICUBIC
        )
        image = converted.to_ndarray()
        matrix = _side_data(frame).get("DISPLAYMATRIX")
        if matrix is not None:
            # The place of a pixel (x, y) on the display: (a x + c y, b x + d y).
            a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
            if abs(b) > abs(a):
                image, a, d = image.swapaxes(0, 1), c, b
            image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(image)


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
        self._images = Scaling().apply(self._decoder.images())
        self.fps = self._decoder.fps
        self.is_images = self._decoder.is_images
        self.stamp_s: float | None = None

    def read(self) -> UInt8Array | None:
        """As `Capture.read`; None for good once the stream has ended."""
        image, time_s = next(self._images, (None, None))
        self.stamp_s = None if time_s is None else float(time_s)
        return image

    def release(self) -> None:
        """As `Capture.release`."""
        self._images = iter(())
        self._decoder.close()


def open_capture(url: str, read_timeout_s: float) -> Capture:
    """A `Capture` of a network stream, or of a camera that gives an image a request.

    Raises:
        av.FFmpegError: It does not answer within ten seconds, or refuses.
        LookupError: There is no video in it.
    """
    capture = StreamCapture(url, read_timeout_s)
    if not capture.is_images:
        return capture
    capture.release()
    return SnapshotCapture(url, read_timeout_s)


class SnapshotCapture:
    """A `Capture` of an URL that is an image, another one with every request.

    Args:
        url: The image.
        read_timeout_s: How long a request may take.
        per_s: Requests a second, at most; None: `SNAPSHOTS_PER_S`.
    """

    def __init__(self, url: str, read_timeout_s: float, per_s: float | None = None) -> None:
        self.fps: float | None = per_s or SNAPSHOTS_PER_S
        self._url, self._timeout_s = url, read_timeout_s
        self._asked_s = -math.inf
        self._scaling = Scaling()

    def read(self) -> UInt8Array | None:
        """As `Capture.read`: the image of the next request, or None where it fails."""
        interval_s = 1 / (self.fps or SNAPSHOTS_PER_S)
        time.sleep(max(0.0, self._asked_s + interval_s - time.monotonic()))
        self._asked_s = time.monotonic()
        try:
            decoder = VideoDecoder(self._url, live=False, read_timeout_s=self._timeout_s)
        except (av.FFmpegError, LookupError):
            return None
        try:
            return next(self._scaling.apply(decoder.images()), (None, None))[0]
        finally:
            decoder.close()

    def release(self) -> None:
        """As `Capture.release`: there is nothing to free between two requests."""
