"""MP4 that is playable at any moment while it is written: ISO/IEC 14496-12's movie fragments.

An ordinary MP4 has its index at the end, so that a process that is killed leaves nothing playable.
Here a short index comes first and every second of video follows with an index of its own. OpenCV
encodes each second as an ordinary MP4 (it can neither write fragments nor hand out packets), and
the parts of that are laid out anew; nothing is encoded twice.
"""

from __future__ import annotations

import contextlib
import math
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ...errors import OutputError
from ...records import Frame, Tracks, UInt8Array
from ..sources.capture import silence_opencv
from .base import WriterBase, output_error

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


_SYNC, _NOT_SYNC = 0x02000000, 0x01010000


# Data offset, and of every sample its duration, size and flags are given.
_RUN_FLAGS = 0x000001 | 0x000100 | 0x000200 | 0x000400


_BASE_IS_FRAGMENT = 0x020000


_TRACK = 1


_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


_UNITY = (0x55C4).to_bytes(2, "big")  # the language code 'und'


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """What is taken from an ordinary MP4 of one video track.

    Attributes:
        description: Its `stsd` box: the codec and what a decoder must know first.
        size_hw: Height and width in pixels.
        sizes: Bytes of each image.
        key_pictures: Numbers of the images, from 0, that can be decoded by themselves.
        data: The images, one after the other.
    """

    description: bytes
    size_hw: tuple[int, int]
    sizes: tuple[int, ...]
    key_pictures: frozenset[int]
    data: bytes


def read_clip(content: bytes) -> EncodedClip:
    """Take an MP4 apart that OpenCV wrote: one video track without reordered images.

    Args:
        content: The whole file.

    Raises:
        ValueError: It is cut short or built in another way.
    """
    boxes = dict(_boxes(content))
    try:
        sizes = _sizes(boxes[b"stsz"])
        start = int.from_bytes(_table(boxes, b"stco", 4)[0], "big")
        # Without a list of key images, all of them are.
        key = set(range(len(sizes)))
        if b"stss" in boxes:
            key = {int.from_bytes(row, "big") - 1 for row in _table(boxes, b"stss", 4)}
        height, width = (value >> 16 for value in struct.unpack(">II", boxes[b"tkhd"][-8:])[::-1])
        description = boxes[b"stsd"]
    except (KeyError, IndexError, struct.error) as error:
        raise ValueError(f"no MP4 of one video track ({error!r})") from None
    if b"ctts" in boxes or start + sum(sizes) > len(content):
        raise ValueError("an MP4 with reordered images, or one that is cut short")
    data = content[start : start + sum(sizes)]
    return EncodedClip(_box(b"stsd", description), (height, width), sizes, frozenset(key), data)


def _sizes(table: bytes) -> tuple[int, ...]:
    same, count = struct.unpack(">II", table[4:12])
    return (same,) * count if same else struct.unpack(f">{count}I", table[12 : 12 + 4 * count])


def _table(boxes: dict[bytes, bytes], name: bytes, width: int) -> list[bytes]:
    table = boxes[name]
    count = int.from_bytes(table[4:8], "big")
    return [table[8 + width * n : 8 + width * (n + 1)] for n in range(count)]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every box with its payload, those within containers too."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        head = 8
        if size == 1:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        if size < head:
            raise ValueError(f"a box {name!r} of {size} bytes")
        payload = content[at + head : at + size]
        if name in _CONTAINERS:
            yield from _boxes(payload)
        elif name != b"mdat":
            yield name, payload
        at += size


def header(clip: EncodedClip, timescale: int) -> bytes:
    """What comes before the first fragment.

    Args:
        clip: The first second.
        timescale: Ticks a second.
    """
    height, width = clip.size_hw
    track_header = _full(
        b"tkhd",
        struct.pack(">IIIII8xhhhH", 0, 0, _TRACK, 0, 0, 0, 0, 0, 0)
        + _MATRIX
        + struct.pack(">II", width << 16, height << 16),
        flags=3,  # enabled, in the movie
    )
    no_samples = [_full(name, bytes(4)) for name in (b"stts", b"stsc", b"stco")]
    sample_table = _box(
        b"stbl", clip.description, *no_samples, _full(b"stsz", struct.pack(">II", 0, 0))
    )
    in_this_file = _box(b"dinf", _full(b"dref", struct.pack(">I", 1) + _full(b"url ", flags=1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">IIII", 0, 0, timescale, 0) + _UNITY + bytes(2)),
        _full(b"hdlr", bytes(4) + b"vide" + bytes(12) + b"video\0"),
        _box(b"minf", _full(b"vmhd", bytes(8), flags=1), in_this_file, sample_table),
    )
    movie_header = _full(
        b"mvhd",
        struct.pack(">IIIIiH10x", 0, 0, timescale, 0, 0x10000, 0x100)
        + _MATRIX
        + bytes(24)
        + struct.pack(">I", _TRACK + 1),
    )
    extends = _box(b"mvex", _full(b"trex", struct.pack(">IIIII", _TRACK, 1, 0, 0, 0)))
    kind = _box(b"ftyp", b"iso5" + struct.pack(">I", 0x200) + b"iso5iso6mp41")
    return kind + _box(b"moov", movie_header, _box(b"trak", track_header, media), extends)


def fragment(clip: EncodedClip, number: int, start: int, duration: int) -> bytes:
    """One second of the video, with its index.

    Args:
        clip: The images.
        number: Of the fragment, from 1.
        start: Ticks at its first image.
        duration: Ticks of each image.
    """
    samples = b"".join(
        struct.pack(">III", duration, size, _SYNC if n in clip.key_pictures else _NOT_SYNC)
        for n, size in enumerate(clip.sizes)
    )

    def index(offset: int) -> bytes:
        run = struct.pack(">Ii", len(clip.sizes), offset) + samples
        return _box(
            b"moof",
            _full(b"mfhd", struct.pack(">I", number)),
            _box(
                b"traf",
                _full(b"tfhd", struct.pack(">I", _TRACK), flags=_BASE_IS_FRAGMENT),
                _full(b"tfdt", struct.pack(">Q", start), version=1),
                _full(b"trun", run, flags=_RUN_FLAGS),
            ),
        )

    # Images are found from the fragment's first byte, past the index and the next box's head.
    return index(len(index(0)) + 8) + _box(b"mdat", clip.data)


def _box(name: bytes, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def _full(name: bytes, payload: bytes = b"", *, version: int = 0, flags: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), payload)


Draw = Callable[[UInt8Array, Tracks], UInt8Array]


_MAX_SIDE = 8190  # of MPEG-4 Part 2


_PART_S = 1.0


class VideoWriter(WriterBase):
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
            draw: Makes the image, (H, W, 3) uint8 BGR, from a frame's image, which it leaves
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
        image = _even(self._draw(frame.image, tracks))
        if self._size_hw == (0, 0):
            self._begin(image)
        elif image.shape[:2] != self._size_hw:
            image = _fitted(image, self._size_hw)
        if self._part is None:
            self._part = _Part(self._path, self._fps, self._size_hw, self._clock())
        self._part.write(image)
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

    def _begin(self, image: UInt8Array) -> None:
        silence_opencv()
        height, width = image.shape[:2]
        if max(height, width) > _MAX_SIDE:
            raise OutputError(
                f"{self._path}: frames of {width}x{height} are too large for an MPEG-4 video "
                f"(at most {_MAX_SIDE} pixels a side); leave out --save-video"
            )
        try:
            # Found out now; but a video without an image is none, so nothing is left there.
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

    def write(self, image: UInt8Array) -> None:
        self._writer.write(image)
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
