"""Video files: every frame, in order, at its true time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from ...errors import SourceError
from ...records import Frame, UInt8Array
from .base import SourceInfo
from .decoder import VideoDecoder
from .read_ahead import BrokenOffError, FileSource, size_change

# How many announced frames may be missing at the end before it is worth a word: containers that
# count their frames are off by one or two; for the others the number comes from the duration,
# which an audio track may stretch by a moment.
_COUNTING_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi"})
_MISSING_FRAMES = 2
_MISSING_SECONDS = 2.0
_DAY_S = 86_400
_READ_TIMEOUT_S = 30.0

# What FFmpeg takes for a recording of a text terminal, by the name alone.
_TEXT_SUFFIXES = frozenset({".ans", ".art", ".asc", ".diz", ".ice", ".nfo", ".txt", ".vt"})
_AUDIO_SUFFIXES = frozenset({".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma"})


def open_video(location: str, name: str, *, fps: float | None = None) -> FileSource:
    """Opens a video file, or a URL that is a file.

    Args:
        location: Absolute path or URL.
        name: What messages call it; no credentials in it.
        fps: Frames per second in place of the timestamps of the container.

    Raises:
        SourceError: Not a video, or no frame in it.
    """
    remote = re.match(r"https?://", location, re.IGNORECASE) is not None
    if not remote:
        _check_readable(Path(location), name)
    timeout_s = _READ_TIMEOUT_S if remote else None
    try:
        decoder = VideoDecoder(location, live=False, read_timeout_s=timeout_s)
    except (av.FFmpegError, LookupError):
        raise SourceError(_not_a_video(location, name)) from None
    images = decoder.images()
    first = next(images, None)
    if first is None:
        decoder.close()
        raise SourceError(f"{name}: contains no frame (perhaps only a header)")
    size_hw = (int(first[0].shape[0]), int(first[0].shape[1]))
    info = SourceInfo(name, "video", size_hw, fps or decoder.fps, decoder.frame_count, live=False)
    times = FrameTimes(decoder.fps or 25.0)
    frames = _video_frames(decoder, chain([first], images), info, times, location, fps)
    return FileSource(info, frames, decoder.close, times.notes if fps is None else list)


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
            f"{self._broken} of {self._frames} frames have no usable timestamp (missing, repeated "
            f"or backwards): each was taken to be {float(self._interval_s):.3g} s after the one "
            "before it; give the true rate with --fps"
        ]


def _video_frames(
    decoder: VideoDecoder,
    images: Iterable[tuple[UInt8Array, Fraction | None]],
    info: SourceInfo,
    times: FrameTimes,
    location: str,
    fps: float | None,
) -> Iterator[Frame]:
    count, time_s = 0, 0.0
    for image, stamp in images:
        if image.shape[:2] != info.size_hw:
            raise BrokenOffError(size_change(info, count, image.shape[:2]))
        time_s = times.at(stamp)
        yield Frame(count, count / fps if fps else time_s, image)
        count += 1
    # Where the frame rate varies, the announced number may be a guess: the last image then stands
    # near the announced end although there are fewer of them.
    shown = round(time_s * decoder.fps) + 1 if decoder.fps else count
    if info.frame_count is None:
        broken, announced = decoder.failure is not None, ""
    else:
        broken = max(count, shown) < info.frame_count - _tolerated(info.name, decoder.fps)
        announced = f" of {info.frame_count} announced"
    # An edit list may hide what the file holds and counts: nothing is missing if it ends whole.
    lost = decoder.packets - count
    if broken and (lost > _MISSING_FRAMES or "://" in location or not _ends_whole(location)):
        why = "" if decoder.failure is None else f": {decoder.failure}"
        raise BrokenOffError(
            f"{info.name} ended after {count}{announced} frames (cut off or damaged{why})"
        )


def _tolerated(name: str, fps: float | None) -> int:
    if Path(name).suffix.lower() in _COUNTING_SUFFIXES:
        return _MISSING_FRAMES
    return _MISSING_FRAMES + round(_MISSING_SECONDS * (fps or 25.0))


def _ends_whole(location: str) -> bool:
    """Whether the last box of an MP4, or chunk of an AVI, ends where its file ends."""
    with Path(location).open("rb") as file:
        size, at = file.seek(0, 2), 0
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            if head[:4] == b"RIFF":
                length = 8 + int.from_bytes(head[4:8], "little")
            else:
                length = int.from_bytes(head[:4], "big")
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
            at += max(length, 8)
    return at == size
