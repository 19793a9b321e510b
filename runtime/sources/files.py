"""Video files: every frame, in order, at its true time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import av

from ...errors import SourceError, count
from ...records import Frame, UInt8Array
from .base import FILE_FPS, SourceInfo
from .decoder import VideoDecoder
from .image_files.levels import Levels, Scaling
from .read_ahead import BrokenOffError, FileSource, OneSize

# How much may be missing at the end before it is worth a word: containers that count their frames
# are off by one or two; the duration of the others may be that of a longer audio track.
_MISSING_FRAMES = 2
_MISSING_SECONDS = 2
_DAY_S = 86_400
_READ_TIMEOUT_S = 30.0
_REFUSALS = (av.HTTPClientError, av.HTTPServerError)

# What FFmpeg takes for a recording of a text terminal, by the name alone.
_TEXT_SUFFIXES = frozenset({".ans", ".art", ".asc", ".diz", ".ice", ".nfo", ".txt", ".vt"})
_AUDIO_SUFFIXES = frozenset({".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma"})


def open_video(
    location: str, name: str, *, fps: float | None = None, levels: Levels | None = None
) -> FileSource:
    """Opens a video file, or a URL that is a file.

    Args:
        location: Absolute path or URL.
        name: What messages call it; no credentials in it.
        fps: Frames per second in place of the timestamps of the container.
        levels: What becomes black and white in grey video of 16 bits or floats; None:
            `Levels.of` the first frames.

    Raises:
        SourceError: Not a video, no frame in it, or of 8 bits and yet `levels` are given.
    """
    remote = re.match(r"https?://", location, re.IGNORECASE) is not None
    if not remote:
        _check_readable(Path(location), name)
    timeout_s = _READ_TIMEOUT_S if remote else None
    try:
        decoder = VideoDecoder(location, live=False, read_timeout_s=timeout_s)
    except (av.FFmpegError, LookupError) as error:
        if remote and isinstance(error, (OSError, *_REFUSALS)):
            raise SourceError(f"{name}: cannot be fetched: {error.strerror}") from None
        raise SourceError(_not_a_video(location, name)) from None
    scaling = Scaling(levels)
    images = scaling.apply(decoder.images())
    first = next(images, None)
    if first is None:
        decoder.close()
        raise SourceError(f"{name}: contains no frame (perhaps only a header)")
    if levels is not None and scaling.used is None:
        decoder.close()
        raise SourceError(
            f"{name}: --range belongs to grey video of 16 bits or floats, and this one has other "
            "pixels: leave it out"
        )
    size_hw = (int(first[0].shape[0]), int(first[0].shape[1]))
    counted = decoder.counted is not None
    info = SourceInfo(
        *(name, "video", size_hw, fps or decoder.fps, decoder.frame_count),
        live=False,
        counted=counted,
    )
    times = FrameTimes(decoder.fps or FILE_FPS)
    one_size = OneSize(name, size_hw)
    frames = _video_frames(decoder, chain([first], images), one_size, times, location, fps)

    def notes() -> list[str]:
        of_times = times.notes() if fps is None else times.replaced(fps)
        return [*_damage(decoder, name), *of_times, *scaling.notes(), *one_size.notes()]

    return FileSource(info, frames, decoder.close, notes)


def _damage(decoder: VideoDecoder, name: str) -> list[str]:
    """One line where frames are missing between others."""
    if not decoder.damaged:
        return []
    what = count(decoder.damaged, "packet", "packets")
    return [
        f"{what} of {name} could not be decoded (damaged) and left out: the frames behind are "
        "numbered without them"
    ]


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


class FrameTimes:
    """Seconds from the first frame, always increasing, made of a container's timestamps.

    A timestamp that is missing, repeated, goes backwards or jumps by more than a day is replaced
    by one interval after the frame before; those that follow it go on from there.

    Args:
        fps: Frames per second, for the interval.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / Fraction(fps)
        self._last_s = -self._interval_s
        self._origins: list[Fraction] = []  # of the first timestamp, and of the newest break
        self._frames = self._broken = 0

    def at(self, stamp: Fraction | None) -> float:
        """The time of the next frame, whose timestamp is `stamp` in seconds or None."""
        self._frames += 1
        following_s = self._last_s + self._interval_s
        if stamp is not None:
            self._origins = self._origins or [stamp - following_s]
            for origin in self._origins:
                if 0 < stamp - origin - self._last_s < _DAY_S:
                    self._last_s = stamp - origin
                    return float(self._last_s)
            self._origins[1:] = [stamp - following_s]
        self._broken += 1
        self._last_s = following_s
        return float(following_s)

    def notes(self) -> list[str]:
        """One line where timestamps were replaced."""
        if not self._broken:
            return []
        return [
            f"{self._broken} of {count(self._frames, 'frame', 'frames')} "
            f"{'has' if self._broken == 1 else 'have'} no usable timestamp (missing, repeated "
            f"or backwards): each was taken to be {float(self._interval_s):.3g} s after the one "
            f"before it ({float(1 / self._interval_s):.4g} frames a second); give the true rate "
            "with --fps"
        ]

    def replaced(self, fps: float) -> list[str]:
        """One line that says that these times were not used, but those of a rate."""
        if not self._frames:
            return []
        return [
            f"--fps {fps:g} in place of the file's own times: {self._frames} frames last "
            f"{self._frames / fps:.4g} s, not {float(self._last_s + self._interval_s):.4g} s"
        ]


