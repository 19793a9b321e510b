"""COCO's compressed run lengths, written down from the format, one character at a time."""

from __future__ import annotations

import numpy as np


def encode(mask: np.ndarray) -> str:
    """(H, W) bool to a string."""
    height, width = mask.shape
    counts, value, run = [], False, 0
    for x in range(width):
        for y in range(height):
            if bool(mask[y, x]) != value:
                counts.append(run)
                value, run = not value, 0
            run += 1
    counts.append(run)
    text = ""
    for i, count in enumerate(counts):
        number = count - counts[i - 2] if i > 2 else count
        while True:
            group = number & 31
            number >>= 5
            done = number == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


def decode(text: str, height: int, width: int) -> np.ndarray:
    """A string to (H, W) bool."""
    counts: list[int] = []
    number = shift = 0
    for char in text:
        group = ord(char) - 48
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = shift = 0
    mask = np.zeros((height, width), np.bool_)
    position = 0
    for i, count in enumerate(counts):
        for k in range(position, position + count):
            mask[k % height, k // height] = i % 2 == 1
        position += count
    return mask
