"""Images as a source: one file, a folder in natural order, a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ...errors import SourceError
from ...records import Frame, UInt8Array
from ..paths import is_folder
from .base import IMAGE_SUFFIXES, SourceInfo, natural_key
from .capture import silence_opencv
from .read_ahead import BrokenOffError, FileSource, _size_change, jpeg_size


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