def _video_frames(
    decoder: VideoDecoder,
    images: Iterable[tuple[UInt8Array, Fraction | None]],
    one_size: OneSize,
    times: FrameTimes,
    location: str,
    fps: float | None,
) -> Iterator[Frame]:
    number, newest = 0, None
    for image, stamp in images:
        time_s, newest = times.at(stamp), stamp if newest is None else max(newest, stamp or newest)
        yield Frame(number, number / fps if fps else time_s, one_size.apply(image, number))
        number += 1
    missing = _missing(decoder, location, number, newest)
    if missing is not None:
        why = "" if decoder.failure is None else f": {decoder.failure}"
        raise BrokenOffError(f"{one_size.name} ended after {missing} (cut off or damaged{why})")


def _missing(
    decoder: VideoDecoder, location: str, number: int, newest: Fraction | None
) -> str | None:
    """What there is of a video that breaks off, and what was announced; None for a whole one.

    Args:
        decoder: At its end.
        location: Of the file.
        number: Frames that came.
        newest: The latest timestamp of a frame.
    """
    announced = ""
    if decoder.counted is not None:
        short = number < decoder.counted - _MISSING_FRAMES
        announced = f" of {decoder.counted} announced"
    elif decoder.end_s is not None and newest is not None:
        interval_s = 1 / Fraction(decoder.fps or FILE_FPS)
        short = newest + (1 + _MISSING_FRAMES) * interval_s < decoder.end_s - _MISSING_SECONDS
        if short:
            announced = f" of some {decoder.frame_count or number} announced"
    else:
        short = False
    remote = "://" in location
    state = None if remote else _end_of(Path(location))
    if decoder.counted is None and (decoder.failure is not None or state == "cut"):
        short = True
    # An edit list may hide what the file holds and counts: nothing is missing if it ends whole.
    lost = decoder.packets - number
    if not short or (state == "whole" and lost <= _MISSING_FRAMES):
        return None
    return f"{number}{announced} frames"


End = Literal["whole", "cut", "unknown"]


def _end_of(path: Path) -> End:
    """How a file ends: with the last part of its container, in the midst of it, or who knows."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _end_of_matroska(file)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide") or (
            head[:4] == b"RIFF" and head[8:12] == b"AVI "
        ):
            return _end_of_boxes(file)
    return "unknown"


def _end_of_boxes(file: BinaryIO) -> End:
    """Of an MP4 with its boxes (ISO/IEC 14496-12) or an AVI with its chunks."""
    size, at = file.seek(0, 2), 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        if head[:4] == b"RIFF":
            length = 8 + int.from_bytes(head[4:8], "little")
        else:
            length = int.from_bytes(head[:4], "big")
            if length == 0:  # up to the end of the file
                return "unknown"
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
        at += max(length, 8)
    return "whole" if at == size else "cut" if at > size else "unknown"


def _end_of_matroska(file: BinaryIO) -> End:
    """Of a Matroska or WebM file with its elements (RFC 8794); those of a stream have no length."""
    size, at = file.seek(0, 2), 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        name = _vint_bytes(head[0])
        if len(head) <= name:
            return "cut"
        bits = _vint_bytes(head[name])
        length = int.from_bytes(head[name : name + bits], "big") & ((1 << 7 * bits) - 1)
        if length == (1 << 7 * bits) - 1:
            return "unknown"
        at += name + bits + length
    return "whole" if at == size else "cut"


def _vint_bytes(first: int) -> int:
    """How many bytes a number of variable length has, by its first one."""
    return 9 - first.bit_length() if first else 8
