"""Pixels of more than 8 bits as bytes, by one rule for the whole source.

Each image scaled for itself would flicker, and the high byte of a sensor of 12 or 14 bits, or of a
thermal camera's counts, shows next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np

from ....errors import RequestError, UnitrackError
from ....records import UInt8Array
from .decode import Pixels

_BITS = {1.0: "0 to 1"} | {2.0**bits - 1: f"{bits} bits" for bits in (8, 10, 12, 14, 16)}
"""What the largest pixel can be, by the format."""

_TOPS = tuple(_BITS)[1:]

_PERCENTILES = (0.1, 99.9)
_SAMPLE = 250_000  # pixels of an image that are looked at

# By so many images, or bytes, it is judged which of their values shall be black and white.
_JUDGED_IMAGES = 10
_JUDGED_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Levels:
    """What becomes black and what becomes white.

    Attributes:
        low: The value that becomes 0, as what is below it.
        high: The value that becomes 255, as what is above it.
        origin: Why these, for the note; empty where the user gave them.
    """

    low: float
    high: float
    origin: str = ""

    @staticmethod
    def parse(text: str) -> Levels:
        """Read `--range LOW,HIGH`.

        Raises:
            RequestError: Not two numbers, the first one smaller.
        """
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            low = high = 0.0
        if not (low < high and np.isfinite([low, high]).all()):
            raise RequestError(f"--range {text}: expected LOW,HIGH such as 7500,9000")
        return Levels(low, high)

    @staticmethod
    def of(images: Sequence[Pixels]) -> Levels:
        """The rule for a source, by its first images.

        Where their pixels (without the most extreme 0.1 % on either side) use more than half of
        the range that 8, 10, 12, 14 or 16 bits have, or floats from 0 to 1, that range; else what
        the pixels use, of whole numbers no less than 256 of them.

        Args:
            images: (H, W) or (H, W, 3) uint16 or float32; at least one.
        """
        samples = [_sample(image) for image in images]
        values = np.concatenate(samples)
        whole = images[0].dtype == np.uint16
        if not len(values):
            return Levels(0.0, 1.0, "no pixel is a number")
        low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
        tops = _TOPS if whole else (1.0, *_TOPS)
        top = next((top for top in tops if high <= top), math.inf)
        if low >= 0 and high - low > top / 2:
            return Levels(0.0, top, f"the range of {_BITS[top]}")
        if whole and low == high:
            return Levels(0.0, _TOPS[-1], f"the range of {_BITS[_TOPS[-1]]}")
        least = 255.0 if whole else max(abs(high), 1e-30) * 1e-6
        if high - low < least:
            middle = (low + high) / 2
            low, high = middle - least / 2, middle + least / 2
        count = "the first image" if len(images) == 1 else f"the first {len(images)} images"
        return Levels(low, high, f"what {count} use{'s' if len(images) == 1 else ''}")

    def apply(self, image: Pixels) -> UInt8Array:
        """An image as bytes.

        Args:
            image: (H, W) or (H, W, 3) uint16 or float32; bytes stay as they are.

        Returns:
            (H, W, 3) uint8.
        """
        if image.dtype == np.uint8:
            return image
        if image.dtype == np.uint16:
            scaled = _table(self.low, self.high)[image]
        else:
            scaled = _bytes(image, self.low, self.high)
        return np.stack([scaled] * 3, axis=2) if scaled.ndim == 2 else scaled

    def note(self, image: Pixels) -> str:
        """What is said of it once.

        Args:
            image: One that was scaled.
        """
        kind = "16 bits" if image.dtype == np.uint16 else "floats"
        text = f"pixels of {kind} scaled from {self.low:.6g}-{self.high:.6g} to 0-255"
        return f"{text}, {self.origin}; --range LOW,HIGH sets another" if self.origin else text


@lru_cache(maxsize=4)
def _table(low: float, high: float) -> UInt8Array:
    """What becomes of every whole number of 16 bits."""
    return _bytes(np.arange(65536, dtype=np.float32), low, high)


def _bytes(values: Pixels, low: float, high: float) -> UInt8Array:
    with np.errstate(all="ignore"):  # of what is no number
        share = (values.astype(np.float64) - low) / (high - low)
    share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray(np.round(255 * np.clip(share, 0, 1)), np.uint8)


_Tag = TypeVar("_Tag")


class Scaling:
    """Makes bytes of the images of a source, by one rule for all of them.

    Args:
        levels: The rule; None: `Levels.of` the first images of more than 8 bits.

    Attributes:
        used: The rule, once an image of more than 8 bits came.
        deep: The first such image.
    """

    def __init__(self, levels: Levels | None = None) -> None:
        self.used: Levels | None = None
        self.deep: Pixels | None = None
        self._given = levels

    def apply(self, images: Iterable[tuple[Pixels, _Tag]]) -> Iterator[tuple[UInt8Array, _Tag]]:
        """Each image as bytes, with what belongs to it."""
        images = iter(images)
        for pixels, tag in images:
            if pixels.dtype == np.uint8:
                yield pixels, tag
                continue
            ahead, error = [(pixels, tag)], None
            if self.used is None:
                self.deep, self.used = pixels, self._given
            if self.used is None:
                following, error = _ahead(images, pixels.nbytes)
                ahead += following
                self.used = Levels.of([one for one, _ in ahead if one.dtype != np.uint8])
            for one, its_tag in ahead:
                yield self.used.apply(one), its_tag
            if error is not None:
                raise error

    def notes(self) -> list[str]:
        """How pixels of more than 8 bits were scaled, if there were any."""
        if self.used is None or self.deep is None:
            return []
        return [self.used.note(self.deep)]


def _ahead(
    images: Iterator[tuple[Pixels, _Tag]], size: int
) -> tuple[list[tuple[Pixels, _Tag]], UnitrackError | None]:
    """The images after the first one of `size` bytes; and the error that came in place of more."""
    ahead: list[tuple[Pixels, _Tag]] = []
    try:
        for image in islice(images, min(_JUDGED_IMAGES, max(1, _JUDGED_BYTES // size)) - 1):
            ahead.append(image)
    except UnitrackError as error:
        return ahead, error
    return ahead, None


def _sample(image: Pixels) -> Pixels:
    flat = image.reshape(-1)
    flat = flat[:: max(1, len(flat) // _SAMPLE)]
    return flat[np.isfinite(flat)].astype(np.float64)
