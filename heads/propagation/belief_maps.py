"""Keypoints as Gaussian belief maps on the feature grid, and back (paper, section 2.3).

Cell (row, column) of the grid stands for the network's pixel at `stride` times its numbers, where
a convolution with stride is centred.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...records import FloatArray

Float64 = npt.NDArray[np.float64]

VANISHED = 1e-3
"""A belief map that is nowhere higher than this says nothing."""

WEAK = 0.05
"""A joint whose map is lower than this may have gone elsewhere."""

SMALLEST_VARIANCE = 0.25
"""Cells²: a narrower map would slip through between the cells."""


def belief_maps(
    points_xy: Float64, variances: Float64, *, stride: int, grid_hw: tuple[int, int]
) -> FloatArray:
    """Draw a Gaussian of height 1 for every point.

    Args:
        points_xy: (n, 2) x, y in pixels of the network's image.
        variances: (n,) in cells²; at least `SMALLEST_VARIANCE` is used.
        stride: Network pixels per cell.
        grid_hw: Rows and columns.

    Returns:
        (cells, n) float32 in [0, 1].
    """
    places = (points_xy - 0.5) / stride
    spread = 2.0 * np.maximum(variances, SMALLEST_VARIANCE)
    rows, cols = grid_hw
    along_y = np.exp(-np.square(np.arange(rows)[:, None] - places[:, 1]) / spread)
    along_x = np.exp(-np.square(np.arange(cols)[:, None] - places[:, 0]) / spread)
    maps = along_y[:, None, :] * along_x[None, :, :]
    return maps.reshape(rows * cols, -1).astype(np.float32)


def within_reach(
    maps: FloatArray, points_xy: Float64, reach: Float64, *, stride: int, grid_hw: tuple[int, int]
) -> FloatArray:
    """Maps without what lies too far from where their points were.

    Args:
        maps: (cells, n) float32.
        points_xy: (n, 2) x, y in pixels of the network's image.
        reach: (n,) in cells.
        stride: Network pixels per cell.
        grid_hw: Rows and columns.

    Returns:
        (cells, n) float32, a new array: 0 from `reach` cells on.
    """
    places = (points_xy - 0.5) / stride
    rows, cols = grid_hw
    along_y = np.square(np.arange(rows)[:, None] - places[:, 1])
    along_x = np.square(np.arange(cols)[:, None] - places[:, 0])
    near = along_y[:, None, :] + along_x[None, :, :] < np.square(reach)
    return np.where(near.reshape(rows * cols, -1), maps, np.float32(0))


def read_points(
    maps: FloatArray, *, top_cells: int, stride: int, grid_hw: tuple[int, int]
) -> tuple[Float64, FloatArray]:
    """Where each map has its mass: the weighted mean of its `top_cells` largest cells.

    Args:
        maps: (cells, n) float32, not negative.
        top_cells: At least 1; at most all cells are used.
        stride: Network pixels per cell.
        grid_hw: Rows and columns.

    Returns:
        (n, 2) float64 x, y in pixels of the network's image, and (n,) float32 the largest value of
        each map. A map without any mass gives 0, 0 and 0.
    """
    top = min(top_cells, len(maps))
    # Each map in one piece: along the first axis, every one would be gathered again.
    cells = np.argpartition(-np.ascontiguousarray(maps.T), top - 1, axis=1)[:, :top].T
    weights = np.take_along_axis(maps, cells, axis=0).astype(np.float64)
    total = weights.sum(axis=0)
    share = weights / np.where(total > 0, total, 1.0)
    y, x = np.divmod(cells, grid_hw[1])
    points = np.stack([(x * share).sum(axis=0), (y * share).sum(axis=0)], axis=1)
    points = np.where(total[:, None] > 0, points * stride + 0.5, 0.0)
    return points, weights.max(axis=0).astype(np.float32)
