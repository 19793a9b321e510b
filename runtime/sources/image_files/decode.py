"""Image files as pixels: every page and frame, upright, as a viewer shows them.

OpenCV decodes what it decodes faithfully and fast, which is most JPEG and PNG files, and deep
colour. Pillow has pages, animations, palettes, transparency, CMYK and single channels of any depth.
"""

from __future__ import annotations

import itertools
import struct
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ....errors import SourceError

Pixels = npt.NDArray[Any]
"""(H, W, 3) uint8 BGR, or deeper pixels to be scaled: (H, W) or (H, W, 3) uint16 or float32."""

# What Pillow raises for a file that is damaged, too large or of an unknown format: where its
# parsers run off the data, whatever they were doing.
_PILLOW_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, AssertionError, struct.error, RuntimeError, Image.DecompressionBombError),
)
# Its warnings are of what it then raises, or reads all the same.
warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG, _PNG, _TIFF = b"\xff\xd8", b"\x89PNG", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ANIMATED = (b"GIF8", b"RIFF")
_BITS_PER_SAMPLE, _SUBFILE_TYPE = 258, 254  # tags of TIFF
_REDUCED, _MASK = 1, 4  # subfiles that are no images of their own: previews and masks


def read_images(path: Path) -> Iterator[tuple[Pixels, float | None]]:
    """Each image of a file, and for how many seconds it is shown.

    The seconds are None in a file of one image, and 0 where a file of several does not say.

    Raises:
        SourceError: The file cannot be read, or an image in it cannot be decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"image {path}: cannot be read: {error.strerror}") from None
    if not data:
        raise SourceError(f"image {path}: the file is empty")
    try:
        pages = _pages_of(BytesIO(data))
    except _PILLOW_ERRORS:
        raise SourceError(f"image {path}: its images cannot be counted: damaged") from None
    if len(pages) == 1:
        yield _single(path, data), None
        return
    file = _opened(BytesIO(data))
    for count, number in enumerate(pages, 1):
        try:
            page = _page(file, number, data)
        except _PILLOW_ERRORS as error:
            reason = " ".join(str(error).split()) or "damaged"
            raise SourceError(
                f"image {path}: image {count} of {len(pages)} cannot be decoded ({reason})"
            ) from None
        yield page


def count_images(path: Path) -> int:
    """How many images a file holds; 1 where that cannot be known without decoding it."""
    try:
        with path.open("rb") as file:
            return len(_pages_of(file))
    except _PILLOW_ERRORS:
        return 1


def _pages_of(file: BinaryIO) -> list[int]:
    """Numbers of the pages or frames of a file that are images to be shown, from 0.

    Raises:
        Exception: One of `_PILLOW_ERRORS` where they cannot be counted.
    """
    head = file.read(16)
    if head.startswith(_TIFF):
        count = _count_directories(file, head)
        image = _opened(file) if count > 1 else None
        if image is None:
            return list(range(count))
        return [n for n in range(count) if _is_image_of_its_own(image, n)] or [0]
    image = _opened(file) if _may_move(file, head) else None
    if image is None:
        return [0]
    count = getattr(image, "n_frames", 1)
    # The still image of an animated PNG may be for those alone who cannot show it move.
    still = count > 1 and bool(image.info.get("default_image"))
    return list(range(int(still), count))


def _opened(file: BinaryIO) -> Image.Image | None:
    """What Pillow makes of a file, or None."""
    try:
        file.seek(0)
        return Image.open(file)
    except _PILLOW_ERRORS:
        return None


def _count_directories(file: BinaryIO, head: bytes) -> int:
    """How many directories a TIFF or BigTIFF has; Pillow does not open all kinds.

    Raises:
        ValueError: They go round in a circle, or beyond the end of the file.
    """
    order: Any = "little" if head.startswith(b"II") else "big"
    big = int.from_bytes(head[2:4], order) == 43
    entries, entry, offset = (8, 20, 8) if big else (2, 12, 4)
    at = int.from_bytes(head[8:16] if big else head[4:8], order)
    seen: set[int] = set()
    while at:
        file.seek(at)
        count = int.from_bytes(file.read(entries), order)
        file.seek(at + entries + entry * count)
        following = file.read(offset)
        if at in seen or len(following) < offset:
            raise ValueError("damaged directories")
        seen.add(at)
        at = int.from_bytes(following, order)
    return max(1, len(seen))


def _may_move(file: BinaryIO, head: bytes) -> bool:
    """Whether it is an animation, of a PNG by the chunk that says so before the image."""
    if head[4:8] == b"ftyp":
        file.seek(0)
        return b"avis" in file.read(min(int.from_bytes(head[:4], "big"), 256))
    if not head.startswith(_PNG):
        return head.startswith(_ANIMATED)
    at, name = 8, b""
    while name not in (b"acTL", b"IDAT"):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            return False
        at, name = at + 12 + int.from_bytes(chunk[:4], "big"), chunk[4:]
    return name == b"acTL"


def _is_image_of_its_own(file: Image.Image, number: int) -> bool:
    try:
        file.seek(number)
    except _PILLOW_ERRORS:
        return True  # which is said when it is its turn
    tags: Any = file.tag_v2  # type: ignore[attr-defined]
    return not tags.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK)


def _page(file: Image.Image | None, number: int, data: bytes) -> tuple[Pixels, float]:
    if file is not None:
        file.seek(number)
    if file is None or _is_deep_colour(file):
        return _page_of_opencv(data, number), 0.0
    return _shown(file), float(file.info.get("duration", 0) or 0) / 1000


def _single(path: Path, data: bytes) -> Pixels:
    # Some OpenCV versions fill the missing rows of a cut-off JPEG with grey, and libpng writes to
    # the terminal and believes any length of a chunk; both are known from the bytes.
    cut_off = (data.startswith(_JPEG) and not _jpeg_ends(data)) or (
        data.startswith(_PNG) and not _png_ends(data)
    )
    pixels = None if cut_off else _decoded(data)
    if pixels is None:
        reason = "cut off, or its header damaged" if cut_off else "damaged, or not an image"
        raise SourceError(f"image {path}: cannot be decoded ({reason}; {len(data)} bytes)")
    return pixels


def _decoded(data: bytes) -> Pixels | None:
    """One image; None where nothing can decode it."""
    readers = [_from_pillow, _from_opencv]
    if _suits_opencv(data):
        readers.reverse()
    return next((p for p in (read(data) for read in readers) if p is not None), None)


def _suits_opencv(data: bytes) -> bool:
    if data.startswith(_JPEG):
        return _jpeg_components(data) != 4
    if data.startswith(_PNG):
        bits, colour = (*data[24:26], 0, 0)[:2]
        plain = colour in (0, 2, 3) and b"tRNS" not in data[: data.find(b"IDAT")]
        return bits == 16 or (plain and b"eXIf" not in data)
    return not data.startswith((*_TIFF, *_ANIMATED))


def _from_opencv(data: bytes) -> Pixels | None:
    try:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is None and data.startswith(_TIFF):
            image = _page_of_opencv(data, 0)
    except (cv2.error, ValueError):
        return None
    return None if image is None else _plain(image)


def _from_pillow(data: bytes) -> Pixels | None:
    try:
        with Image.open(BytesIO(data)) as file:
            return _page_of_opencv(data, 0) if _is_deep_colour(file) else _shown(file)
    except _PILLOW_ERRORS:
        return None


def _page_of_opencv(data: bytes, number: int) -> Pixels:
    """A page of a TIFF, as it is stored.

    Raises:
        ValueError: OpenCV does not decode it.
    """
    try:
        read, pages = cv2.imdecodemulti(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(number, number + 1)
        )
    except cv2.error:
        read, pages = False, ()
    if not read or not pages:
        raise ValueError("pixels of an unknown kind, or damaged")
    return _plain(pages[0])


def _is_deep_colour(file: Image.Image) -> bool:
    """Whether Pillow would cut channels of more than 8 bits down."""
    bits = getattr(file, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return len(bits) > 1 and max(bits) > 8


def _plain(image: npt.NDArray[Any]) -> Pixels:
    """An array of one, three or four channels as `Pixels`."""
    if image.ndim == 3:
        image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    if image.dtype == np.uint8:
        image = np.stack([image] * 3, axis=2) if image.ndim == 2 else image
    elif image.dtype != np.uint16:
        image = image.astype(np.float32)
    return np.ascontiguousarray(image)


def _shown(page: Image.Image) -> Pixels:
    """What a viewer shows of an image: upright, and on white where it is transparent."""
    upright = ImageOps.exif_transpose(page)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return _plain(np.asarray(upright))
    rgb = upright.convert("RGB")
    if "A" in upright.getbands() or "a" in upright.getbands() or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        # Nobody means an image of which nothing is to be seen.
        if np.asarray(rgba)[..., 3].any():
            rgb = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return np.ascontiguousarray(np.asarray(rgb)[..., ::-1])


def _png_ends(data: bytes) -> bool:
    """Whether a PNG's header is sound, and its chunks lead to the last one."""
    if zlib.crc32(data[12:29]).to_bytes(4, "big") != data[29:33]:
        return False
    at, name = 8, b""
    while name != b"IEND" and at + 12 <= len(data):
        name = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return name == b"IEND" and at <= len(data)


def _jpeg_components(data: bytes) -> int:
    """How many colour channels a JPEG has; 0 where that is not to be found."""
    for at, marker in _jpeg_segments(data):
        # Frame headers are C0 to CF, without the tables C4, C8 and CC among them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 9] if at + 9 < len(data) else 0
    return 0


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's end marker is there, after its own headers (which may hold another one)."""
    for at, marker in _jpeg_segments(data):
        if marker == 0xDA:  # the image itself: the byte pair of the end marker is escaped
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            return data.find(b"\xff\xd9", at + 2 + length) >= 0
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each segment of a JPEG's header begins, and its marker."""
    at = 2
    for _ in itertools.repeat(None):
        if not (at + 4 <= len(data) and data[at] == 0xFF):
            return
        if data[at + 1] == 0xFF:  # a second one is padding
            at += 1
            continue
        yield at, data[at + 1]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
