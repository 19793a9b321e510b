"""Masks as COCO's compressed run lengths, the form of MOTS files.

A mask is read column by column.  Its runs of 0, 1, 0, 1, … are counted, each count from the fourth
on is replaced by its difference to the count two before, and every number is written in groups of
five bits, lowest first, as characters from '0': bit 5 of a character says that more follow, and
bit 4 of the last one is the sign.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import BoolArray, IntArray

MAX_PIXELS = 1 << 27
"""Larger masks (11,585 × 11,585) are refused, so that a damaged size cannot exhaust the memory."""

_MAX_GROUPS = 7
"""35 bits with sign: more than a count of MAX_PIXELS, or a difference of two, ever needs."""


def encode_rle(mask: BoolArray) -> str:
    """Write a mask as a compressed run-length string.

    Args:
        mask: (H, W) bool.

    Raises:
        DetectionError: The mask is not two-dimensional bool, empty of pixels, or too large.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise DetectionError(
            f"mask: got {mask.dtype} of shape {tuple(mask.shape)}, expected bool of shape (H, W)"
        )
    _check_size((mask.shape[0], mask.shape[1]))
    pixels = mask.T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    # The first run is of zeros, and empty where the mask begins with a one.
    start = [0, 0] if pixels[0] else [0]
    counts = np.diff(np.concatenate([start, changes, [pixels.size]])).astype(np.int64)
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    return _write_numbers(numbers)


def decode_rle(text: str | bytes, size_hw: tuple[int, int]) -> BoolArray:
    """Read a mask back from its compressed run-length string.

    Args:
        text: The string.
        size_hw: Height and width of the mask.

    Returns:
        (H, W) bool, contiguous.

    Raises:
        DetectionError: The string is damaged, its counts do not add up to H × W, or the mask is
            too large.
    """
    counts = rle_counts(text, size_hw)
    height, width = size_hw
    mask = np.zeros((height, width), np.bool_)
    ends = np.cumsum(counts)
    ones = np.flatnonzero(counts[1::2]) * 2 + 1
    if not len(ones):
        return mask
    # Only the columns between the first and the last run of ones are laid out.
    left = int(ends[ones[0]] - counts[ones[0]]) // height
    right = int(ends[ones[-1]] - 1) // height + 1
    inner = np.clip(np.concatenate([[0], ends]), left * height, right * height)
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, np.diff(inner))
    mask[:, left:right] = pixels.reshape(right - left, height).T
    return mask


def rle_counts(text: str | bytes, size_hw: tuple[int, int]) -> IntArray:
    """Read and check the run lengths of a string without laying out the mask.

    Args:
        text: The string.
        size_hw: Height and width of the mask.

    Returns:
        Run lengths of 0, 1, 0, 1, … in pixels, adding up to H × W.

    Raises:
        DetectionError: As `decode_rle`.
    """
    _check_size(size_hw)
    numbers = _read_numbers(text)
    counts: IntArray = numbers.copy()
    counts[1::2] = np.cumsum(numbers[1::2])
    counts[2::2] = np.cumsum(numbers[2::2])
    total, pixels = int(counts.sum()), size_hw[0] * size_hw[1]
    if (counts < 0).any() or (counts > pixels).any() or total != pixels:
        raise DetectionError(
            f"RLE does not describe a mask of {size_hw[0]}x{size_hw[1]} pixels (height x width): "
            f"its runs add up to {total}, shortest {int(counts.min())}, expected {pixels}"
        )
    return counts


def _check_size(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DetectionError(
            f"mask of {height}x{width} pixels (height x width): expected at least 1x1 and at most "
            f"{MAX_PIXELS} pixels"
        )


def _write_numbers(numbers: IntArray) -> str:
    steps = np.arange(_MAX_GROUPS)
    # k groups hold [-2^(5k-1), 2^(5k-1)): one more group for each such bound that is too small.
    magnitude = np.where(numbers < 0, ~numbers, numbers)
    groups = 1 + (magnitude[:, None] >> (5 * steps[:-1] + 4) > 0).sum(axis=1)
    chars = (numbers[:, None] >> (5 * steps)) & 31
    chars |= np.where(steps < groups[:, None] - 1, 32, 0)
    used: npt.NDArray[np.int64] = chars[steps < groups[:, None]] + 48
    return used.astype(np.uint8).tobytes().decode("ascii")


def _read_numbers(text: str | bytes) -> IntArray:
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    chars = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(chars):
        raise DetectionError("RLE is empty, expected at least one run")
    wrong = np.flatnonzero((chars < 0) | (chars > 63))
    if len(wrong):
        raise DetectionError(
            f"RLE holds {bytes([raw[wrong[0]]])!r} at character {wrong[0] + 1}, "
            "expected only characters '0' to 'o'"
        )
    last = chars & 32 == 0
    if not last[-1]:
        raise DetectionError("RLE breaks off in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise DetectionError("RLE holds a number of more than 35 bits")
    shifts = 5 * (np.arange(len(chars)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((chars & 31) << shifts, starts)
    numbers -= np.where(chars[ends] & 16, np.int64(1) << (5 * lengths), 0)
    return numbers.astype(np.int64)
