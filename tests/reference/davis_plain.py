"""DAVIS' J and F written out pixel by pixel, from the definition."""

from __future__ import annotations

import math


def jaccard_plain(prediction, truth):
    found = {(y, x) for y, row in enumerate(prediction) for x, v in enumerate(row) if v}
    true = {(y, x) for y, row in enumerate(truth) for x, v in enumerate(row) if v}
    return len(found & true) / len(found | true) if found | true else 1.0


def contour_plain(mask):
    """A pixel is on the contour where one of the three pixels right and below differs."""
    height, width = len(mask), len(mask[0])
    pixels = set()
    for y in range(height):
        for x in range(width):
            ahead = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            # On the last row and column only what is inside the image is looked at, and the
            # corner pixel is never on a contour.
            inside = [(v, u) for v, u in ahead if v < height and u < width]
            if any(bool(mask[v][u]) != bool(mask[y][x]) for v, u in inside):
                pixels.add((y, x))
    return pixels


def contour_f_plain(prediction, truth):
    found, true = contour_plain(prediction), contour_plain(truth)
    if not found or not true:
        return 1.0 if not found and not true else 0.0
    reach = math.ceil(0.008 * math.sqrt(len(truth) ** 2 + len(truth[0]) ** 2))

    def share(some, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in others) for y, x in some]
        return sum(near) / len(near)

    precision, recall = share(found, true), share(true, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
