"""RoIAlign (Mask R-CNN) in scalar loops: unaligned corners, adaptive sampling, mean of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def roi_align(
    features: np.ndarray, box_xyxy: Sequence[float], stride: int, output_hw: tuple[int, int]
) -> np.ndarray:
    """One box of one feature map.

    Args:
        features: (rows, cols, C).
        box_xyxy: In image pixels.
        stride: Image pixels per cell.
        output_hw: Bins along y and x.

    Returns:
        (out_h, out_w, C) float64.
    """
    channels = features.shape[2]
    out_h, out_w = output_hw
    left, top, right, bottom = (float(v) / stride for v in box_xyxy)
    bin_h = max(bottom - top, 1.0) / out_h
    bin_w = max(right - left, 1.0) / out_w
    samples_h, samples_w = math.ceil(bin_h), math.ceil(bin_w)
    result = np.zeros((out_h, out_w, channels))
    for bin_y in range(out_h):
        for bin_x in range(out_w):
            total = np.zeros(channels)
            for sample_y in range(samples_h):
                for sample_x in range(samples_w):
                    y = top + (bin_y + (sample_y + 0.5) / samples_h) * bin_h
                    x = left + (bin_x + (sample_x + 0.5) / samples_w) * bin_w
                    total += bilinear(features, y, x)
            result[bin_y, bin_x] = total / (samples_h * samples_w)
    return result


def bilinear(features: np.ndarray, y: float, x: float) -> np.ndarray:
    """(C,) at a place; the border's value up to one cell outside, 0 beyond."""
    rows, cols, channels = features.shape
    if y < -1 or y > rows or x < -1 or x > cols:
        return np.zeros(channels)
    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), cols - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
    fy, fx = y - top, x - left
    upper = (1 - fx) * features[top, left].astype(np.float64) + fx * features[top, right]
    lower = (1 - fx) * features[bottom, left].astype(np.float64) + fx * features[bottom, right]
    return (1 - fy) * upper + fy * lower
