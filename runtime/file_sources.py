"""Sources that end: video files, folders of images, patterns. Every frame, in order.

OpenCV turns pictures upright as EXIF or the container's rotation tag says, and converts grey,
16-bit and transparent images to 8-bit BGR; its word is taken.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError
from ..records import Frame, UInt8Array
from .capture import Capture, next_picture, silence_opencv
from .paths import is_folder
from .read_ahead import BrokenOffError, FileSource
from .size_watch import SizeWatch, jpeg_size
from .sources import IMAGE_SUFFIXES, SourceInfo

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
    image = next_picture(capture)
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
        "codec, without any picture, or not a video at all)"
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
        image = next_picture(capture)
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
    # Where the frame rate varies, the announced number may be a guess as well: the last picture
    # then stands near the announced end although there are fewer of them.
    shown = round(shown_until_s * announced_fps) + 1 if announced_fps else count
    return max(count, shown) < info.frame_count - tolerated


def _size_change(info: SourceInfo, index: int, got_hw: Sequence[int], frame: str = "") -> str:
    height, width = info.size_hw or (0, 0)
    return (
        f"{info.name} changes size at frame {index}{frame} from {width}x{height} to "
        f"{got_hw[1]}x{got_hw[0]} (width x height); the {index} frames before it were kept"
    )


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts frame2 before frame10, folder by folder."""
    parts = re.split(r"(\d+)", path.as_posix().lower())
    numbers = ((0, int(p), p) if p.isdigit() and p.isascii() else (1, 0, p) for p in parts)
    return (*numbers, (1, 0, path.as_posix()))


def images_in_folder(folder: Path, name: str) -> list[Path]:
    """The images of a folder in natural order, hidden files left out.

    Raises:
        SourceError: The folder cannot be read or holds no image.
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror}") from None
    files = [path for path in entries if not path.is_dir()]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        return sorted(images, key=natural_key)
    raise SourceError(
        f"{name}: no image in this folder ({len(files)} other files, "
        f"{len(entries) - len(files)} folders); expected {_suffixes()}"
    )


def images_of_pattern(pattern: str) -> list[Path]:
    """The images that a pattern matches, in natural order; `**` goes into folders.

    Raises:
        SourceError: It matches no image.
    """
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207 absolute
    files = [path for path in map(Path, found) if not is_folder(path)]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        return sorted(images, key=natural_key)
    raise SourceError(
        f"the pattern {pattern!r} matches no image ({len(files)} other files); "
        f"expected {_suffixes()}"
    )


def _suffixes() -> str:
    return " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))


def open_images(paths: Sequence[Path], name: str, *, fps: float) -> FileSource:
    """Opens a sequence of images; all of them have the first one's size.

    Args:
        paths: One frame each, in order; at least one.
        name: What messages call the sequence.
        fps: Frames per second.

    Raises:
        SourceError: The first image cannot be read.
    """
    silence_opencv()
    first = _read_image(paths[0])
    size_hw = (int(first.shape[0]), int(first.shape[1]))
    info = SourceInfo(name, "images", size_hw, fps, len(paths), live=False)
    return FileSource(info, _image_frames(paths, first, info, fps), lambda: None)


def _image_frames(
    paths: Sequence[Path], first: UInt8Array, info: SourceInfo, fps: float
) -> Iterator[Frame]:
    for index, path in enumerate(paths):
        image = first if index == 0 else _read_image(path)
        if image.shape[:2] != info.size_hw:
            raise BrokenOffError(_size_change(info, index, image.shape[:2], f" ({path.name})"))
        yield Frame(index, index / fps, image, name=path.name)


def _read_image(path: Path) -> UInt8Array:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"image {path}: cannot be read: {error.strerror}") from None
    if not data:
        raise SourceError(f"image {path}: the file is empty")
    # Some OpenCV versions fill the missing rows of a cut-off JPEG with grey, and libpng writes to
    # the terminal; both are known from the bytes.
    cut_off = (data[:2] == b"\xff\xd8" and not jpeg_size(data)[1]) or (
        data[:4] == b"\x89PNG" and b"IEND" not in data[-64:]
    )
    image = None
    if not cut_off:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
    if image is None:
        reason = "cut off" if cut_off else "damaged, or not an image"
        raise SourceError(f"image {path}: cannot be decoded ({reason}; {len(data)} bytes)")
    return image.astype(np.uint8, copy=False)
