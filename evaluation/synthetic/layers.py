"""Layers of the scene laid over one another: shadows and figures, cut at the image's border."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ...records import FloatArray, UInt8Array

SOLID = 128
"""From this opacity on a pixel belongs to the figure drawn there."""

_Window = tuple[tuple[slice, slice], tuple[slice, slice]]


def _window(image: tuple[int, ...], layer: tuple[int, ...], left: int, top: int) -> _Window | None:
    """The overlap of a layer with the image, as slices of either; None where there is none."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + layer[1], image[1]), min(top + layer[0], image[0])
    if x0 >= x1 or y0 >= y1:
        return None
    inside = (slice(y0, y1), slice(x0, x1))
    return inside, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def lay_figure(
    image: UInt8Array, labels: UInt8Array, drawn: tuple[UInt8Array, int, int], number: int
) -> tuple[FloatArray, int] | None:
    """Lay a figure over image and labels; its box within the image and its whole pixel count."""
    layer, left, top = drawn
    window = _window(image.shape, layer.shape, left, top)
    if window is None:
        return None
    inside, part = window
    solid = layer[..., 3] >= SOLID
    shown = solid[part]
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(rows):
        return None
    blend_over(image[inside], layer[part])
    labels[inside][shown] = number
    x0, y0 = inside[1].start, inside[0].start
    box = np.array([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1])
    return box.astype(np.float32), int(np.count_nonzero(solid))


def blend_over(image: UInt8Array, layer: UInt8Array) -> None:
    """Lay a premultiplied BGRA layer over an image of the same size, in place.

    Args:
        image: (h, w, 3) BGR, or (h, w, 4) premultiplied BGRA; uint8, written to.
        layer: (h, w, 4) uint8, premultiplied.
    """
    channels = image.shape[2]
    rest = cv2.merge([cv2.bitwise_not(cv2.extractChannel(layer, 3))] * channels)
    front = layer if channels == 4 else cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR)
    image[...] = cv2.add(cv2.multiply(image, rest, scale=1 / 255), front)


class Shadow:
    """A soft dark ellipse on the ground."""

    def __init__(self) -> None:
        y, x = np.mgrid[-1:1:24j, -1:1:96j]
        self._sprite = np.zeros((24, 96, 4), np.uint8)
        self._sprite[..., 3] = np.rint(120 * np.clip(1 - np.hypot(x, y), 0, 1) ** 0.8)

    def cast(self, image: UInt8Array, x: float, y: float, scale: float) -> None:
        """Darken the ground under a figure, in place.

        Args:
            image: (H, W, 3) uint8, written to.
            x: Column of the shadow's centre in pixels.
            y: Row of the shadow's centre in pixels.
            scale: Pixels for one body height.
        """
        rows, columns = self._sprite.shape[:2]
        wide, tall = 0.46 * scale, 0.085 * scale
        left, top = math.floor(x - wide / 2) - 1, math.floor(y - tall / 2) - 1
        size = math.ceil(wide) + 3, math.ceil(tall) + 3
        grow = np.array(
            [[wide / columns, 0, x - wide / 2 - left], [0, tall / rows, y - tall / 2 - top]]
        )
        layer = np.asarray(cv2.warpAffine(self._sprite, grow, size), np.uint8)
        window = _window(image.shape, layer.shape, left, top)
        if window is not None:
            inside, part = window
            blend_over(image[inside], layer[part])
