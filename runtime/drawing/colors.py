"""Colours: DAVIS' palette for label maps in files, and a lasting colour of every identity."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ...records import UInt8Array

Color = tuple[int, int, int]

DISTINCT_COLORS = 48
"""How many colours identities share out among themselves."""

_FIRST = (51, 102, 255)


def davis_palette() -> UInt8Array:
    """The palette of DAVIS' (and PASCAL VOC's) label images.

    The bits of an index are dealt out in turn to red, green and blue, from each one's highest bit
    downwards: 1 is dark red, 2 dark green, 3 both.

    Returns:
        (256, 3) uint8 RGB; index 0 is black.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.int64)
    for channel in range(3):
        for bit in range(3):
            if 3 * bit + channel < 8:
                palette[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return palette.astype(np.uint8)


def color_of(identity: int) -> Color:
    """The colour that an identity has everywhere, in every run.

    Args:
        identity: Any integer; ids count from 1. Colours return after `DISTINCT_COLORS` ids.

    Returns:
        B, G, R from 0 to 255, neither dark nor grey.
    """
    return _colors()[(identity - 1) % DISTINCT_COLORS]


@lru_cache(maxsize=1)
def _colors() -> tuple[Color, ...]:
    """Bright colours, each as far as can be from all before it, to the eye (CIE Lab)."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    bgr = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    # The 8-bit form of Lab makes the choice the same wherever it is computed.
    lab = cv2.cvtColor(bgr[:, None], cv2.COLOR_BGR2Lab)[:, 0].astype(np.int64)
    chroma = np.hypot(lab[:, 1] - 128, lab[:, 2] - 128)
    usable = (lab[:, 0] > 140) & (lab[:, 0] < 235) & (chroma > 48)
    bgr, lab = bgr[usable], lab[usable]
    chosen = [int(np.argmin(np.abs(bgr.astype(np.int64) - _FIRST).sum(axis=1)))]
    gap = np.full(len(bgr), np.iinfo(np.int64).max)
    while len(chosen) < DISTINCT_COLORS:
        gap = np.minimum(gap, ((lab - lab[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(gap)))
    return tuple((int(b), int(g), int(r)) for b, g, r in bgr[chosen])
