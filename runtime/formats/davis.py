"""DAVIS' format: label maps as indexed PNGs."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from ...errors import DetectionError, OutputError
from ...records import Frame, Tracks, UInt8Array
from ..drawing.colors import davis_palette
from ..paths import check_regular
from ..writers.base import Writer, output_error, write_atomic

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_COLOUR_TYPES = {2: "RGB", 4: "grey with alpha", 6: "RGB with alpha"}


def encode_palette_png(labels: UInt8Array, palette_rgb: UInt8Array) -> bytes:
    """An 8-bit palette PNG.

    Args:
        labels: (H, W) uint8; the values are kept as palette indices.
        palette_rgb: (256, 3) uint8, RGB.
    """
    image = Image.fromarray(labels)
    image.putpalette(palette_rgb.tobytes())
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


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
        check_regular(Path(path))
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
    if b"IEND" not in data:
        raise DetectionError(f"damaged PNG: cut off after {len(data)} bytes")
    bits, colour = _check_header(data)
    try:
        PngImageFile(BytesIO(data)).verify()  # the checksums, which decoding does not look at
        with PngImageFile(BytesIO(data)) as image:
            values = np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise DetectionError(f"damaged PNG: {error}") from None
    if colour == _PALETTE or bits == 1:
        return values
    if bits == 8 and ((values == 0) | (values == 255)).all():
        return np.asarray(values != 0, np.uint8)
    return np.asarray(values // (255 // (2**bits - 1)), np.uint8)  # Pillow stretches 2 and 4 bits


def _check_header(data: bytes) -> tuple[int, int]:
    """Bits and colour type."""
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise DetectionError("damaged PNG: no proper header")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if colour not in (_GREY, _PALETTE):
        got = _COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise DetectionError(
            f"a PNG of {got}, expected palette or grey; save it as an indexed PNG "
            "(palette index = object number)"
        )
    if bits not in (1, 2, 4, 8):
        raise DetectionError(f"a PNG of {bits} bits, expected 1, 2, 4 or 8")
    if width < 1 or height < 1 or width * height > 1 << 28:
        raise DetectionError(f"a PNG of {width}x{height} pixels, expected 1 to 2^28 pixels")
    return bits, colour


class MaskWriter(Writer):
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
