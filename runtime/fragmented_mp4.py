"""MP4 that is playable at any moment while it is written: ISO/IEC 14496-12's movie fragments.

An ordinary MP4 has its index at the end, so that a process that is killed leaves nothing playable.
Here a short index comes first and every second of video follows with an index of its own. OpenCV
encodes each second as an ordinary MP4 (it can neither write fragments nor hand out packets), and
the parts of that are laid out anew; nothing is encoded twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_SYNC, _NOT_SYNC = 0x02000000, 0x01010000
# Data offset, and of every sample its duration, size and flags are given.
_RUN_FLAGS = 0x000001 | 0x000100 | 0x000200 | 0x000400
_BASE_IS_FRAGMENT = 0x020000
_TRACK = 1
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNITY = (0x55C4).to_bytes(2, "big")  # the language code 'und'


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """What is taken from an ordinary MP4 of one video track.

    Attributes:
        description: Its `stsd` box: the codec and what a decoder must know first.
        size_hw: Height and width in pixels.
        sizes: Bytes of each picture.
        key_pictures: Numbers of the pictures, from 0, that can be decoded by themselves.
        data: The pictures, one after the other.
    """

    description: bytes
    size_hw: tuple[int, int]
    sizes: tuple[int, ...]
    key_pictures: frozenset[int]
    data: bytes


def read_clip(content: bytes) -> EncodedClip:
    """Take an MP4 apart that OpenCV wrote: one video track without reordered pictures.

    Args:
        content: The whole file.

    Raises:
        ValueError: It is cut short or built in another way.
    """
    boxes = dict(_boxes(content))
    try:
        sizes = _sizes(boxes[b"stsz"])
        start = int.from_bytes(_table(boxes, b"stco", 4)[0], "big")
        # Without a list of key pictures, all of them are.
        key = set(range(len(sizes)))
        if b"stss" in boxes:
            key = {int.from_bytes(row, "big") - 1 for row in _table(boxes, b"stss", 4)}
        height, width = (value >> 16 for value in struct.unpack(">II", boxes[b"tkhd"][-8:])[::-1])
        description = boxes[b"stsd"]
    except (KeyError, IndexError, struct.error) as error:
        raise ValueError(f"no MP4 of one video track ({error!r})") from None
    if b"ctts" in boxes or start + sum(sizes) > len(content):
        raise ValueError("an MP4 with reordered pictures, or one that is cut short")
    data = content[start : start + sum(sizes)]
    return EncodedClip(_box(b"stsd", description), (height, width), sizes, frozenset(key), data)


def _sizes(table: bytes) -> tuple[int, ...]:
    same, count = struct.unpack(">II", table[4:12])
    return (same,) * count if same else struct.unpack(f">{count}I", table[12 : 12 + 4 * count])


def _table(boxes: dict[bytes, bytes], name: bytes, width: int) -> list[bytes]:
    table = boxes[name]
    count = int.from_bytes(table[4:8], "big")
    return [table[8 + width * n : 8 + width * (n + 1)] for n in range(count)]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every box with its payload, those within containers too."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        head = 8
        if size == 1:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        if size < head:
            raise ValueError(f"a box {name!r} of {size} bytes")
        payload = content[at + head : at + size]
        if name in _CONTAINERS:
            yield from _boxes(payload)
        elif name != b"mdat":
            yield name, payload
        at += size


def header(clip: EncodedClip, timescale: int) -> bytes:
    """What comes before the first fragment.

    Args:
        clip: The first second.
        timescale: Ticks a second.
    """
    height, width = clip.size_hw
    track_header = _full(
        b"tkhd",
        struct.pack(">IIIII8xhhhH", 0, 0, _TRACK, 0, 0, 0, 0, 0, 0)
        + _MATRIX
        + struct.pack(">II", width << 16, height << 16),
        flags=3,  # enabled, in the movie
    )
    no_samples = [_full(name, bytes(4)) for name in (b"stts", b"stsc", b"stco")]
    sample_table = _box(
        b"stbl", clip.description, *no_samples, _full(b"stsz", struct.pack(">II", 0, 0))
    )
    in_this_file = _box(b"dinf", _full(b"dref", struct.pack(">I", 1) + _full(b"url ", flags=1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">IIII", 0, 0, timescale, 0) + _UNITY + bytes(2)),
        _full(b"hdlr", bytes(4) + b"vide" + bytes(12) + b"video\0"),
        _box(b"minf", _full(b"vmhd", bytes(8), flags=1), in_this_file, sample_table),
    )
    movie_header = _full(
        b"mvhd",
        struct.pack(">IIIIiH10x", 0, 0, timescale, 0, 0x10000, 0x100)
        + _MATRIX
        + bytes(24)
        + struct.pack(">I", _TRACK + 1),
    )
    extends = _box(b"mvex", _full(b"trex", struct.pack(">IIIII", _TRACK, 1, 0, 0, 0)))
    kind = _box(b"ftyp", b"iso5" + struct.pack(">I", 0x200) + b"iso5iso6mp41")
    return kind + _box(b"moov", movie_header, _box(b"trak", track_header, media), extends)


def fragment(clip: EncodedClip, number: int, start: int, duration: int) -> bytes:
    """One second of the video, with its index.

    Args:
        clip: The pictures.
        number: Of the fragment, from 1.
        start: Ticks at its first picture.
        duration: Ticks of each picture.
    """
    samples = b"".join(
        struct.pack(">III", duration, size, _SYNC if n in clip.key_pictures else _NOT_SYNC)
        for n, size in enumerate(clip.sizes)
    )

    def index(offset: int) -> bytes:
        run = struct.pack(">Ii", len(clip.sizes), offset) + samples
        return _box(
            b"moof",
            _full(b"mfhd", struct.pack(">I", number)),
            _box(
                b"traf",
                _full(b"tfhd", struct.pack(">I", _TRACK), flags=_BASE_IS_FRAGMENT),
                _full(b"tfdt", struct.pack(">Q", start), version=1),
                _full(b"trun", run, flags=_RUN_FLAGS),
            ),
        )

    # Pictures are found from the fragment's first byte, past the index and the next box's head.
    return index(len(index(0)) + 8) + _box(b"mdat", clip.data)


def _box(name: bytes, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def _full(name: bytes, payload: bytes = b"", *, version: int = 0, flags: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), payload)
