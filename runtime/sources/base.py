"""What a source is: its frames, its facts, and how live ones behave."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import cv2

from ...records import Frame, UInt8Array

Kind = Literal["video", "images", "camera", "stream"]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
    | {".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}
)

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Of the files of a folder that are taken for videos; one that is named may be called anything."""

FILE_FPS = 25.0
"""Frames per second of files that do not say when each frame is due, nor at what rate."""

LAST_FRAME = 10_000_000
"""A larger number, in a file's name or a file of detections, does not count frames: at 25 FPS this
is more than four days."""

SourceCallback = Callable[[Literal["lost", "returned", "changed"], str], None]
"""Called with what happens to a live source, in a thread of its own; the text names no source."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source once it is open.

    Attributes:
        name: The text it was named by; user names, passwords and queries of URLs blanked out.
        kind: 'video', 'images', 'camera' or 'stream'.
        size_hw: Height and width in pixels of its frames; None where unknown.
        fps: Frames per second, announced or asked for; None where unknown.
        frame_count: Announced number of frames; None where unknown or endless.
        live: Whether frames that are not taken in time are lost.
        numbers: Of images in files: a rising number in each name, by which the names differ; None
            where there are none.
        counted: Whether `frame_count` was counted, and not made of a duration.
        names: Of images in files, one each: the name of every frame; None where there are none.
    """

    name: str
    kind: Kind
    size_hw: tuple[int, int] | None
    fps: float | None
    frame_count: int | None
    live: bool
    numbers: tuple[int, ...] | None = field(default=None, repr=False, compare=False)
    counted: bool = field(default=False, repr=False, compare=False)
    names: tuple[str, ...] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How live sources behave.

    Attributes:
        realtime: Whether files play at their own pace too: what is not taken in time is dropped.
        freeze_s: A connection without a frame for so long is opened anew.
        give_up_s: A live source without a frame for so long has ended; None: it never does.
        notify: Called when a live source is lost, is back, or changes size.
    """

    realtime: bool = False
    freeze_s: float = 5.0
    give_up_s: float | None = None
    notify: SourceCallback = field(default=lambda _kind, _message: None, compare=False)


_Self = TypeVar("_Self")


class Source(Protocol):
    """An open source: a context manager and an iterator of `Frame`.

    Attributes:
        info: What is known of it.
        dropped: Frames captured but never handed over, up to the last one handed over; 0 for files.
        ended_early: One line that says where and why the frames ended before their time, or None.
        started_s: `time.monotonic()` at `Frame.time_s` 0 for live sources (None before the first
            frame); always None for files, whose `time_s` is that of the container, or
            index / fps where it has none or the user gave a rate.
    """

    @property
    def info(self) -> SourceInfo: ...
    @property
    def dropped(self) -> int: ...
    @property
    def ended_early(self) -> str | None: ...
    @property
    def started_s(self) -> float | None: ...

    def __iter__(self) -> Iterator[Frame]: ...
    def __next__(self) -> Frame: ...
    def __enter__(self) -> Source: ...
    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Frees the device or file and its thread; returns soon whatever they are doing."""

    def notes(self) -> list[str]:
        """Notes on the frames handed over so far, one line each."""


class SourceBase:
    """What all sources do alike: they iterate over themselves, and a `with` block closes them."""

    def close(self) -> None:
        """See `Source`."""

    def __iter__(self: _Self) -> _Self:
        return self

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PolledSource(Source, Protocol):
    """A source that says whether its next frame is ready."""

    def ready(self) -> bool:
        """Whether `next` would answer at once, be it with a frame or the end."""


class Capture(Protocol):
    """An open connection to a camera or stream.

    It may have `stamp_s`: the timestamp of the last image read, on a clock of its own that may
    begin and jump anywhere; None where the source gives none.

    Attributes:
        fps: Announced frames per second; None where unknown.
    """

    @property
    def fps(self) -> float | None: ...

    def read(self) -> UInt8Array | None:
        """Waits for the next image, (H, W, 3) uint8 BGR, contiguous; None where none came."""

    def release(self) -> None:
        """Frees the device or connection; called by the thread that reads, or before it starts."""


def silence_opencv() -> None:
    """Keeps OpenCV from writing to the terminal, unless the environment asks for it."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4 has it by the first name, OpenCV 5 by the second alone.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(0)


def known_fps(announced: float | None) -> float | None:
    """An announced frame rate, or None where it is not a plausible one (above 0, below 1000).

    1000 is the tick of containers that count milliseconds, as browsers' recordings announce it.
    """
    return float(announced) if announced is not None and 0 < announced < 1000 else None


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts frame2 before frame10, folder by folder."""
    parts = re.split(r"(\d+)", path.as_posix().lower())
    numbers = ((0, int(p), p) if p.isdigit() and p.isascii() else (1, 0, p) for p in parts)
    return (*numbers, (1, 0, path.as_posix()))
