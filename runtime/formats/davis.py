"""DAVIS' format: label maps as indexed PNGs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ...errors import DetectionError, OutputError
from ...records import Frame, Tracks, UInt8Array
from ..drawing.colors import davis_palette
from ..writers.base import WriterBase, output_error, write_atomic

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


_GREY, _PALETTE = 0, 3


_COLOUR_TYPES = {2: "RGB", 4: "grey with alpha", 6: "RGB with alpha"}


def encode_palette_png(labels: UInt8Array, palette_rgb: UInt8Array) -> bytes:
    """An 8-bit palette PNG.

    Args:
        labels: (H, W) uint8; the values are kept as palette indices.
        palette_rgb: (256, 3) uint8, RGB.
    """
    height, width = labels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = labels
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", palette_rgb.tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def read_label_png(path: Path | str) -> UInt8Array:
    """Reads a label map.

    Args:
        path: A palette or grey PNG of 1, 2, 4 or 8 bits.

    Returns:
        (H, W) uint8: the palette indices or grey values as they are, but a grey image of
        nothing else than 0 and 255 gives 0 and 1.

    Raises:
        DetectionError: Not such a file, or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # the latter for a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DetectionError(f"mask {path}: cannot be read: {reason}") from None
    try:
        return _decode(data)
    except DetectionError as error:
        raise DetectionError(f"mask {path}: {error}") from None


def _decode(data: bytes) -> UInt8Array:
    if not data.startswith(_SIGNATURE):
        raise DetectionError("not a PNG; expected a palette or grey PNG (DAVIS annotation)")
    header, compressed = b"", []
    for kind, content in _chunks(data):
        if kind == b"IHDR":
            header = content
        elif kind == b"IDAT":
            compressed.append(content)
    width, height, bits, colour = _check_header(header)
    line_bytes = (width * bits + 7) // 8
    lines = _inflate(b"".join(compressed), height * (line_bytes + 1))
    values = _unpack(_unfilter(lines, height, line_bytes), bits, width)
    if colour == _GREY and bits == 8 and ((values == 0) | (values == 255)).all():
        return np.asarray(values != 0, np.uint8)
    return values


def _check_header(header: bytes) -> tuple[int, int, int, int]:
    if len(header) != 13:
        raise DetectionError("damaged PNG: no proper header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in (_GREY, _PALETTE):
        got = _COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise DetectionError(
            f"a PNG of {got}, expected palette or grey; save it as an indexed PNG "
            "(palette index = object number)"
        )
    if bits not in (1, 2, 4, 8):
        raise DetectionError(f"a PNG of {bits} bits, expected 1, 2, 4 or 8")
    if interlaced:
        raise DetectionError("an interlaced PNG; save it without interlacing")
    if width < 1 or height < 1 or width * height > 1 << 28:
        raise DetectionError(f"a PNG of {width}x{height} pixels, expected 1 to 2^28 pixels")
    return width, height, bits, colour


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        kind, content = data[at + 4 : at + 8], data[at + 8 : end]
        if struct.unpack_from(">I", data, end)[0] != zlib.crc32(kind + content):
            raise DetectionError(f"damaged PNG: checksum of {kind.decode('latin-1')!r} differs")
        if kind == b"IEND":
            return
        yield kind, content
        at = end + 4
    raise DetectionError(f"damaged PNG: cut off after {len(data)} bytes")


def _inflate(compressed: bytes, expected: int) -> bytes:
    try:
        lines = zlib.decompressobj().decompress(compressed, expected + 1)
    except zlib.error as error:
        raise DetectionError(f"damaged PNG: {error}") from None
    if len(lines) != expected:
        got = "more" if len(lines) > expected else str(len(lines))
        raise DetectionError(f"damaged PNG: {got} bytes of image, expected {expected}")
    return lines


def _unfilter(lines: bytes, height: int, line_bytes: int) -> UInt8Array:
    """(height, line_bytes) uint8 of lines that each begin with the number of their filter."""
    table: UInt8Array = np.frombuffer(lines, np.uint8).reshape(height, line_bytes + 1)
    used = int(table[:, 0].max())
    if used == 0:
        return np.array(table[:, 1:])
    if used > 4:
        raise DetectionError(f"damaged PNG: line filter {used}, expected 0 to 4")
    grey = struct.pack(">IIBBBBB", line_bytes, height, 8, _GREY, 0, 0, 0)
    wrapped = _SIGNATURE + _chunk(b"IHDR", grey)
    wrapped += _chunk(b"IDAT", zlib.compress(lines, 1)) + _chunk(b"IEND", b"")
    try:
        plain = cv2.imdecode(np.frombuffer(wrapped, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        plain = None
    if plain is None or plain.shape != (height, line_bytes):
        raise DetectionError(f"a PNG of {height} lines that OpenCV cannot decode")
    return np.asarray(plain, np.uint8)


def _unpack(line_bytes: UInt8Array, bits: int, width: int) -> UInt8Array:
    if bits == 8:
        return line_bytes
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    values: UInt8Array = (line_bytes[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.array(values.reshape(len(line_bytes), -1)[:, :width])


class MaskWriter(WriterBase):
    """Label maps as palette PNGs named by frame index: 00000.png, 00001.png …"""

    def __init__(self, path: Path) -> None:
        """Creates the folder.

        Raises:
            OutputError: It cannot be created.
        """
        self._path = path
        self._frames = 0
        self._palette_rgb = davis_palette()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the label map of one frame.

        Raises:
            OutputError: There is none, it is not of the frame's size, or it cannot be written.
        """
        labels = tracks.label_map
        if labels is None or labels.shape != frame.size_hw:
            got = "no label map" if labels is None else f"a label map of {labels.shape}"
            raise OutputError(
                f"frame {frame.index}: {got}, expected one of {frame.size_hw} (height, width)"
            )
        path = self._path / f"{frame.index:05d}.png"
        write_atomic(path, encode_palette_png(labels, self._palette_rgb), self._frames)
        self._frames += 1
