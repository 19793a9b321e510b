"""From source pixels to the cells of a crop and back, for single-object tracking.

Coordinates are continuous, pixel (0, 0) covers [0, 1) × [0, 1).  A crop shows a window of the
source, which has the target's ratio, as a square.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...records import UInt8Array

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def crop_window(image: UInt8Array, centre_xy: Float64, window_wh: Float64, side: int) -> UInt8Array:
    """Show a window of an image as a square, bilinear.

    Args:
        image: (H, W, 3) uint8.
        centre_xy: (2,) of the window, in source pixels.
        window_wh: (2,) width and height in source pixels, above 0.
        side: Of the crop, in pixels.

    Returns:
        (side, side, 3) uint8; black where the window reaches beyond the image.
    """
    scale_x, scale_y = side / window_wh
    left, top = centre_xy - window_wh / 2
    # OpenCV counts from the centre of a pixel, which lies half a pixel in.
    matrix = np.array(
        [
            [scale_x, 0.0, (0.5 - left) * scale_x - 0.5],
            [0.0, scale_y, (0.5 - top) * scale_y - 0.5],
        ]
    )
    crop = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(crop, np.uint8)


def find_peak(response: Float32, origin: int) -> tuple[float, float, float]:
    """The peak of a response, refined below a cell.

    A parabola through the largest value and its two neighbours gives the fraction along each axis;
    at the border of the response there is none.

    Args:
        response: (R, R) float32.
        origin: Row and column that speak for a target that did not move.

    Returns:
        (value, x, y): the largest value of a cell, and how many cells right and down of the origin
        the peak lies. In a response without any structure it lies at the origin.
    """
    row, column = np.unravel_index(int(response.argmax()), response.shape)
    value = float(response[row, column])
    if response[origin, origin] == value:
        row = column = np.intp(origin)
    x = float(column - origin) + vertex(response[row], int(column))
    y = float(row - origin) + vertex(response[:, column], int(row))
    return value, x, y


def vertex(line: npt.NDArray[np.floating[Any]], top: int) -> float:
    """How far from its largest element a line's parabola has its vertex, -0.5 to 0.5."""
    if not 0 < top < len(line) - 1:
        return 0.0
    before, peak, after = (float(value) for value in line[top - 1 : top + 2])
    bend = before - 2 * peak + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def gaussian_label(cells: int, sigma: float) -> Float32:
    """Fourier transform of the response that a filter is taught.

    Args:
        cells: G, of a crop's side.
        sigma: Of the Gaussian, in cells.

    Returns:
        (G, G // 2 + 1) float32: the half spectrum of a Gaussian of height 1 at the origin that
        wraps around; real, because it is symmetric.
    """
    line = np.arange(cells)
    away = np.minimum(line, cells - line).astype(np.float64)
    squares = (away[:, None] ** 2 + away[None, :] ** 2) / sigma**2
    return np.asarray(np.fft.rfft2(np.exp(-0.5 * squares)).real, np.float32)
