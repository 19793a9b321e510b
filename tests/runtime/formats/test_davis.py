"""Indexed PNGs against OpenCV and the specification, and damaged ones."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png, read_label_png


def _labels(seed=0, shape=(37, 53), top=256):
    return np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)


def _chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _png(values, bits, colour, filter_of_line):
    """A PNG by the letter of its specification: packs bits and applies the line filters."""
    height, width = values.shape
    as_bits = np.unpackbits(values[:, :, None], axis=2)[:, :, 8 - bits :]
    packed = np.packbits(as_bits.reshape(height, -1), axis=1).astype(int)
    raw = bytearray()
    for y in range(height):
        kind = filter_of_line(y)
        raw.append(kind)
        for x in range(packed.shape[1]):
            left = packed[y, x - 1] if x else 0
            up = packed[y - 1, x] if y else 0
            corner = packed[y - 1, x - 1] if x and y else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda v: abs(guess - v))
            predicted = (0, left, up, (left + up) // 2, paeth)[kind]
            raw.append((packed[y, x] - predicted) % 256)
    return _file(height, width, bits, colour, bytes(raw))


def _file(height, width, bits, colour, lines, interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    palette = _chunk(b"PLTE", bytes(3 * 2**bits)) if colour == 3 else b""
    data = _chunk(b"IHDR", header) + palette + _chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + data + _chunk(b"IEND", b"")


def test_written_file_is_what_pillow_understands(tmp_path):
    labels, palette = _labels(), davis_palette()
    path = tmp_path / "a.png"
    path.write_bytes(encode_palette_png(labels, palette))
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
        np.testing.assert_array_equal(np.array(image.getpalette()).reshape(-1, 3), palette)
    colours = cv2.imread(str(path), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(colours[..., ::-1], palette[labels])


def test_round_trip_and_same_bytes(tmp_path):
    labels = _labels(1)
    data = encode_palette_png(labels, davis_palette())
    assert data == encode_palette_png(labels.copy(), davis_palette())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_label_png(path), labels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3])
@pytest.mark.parametrize("line_filter", [0, 1, 2, 3, 4, "mixed"])
def test_every_depth_and_filter(tmp_path, bits, colour, line_filter):
    values = _labels(2, (11, 13), 2**bits)
    path = tmp_path / "a.png"
    chosen = (lambda y: y % 5) if line_filter == "mixed" else (lambda _: line_filter)
    path.write_bytes(_png(values, bits, colour, chosen))
    np.testing.assert_array_equal(read_label_png(path), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_reads_what_pillow_writes(tmp_path, bits):
    values = np.sort(_labels(3, (64, 81), 2**bits), axis=1)
    image = Image.fromarray(values, "L")
    image.putpalette(davis_palette()[: 2**bits].tobytes())
    path = tmp_path / "a.png"
    image.save(path, bits=bits, optimize=False)
    assert path.read_bytes()[24:26] == bytes((bits, 3))
    np.testing.assert_array_equal(read_label_png(path), values)


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))


def test_interlaced(tmp_path):
    values = _labels(7, (11, 13))
    passes = [values[y::dy, x::dx] for y, x, dy, dx in (*ADAM7, (1, 0, 2, 1))]
    lines = b"".join(b"\0" + line.tobytes() for rows in passes for line in rows if line.size)
    path = tmp_path / "a.png"
    path.write_bytes(_file(11, 13, 8, 3, lines, interlaced=1))
    np.testing.assert_array_equal(read_label_png(path), values)


def test_grey_masks(tmp_path):
    mask = (_labels(4) > 127).astype(np.uint8)
    path = tmp_path / "davis2016.png"
    assert cv2.imwrite(str(path), mask * 255)
    np.testing.assert_array_equal(read_label_png(path), mask)
    assert cv2.imwrite(str(path), mask * 7)
    np.testing.assert_array_equal(read_label_png(path), mask * 7)


@pytest.mark.parametrize("shape", [(9, 9, 3), (9, 9, 4)])
def test_colour_is_refused(tmp_path, shape):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros(shape, np.uint8))
    with pytest.raises(DetectionError, match=r"a\.png: a PNG of RGB.*indexed PNG"):
        read_label_png(path)


def _damaged():
    good = encode_palette_png(_labels(5), davis_palette())
    flipped = bytearray(good)
    flipped[-20] ^= 1
    short = _png(_labels(6, (5, 5)), 8, 3, lambda _: 0)[:-12]
    yield "not a PNG", b"\xff\xd8 jpeg"
    yield "not a PNG", b""
    yield "cut off", good[: len(good) // 2]
    yield "cut off", short
    yield "checksum", bytes(flipped)
    yield "16 bits", _png_header(16, 0)
    yield "damaged PNG: unrecognized data", _with_lines(bytes([5, 0, 0]) * 2)
    yield "damaged PNG: .*truncated", _with_lines(b"")
    yield "damaged PNG: .*truncated", _with_lines(bytes(4))
    yield "no proper header", b"\x89PNG\r\n\x1a\n" + _chunk(b"IEND", b"")
    yield "2\\^28", _png_header(8, 3, 1 << 20, 1 << 20)


def _png_header(bits, colour, width=2, height=2):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IEND", b"")


def _with_lines(lines):
    return _png_header(8, 3)[:-12] + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(("message", "data"), list(_damaged()))
def test_damaged(tmp_path, message, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DetectionError, match=message) as caught:
        read_label_png(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(DetectionError, match="No such file"):
        read_label_png(tmp_path / "none.png")
