"""Feature points of a mask, cell by cell, from METHOD's text; float64.

The mask is brought to the network's image and to the feature grid by nearest neighbour.  A mask of
more than `max_area` cells is shrunk by √(max_area / area): features times mask bilinearly, the mask
by nearest neighbour and a threshold of 0.5, both with pixel centres at half whole numbers for the
former and corners for the latter, as PyTorch's `interpolate(scale_factor=…)` has it.
"""

from __future__ import annotations

import math

import numpy as np


def grid_mask(
    mask: np.ndarray,
    network_hw: tuple[int, int],
    inner_hw: tuple[int, int],
    corner: tuple[int, int],
    stride: int,
    grid_hw: tuple[int, int],
) -> np.ndarray:
    """(rows, cols) bool of an (H, W) mask; `corner` is the top and left of the inner image."""
    height, width = mask.shape
    network = np.zeros(network_hw, bool)
    for y in range(inner_hw[0]):
        for x in range(inner_hw[1]):
            source_y = math.floor((y + 0.5) * height / inner_hw[0])
            source_x = math.floor((x + 0.5) * width / inner_hw[1])
            network[corner[0] + y, corner[1] + x] = mask[source_y, source_x]
    grid = np.zeros(grid_hw, bool)
    for row in range(grid_hw[0]):
        for col in range(grid_hw[1]):
            if row * stride < network_hw[0] and col * stride < network_hw[1]:
                grid[row, col] = network[row * stride, col * stride]
    return grid


def points_of(features: np.ndarray, mask: np.ndarray, max_area: int) -> np.ndarray:
    """(n, C) unit points of (rows, cols, C) features in a (rows, cols) mask."""
    rows, cols, _ = features.shape
    area = int(mask.sum())
    masked = features.astype(np.float64) * mask[..., None]
    points = []
    if area <= max_area:
        points = [features[y, x] for y in range(rows) for x in range(cols) if mask[y, x]]
    else:
        scale = math.sqrt(max_area / area)
        for y in range(max(1, math.floor(rows * scale))):
            for x in range(max(1, math.floor(cols * scale))):
                near = min(int(y / scale), rows - 1), min(int(x / scale), cols - 1)
                if float(mask[near]) >= 0.5:
                    points.append(bilinear(masked, y, x, scale))
    found = np.array(points, np.float64).reshape(-1, features.shape[2])
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return found[norms[:, 0] > 0] / norms[norms > 0][:, None]


def bilinear(values: np.ndarray, y: int, x: int, scale: float) -> np.ndarray:
    """The value at one place of the array scaled by `scale`."""
    rows, cols, _ = values.shape
    place_y, place_x = (max(0.0, (place + 0.5) / scale - 0.5) for place in (y, x))
    low_y, low_x = min(int(place_y), rows - 1), min(int(place_x), cols - 1)
    high_y, high_x = min(low_y + 1, rows - 1), min(low_x + 1, cols - 1)
    part_y, part_x = place_y - low_y, place_x - low_x
    upper = (1 - part_x) * values[low_y, low_x] + part_x * values[low_y, high_x]
    lower = (1 - part_x) * values[high_y, low_x] + part_x * values[high_y, high_x]
    return (1 - part_y) * upper + part_y * lower
