"""Video files: every frame, in order, at its true time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import av

from ...errors import RequestError, SourceError, count
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
_SOME_FRAMES = 4  # as many as may be missing one by one before the last one
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
        SourceError: Not a video, or no frame in it.
        RequestError: It is of 8 bits, and yet `levels` are given.
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
        silent = isinstance(error, LookupError)
        kind = "" if remote else _kind_of(Path(location), without_image=silent)
        raise SourceError(_not_a_video(name, kind)) from None
    scaling = Scaling(levels)
    images = scaling.apply(decoder.images())
    first = next(images, None)
    if first is None:
        decoder.close()
        raise SourceError(f"{name}: contains no frame (perhaps only a header)")
    if levels is not None and scaling.used is None:
        decoder.close()
        raise RequestError(
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
    ending: list[str] = []
    frames = _video_frames(decoder, chain([first], images), one_size, times, location, fps, ending)

    def notes() -> list[str]:
        of_times = times.notes() if fps is None else times.replaced(fps)
        said = [*_joined(location, name), *_damage(decoder, name), *ending, *of_times]
        return [*said, *scaling.notes(), *one_size.notes()]

    return FileSource(info, frames, decoder.close, notes)


def _damage(decoder: VideoDecoder, name: str) -> list[str]:
    """What could not be decoded, or in part only, a line each."""
    notes = []
    if decoder.lost:
        notes.append(
            f"{count(decoder.lost, 'packet', 'packets')} of {name} gave no image (damaged, or lost "
            "with a damaged one): the frames behind are numbered without them"
        )
    if decoder.in_part:
        what = count(decoder.in_part, "frame", "frames")
        notes.append(f"{what} of {name} could be decoded in part only (damaged, or cut off)")
    return notes


def _joined(location: str, name: str) -> list[str]:
    """One line where a file holds others behind its end, as `cat` joins them."""
    videos = 0 if "://" in location else _end_of(Path(location))[1]
    if videos < 2:
        return []
    return [
        f"{name} is {videos} videos joined end to end, of which what follows the first was not "
        "read, or not whole: join them with FFmpeg (-f concat), or give them as sources of their "
        "own"
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


def _not_a_video(name: str, kind: str) -> str:
    if kind:
        return f"{name}: {kind}; expected a video, an image or a folder of images"
    return (
        f"{name}: cannot be decoded as a video (damaged, cut off before its index, of an unknown "
        "codec, without any image, or not a video at all)"
    )


# How files begin that are given in place of a video.
_BEGINNINGS = (
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ", "an archive: unpack it"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "an image in HEIF: convert it to JPEG or PNG"),
    (rb"version https://git-lfs", "a pointer of Git LFS: fetch the file with `git lfs pull`"),
    (rb"\s*(<!doctype html|<html)", "a web page, perhaps in place of a download that failed"),
    (rb"\s*<(\?xml|svg)", "a text in XML, such as a drawing in SVG"),
)


def _kind_of(path: Path, *, without_image: bool) -> str:
    """What a file is that is no video, as far as that can be seen; else empty.

    Args:
        path: The file.
        without_image: Whether it can be opened, and holds no image.
    """
    if path.suffix.lower() in _AUDIO_SUFFIXES:
        return "an audio file"
    with path.open("rb") as file:
        head = file.read(1024)
    for beginning, kind in _BEGINNINGS:
        if re.match(beginning, head, re.IGNORECASE | re.DOTALL):
            return kind
    if without_image:
        return "it holds no video of a known codec, perhaps sound alone"
    if head[4:8] in _BOXES:
        return "" if _end_of(path)[1] else "its index (moov) is missing: it was cut off"
    is_text = not re.search(rb"[\x00-\x08\x0e-\x1f]", head)
    return "a text file" if is_text else ""


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
        self._frames = self._broken = self._gaps = 0
        self._newest: deque[int] = deque(maxlen=_SOME_FRAMES)  # intervals, in whole ones

    def at(self, stamp: Fraction | None) -> float:
        """The time of the next frame, whose timestamp is `stamp` in seconds or None."""
        self._frames += 1
        following_s = self._last_s + self._interval_s
        if stamp is not None:
            self._origins = self._origins or [stamp - following_s]
            for origin in self._origins:
                passed_s = stamp - origin - self._last_s
                if 0 < passed_s < _DAY_S:
                    self._newest.append(round(passed_s / self._interval_s))
                    self._gaps += self._newest[-1] > 1
                    self._last_s += passed_s
                    return float(self._last_s)
            self._origins[1:] = [stamp - following_s]
        self._broken += 1
        self._last_s = following_s
        return float(following_s)

    def missing_at_end(self) -> int:
        """How many frames are missing between the last ones of a video of a constant rate.

        Where a stream breaks off, frames that were to come have been seen by those that refer to
        them: a last one is there, and the ones before it are not.
        """
        gaps = [gap for gap in self._newest if gap > 1]
        if len(gaps) != self._gaps or self._frames - self._gaps <= _SOME_FRAMES:
            return 0
        return sum(gaps) - len(gaps)

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
    ending: list[str],
) -> Iterator[Frame]:
    number, newest = 0, None
    for image, stamp in images:
        time_s, newest = times.at(stamp), stamp if newest is None else max(newest, stamp or newest)
        yield Frame(number, number / fps if fps else time_s, one_size.apply(image, number))
        number += 1
    state = "unknown" if "://" in location else _end_of(Path(location))[0]
    missing = _missing(decoder, state, number, newest)
    if missing is not None:
        raise BrokenOffError(f"{one_size.name} ended after {missing}")
    ending += _open_end(decoder, state, times.missing_at_end(), one_size.name)


def _open_end(decoder: VideoDecoder, state: End, holes: int, name: str) -> list[str]:
    """One line where a stream of packets, which may end anywhere, ends in the midst of something.

    Args:
        decoder: At its end.
        state: How the file ends.
        holes: Frames that are missing between the last ones.
        name: The source's.
    """
    if decoder.counted is not None or state == "whole" or not (holes or state == "open"):
        return []
    where = "in the midst of a packet" if state == "open" else "before its last frames are whole"
    missing = ""
    if holes:
        are = "is" if holes == 1 else "are"
        missing = f": {count(holes, 'frame', 'frames')} before the last {are} missing"
    return [f"{name} ends {where} (cut off){missing}"]


def _missing(decoder: VideoDecoder, state: End, number: int, newest: Fraction | None) -> str | None:
    """What there is of a video that breaks off, and what was announced; None for a whole one.

    Args:
        decoder: At its end.
        state: How the file ends.
        number: Frames that came.
        newest: The latest timestamp of a frame.
    """
    announced, why = "", "" if decoder.failure is None else f": {decoder.failure}"
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
    if decoder.counted is None and (decoder.failure is not None or state == "cut"):
        short = True
    # An edit list may hide what the file holds and counts: nothing is missing if it ends whole.
    lost = decoder.packets - number
    if not short or (state == "whole" and lost <= _MISSING_FRAMES):
        return None
    return f"{number}{announced} frames (cut off or damaged{why})"


End = Literal["whole", "cut", "open", "unknown"]


def _end_of(path: Path) -> tuple[End, int]:
    """How a file ends, and how many videos follow each other in it, as far as that is known.

    It ends with the last part of its container, in the midst of it, in a packet of a stream that
    may end after any one, or who knows.
    """
    with path.open("rb") as file:
        head = file.read(_M2TS_PACKET * 3)
        size = file.seek(0, 2)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _end_of_matroska(file, size), 1
        if head[4:8] in _BOXES or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
            return _end_of_boxes(file, size)
        if head[:3] == b"FLV":
            return _end_of_tags(file, size)
    for packet, sync in ((_TS_PACKET, 0), (_M2TS_PACKET, _M2TS_PACKET - _TS_PACKET)):
        if set(head[sync::packet]) == {_TS_SYNC}:
            return "open" if size % packet else "unknown", 1
    return "unknown", 1


_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_TS_PACKET, _M2TS_PACKET, _TS_SYNC = 188, 192, 0x47  # ISO/IEC 13818-1, and with a time before each


def _end_of_boxes(file: BinaryIO, size: int) -> tuple[End, int]:
    """Of an MP4 with its boxes (ISO/IEC 14496-12) or an AVI with its chunks."""
    at = videos = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        videos += head[4:8] == b"moov"
        if head[:4] == b"RIFF":
            length = 8 + int.from_bytes(head[4:8], "little")
        else:
            length = int.from_bytes(head[:4], "big")
            if length == 0:  # up to the end of the file
                return "unknown", videos
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
        at += max(length, 8)
    return "whole" if at == size else "cut" if at > size else "unknown", videos


def _end_of_tags(file: BinaryIO, size: int) -> tuple[End, int]:
    """Of an FLV with its tags, each with a header of 11 bytes and its length behind it."""
    at = videos = 0
    while at < size:
        file.seek(at)
        head = file.read(11)
        if head[:3] == b"FLV":
            videos += 1
            at += 13
        elif len(head) < 11 or head[0] & 0x1F not in (8, 9, 18):
            return "cut", videos
        else:
            at += 15 + int.from_bytes(head[1:4], "big")
    return "whole" if at == size else "cut", videos


def _end_of_matroska(file: BinaryIO, size: int) -> End:
    """Of a Matroska or WebM file with its elements (RFC 8794); those of a stream have no length."""
    at = 0
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
