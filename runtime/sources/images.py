"""Images as a source: one file, a folder in natural order, a pattern; every page of each file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ...errors import SourceError
from ...records import Frame, UInt8Array
from ..paths import is_folder
from .base import IMAGE_SUFFIXES, SourceInfo, natural_key
from .opencv import silence_opencv
from .read_ahead import BrokenOffError, FileSource, size_change


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


_DEFAULT_FPS = 25.0

# What Pillow raises for a file that is damaged, too large or of an unknown format.
_PILLOW_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

# Of these a file may hold several images; so may a PNG, which only its content shows.
_PAGED_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".webp"})


def open_images(paths: Sequence[Path], name: str, *, fps: float | None = None) -> FileSource:
    """Opens a sequence of images; all of them have the first one's size.

    A file of several images (TIFF, GIF, WebP, animated PNG) gives a frame for each.

    Args:
        paths: In order; at least one.
        name: What messages call the sequence.
        fps: Frames per second; None: the times of a single animated file, else 25.

    Raises:
        SourceError: The first image cannot be read.
    """
    silence_opencv()
    images = _images_of(paths[0])
    first = next(images)
    seconds = first[1] if fps is None and len(paths) == 1 else None
    rate = 1 / seconds if seconds else fps or _DEFAULT_FPS
    count = sum(
        _pages(path) if len(paths) == 1 or path.suffix.lower() in _PAGED_SUFFIXES else 1
        for path in paths
    )
    size_hw = (int(first[0].shape[0]), int(first[0].shape[1]))
    info = SourceInfo(name, "images", size_hw, rate, count, live=False)
    own_times = bool(seconds)
    frames = _image_frames(paths, chain([first], images), info, 1 / rate, own_times=own_times)
    return FileSource(info, frames, lambda: None)


def _image_frames(
    paths: Sequence[Path],
    images: Iterator[tuple[UInt8Array, float | None]],
    info: SourceInfo,
    interval_s: float,
    *,
    own_times: bool,
) -> Iterator[Frame]:
    index, time_s = 0, 0.0
    for path in paths:
        for image, seconds in images if path is paths[0] else _images_of(path):
            if image.shape[:2] != info.size_hw:
                raise BrokenOffError(size_change(info, index, image.shape[:2], f" ({path.name})"))
            at_s = time_s if own_times else index * interval_s
            # Pages have no names, as the frames of a video have none.
            yield Frame(index, at_s, image, name=path.name if seconds is None else "")
            index, time_s = index + 1, time_s + (seconds or interval_s)


def _images_of(path: Path) -> Iterator[tuple[UInt8Array, float | None]]:
    """Each image of a file, and for how many seconds it is shown.

    The seconds are None in a file of one image, and 0 where a file of several does not say.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"image {path}: cannot be read: {error.strerror}") from None
    if not data:
        raise SourceError(f"image {path}: the file is empty")
    pages = _pages(BytesIO(data)) if _may_have_pages(data) else 1
    if pages == 1:
        yield _read_image(path, data), None
        return
    with Image.open(BytesIO(data)) as file:
        for number in range(pages):
            try:
                file.seek(number)
                image = _bgr(file)
            except (*_PILLOW_ERRORS, EOFError) as error:
                raise SourceError(
                    f"image {path}: image {number + 1} of {pages} cannot be decoded ({error})"
                ) from None
            yield image, file.info.get("duration", 0) / 1000


def _pages(file: BytesIO | Path) -> int:
    """How many images a file holds; 1 where Pillow does not know its format."""
    try:
        with Image.open(file) as opened:
            return getattr(opened, "n_frames", 1)
    except _PILLOW_ERRORS:
        return 1


def _may_have_pages(data: bytes) -> bool:
    if data.startswith(b"\x89PNG"):
        return b"acTL" in data[: data.find(b"IDAT")]
    return data[:4] in (b"GIF8", b"II*\0", b"MM\0*", b"RIFF")


def _bgr(page: Image.Image) -> UInt8Array:
    if page.mode.startswith("I;16"):  # the high byte, as OpenCV takes it
        grey = (np.asarray(page) >> 8).astype(np.uint8)
        return np.ascontiguousarray(np.stack([grey] * 3, axis=2))
    if page.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits, expected 8 or 16 bits a channel")
    return np.ascontiguousarray(np.asarray(page.convert("RGB"))[..., ::-1])


def _read_image(path: Path, data: bytes) -> UInt8Array:
    # Some OpenCV versions fill the missing rows of a cut-off JPEG with grey, and libpng writes to
    # the terminal; both are known from the bytes.
    cut_off = (data[:2] == b"\xff\xd8" and not _jpeg_ends(data)) or (
        data[:4] == b"\x89PNG" and b"IEND" not in data[-64:]
    )
    image = None
    if not cut_off:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
    if image is None and not cut_off:
        try:
            with Image.open(BytesIO(data)) as file:
                image = _bgr(file)
        except _PILLOW_ERRORS:
            image = None
    if image is None:
        reason = "cut off" if cut_off else "damaged, or not an image"
        raise SourceError(f"image {path}: cannot be decoded ({reason}; {len(data)} bytes)")
    return np.asarray(image, np.uint8)


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's end marker is there, after its own headers (which may hold another one)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:  # the image itself: the byte pair of the end marker is escaped
            return data.find(b"\xff\xd9", at + 2 + length) >= 0
        at += 1 if data[at + 1] == 0xFF else 2 + length  # a second 0xFF is padding
    return False
