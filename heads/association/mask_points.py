"""Feature points of objects that are masks: which cells, and with what shares (METHOD, level 2).

A mask is brought to the feature grid by nearest neighbour and its points are the cells inside.  A
mask of more than `max_area` cells is shrunk first: features times mask bilinearly, the mask itself
by nearest neighbour.  A shrunk point is thus a mix of four cells, so four taps describe any point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, IntArray
from ...runtime.inference.base import Array, Graphs
from ...runtime.preprocessing import FeatureMap, Letterbox
from .tiles import UPRIGHT
from .tracklets import ObjectFeatures, points_of

if TYPE_CHECKING:
    from .look_memory import Look

Float32 = npt.NDArray[np.float32]
TAPS = 4


@dataclass(frozen=True, slots=True)
class MaskPoints:
    """Feeds of the graph `point_features` for N objects.

    Attributes:
        index: (N, P, 4) int64, row-major cells.
        weight: (N, P, 4) float32; all zero where the object has no such point.
    """

    index: IntArray
    weight: Float32

    @property
    def present(self) -> Float32:
        """(N, P) float32: 1 where there is a point."""
        return np.asarray(self.weight.any(axis=2), np.float32)


def describe_masks(
    graphs: Graphs, masks: BoolArray, features: FeatureMap, max_area: int
) -> ObjectFeatures | None:
    """Appearance of N masks of source size; None where N is 0.

    Args:
        graphs: Runs `point_features`.
        masks: (N, H, W) bool.
        features: Of the frame.
        max_area: Most points of an object.
    """
    grid = masks_on_grid(masks, features.letterbox, features.stride, features.grid_hw)
    return describe_grid(graphs, grid, features.array, max_area)


def describe_grid(
    graphs: Graphs, grid: BoolArray, features: Array, max_area: int
) -> ObjectFeatures | None:
    """`describe_masks` of masks that are on the feature grid already.

    Args:
        graphs: Runs `point_features`.
        grid: (N, rows, cols) bool.
        features: (1, rows, cols, C).
        max_area: Most points of an object.
    """
    if not len(grid):
        return None
    chosen = mask_points(grid, max_area)
    points = points_of(graphs, "point_features", features, chosen.index, chosen.weight)
    return ObjectFeatures(points, chosen.present)


def masks_on_tile(masks: BoolArray, letterbox: Letterbox, stride: int) -> BoolArray:
    """Masks at the cells of an object's tile, as `masks_on_grid` for a whole frame.

    Args:
        masks: (N, H, W) bool of source size.
        letterbox: Of the tile.
        stride: Tile pixels per cell.

    Returns:
        (N, rows, cols) bool.
    """
    (left, top), (height, width) = letterbox.origin_xy, letterbox.source_hw
    part = masks[:, top : top + height, left : left + width]
    cells = letterbox.network_hw[0] // stride, letterbox.network_hw[1] // stride
    return masks_on_grid(part, replace(letterbox, origin_xy=(0, 0)), stride, cells)


def describe_looks(
    graphs: Graphs,
    features: Array,
    looks: Sequence[Look],
    places: Sequence[tuple[int, int]],
    max_area: int,
) -> ObjectFeatures:
    """Appearance of objects whose tiles are in one feature map.

    Args:
        graphs: Runs `point_features`.
        features: (1, rows, cols, C).
        looks: N objects; what of each tile is the object: (rows, cols) bool.
        places: Top and left of their tiles, in pixels.
        max_area: Most points of an object.
    """
    stride = graphs.spec.stride
    # No tile has more cells; as many for all, since features of several calls are put together.
    most = min(max_area, UPRIGHT[0] * UPRIGHT[1] // stride**2)
    found = [mask_points(np.asarray(look.where[None], np.bool_), most) for look in looks]
    for own, look, (top, left) in zip(found, looks, places, strict=True):
        row, column = np.divmod(own.index, look.where.shape[1])
        own.index[:] = (row + top // stride) * features.shape[2] + column + left // stride
    chosen = MaskPoints(*(np.concatenate(p) for p in zip(*map(astuple, found), strict=True)))
    points = points_of(graphs, "point_features", features, chosen.index, chosen.weight)
    return ObjectFeatures(points, chosen.present)


def masks_on_grid(
    masks: BoolArray, letterbox: Letterbox, stride: int, grid_hw: tuple[int, int]
) -> BoolArray:
    """Masks at the cells of the feature map, nearest neighbour; padding is outside.

    A cell looks at the network's pixel at `stride` times its number: there the cells of a
    convolution with stride are centred.

    Args:
        masks: (N, H, W) bool of source size.
        letterbox: From source to network.
        stride: Network pixels per cell.
        grid_hw: Rows and columns.

    Returns:
        (N, rows, cols) bool.
    """
    height, width = letterbox.source_hw
    places = np.zeros((max(grid_hw), 2))
    places += stride * np.arange(max(grid_hw))[:, None] + 0.5
    source = np.floor(letterbox.points_to_source(places)).astype(np.int64)
    x, y = source[: grid_hw[1], 0], source[: grid_hw[0], 1]
    inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    grid = np.zeros((len(masks), *grid_hw), np.bool_)
    # Two cheap steps: whole rows first, then columns of the few rows that are left.
    rows = masks[:, y[inside_y]]
    grid[:, np.flatnonzero(inside_y)[:, None], np.flatnonzero(inside_x)] = rows[:, :, x[inside_x]]
    return grid


def mask_points(grid: BoolArray, max_area: int) -> MaskPoints:
    """Points of masks on the feature grid.

    Args:
        grid: (N, rows, cols) bool.
        max_area: P, at least 1: how many points every object is padded to.  Sampling a shrunk mask
            can hit a few cells more than that; the points are then thinned out evenly.

    Returns:
        The feeds of `point_features`.
    """
    index = np.zeros((len(grid), max_area, TAPS), np.int64)
    weight = np.zeros((len(grid), max_area, TAPS), np.float32)
    areas = np.count_nonzero(grid, axis=(1, 2))
    for row, (mask, area) in enumerate(zip(grid, areas.tolist(), strict=True)):
        if area <= max_area:
            index[row, :area, 0] = np.flatnonzero(mask)
            weight[row, :area, 0] = 1.0
            continue
        cells, shares = _shrunk_points(mask, (max_area / area) ** 0.5)
        if len(cells) > max_area:
            kept = np.linspace(0, len(cells) - 1, max_area).round().astype(np.int64)
            cells, shares = cells[kept], shares[kept]
        index[row, : len(cells)] = cells
        weight[row, : len(cells)] = shares
    return MaskPoints(index, weight)


def _shrunk_points(mask: BoolArray, scale: float) -> tuple[IntArray, Float32]:
    """(n, 4) cells and shares of the points of a mask that is scaled by `scale` < 1."""
    rows, cols = mask.shape
    # A mask so thin that the small grid has no row or column keeps one.
    small_hw = max(1, int(rows * scale)), max(1, int(cols * scale))
    nearest_y, nearest_x = (
        np.minimum((np.arange(small) / scale).astype(np.int64), size - 1)
        for small, size in zip(small_hw, mask.shape, strict=True)
    )
    y, x = np.nonzero(mask[nearest_y[:, None], nearest_x])
    low_y, high_y, part_y = _linear(y, scale, rows)
    low_x, high_x, part_x = _linear(x, scale, cols)
    tap_y = np.stack([low_y, low_y, high_y, high_y], axis=1)
    tap_x = np.stack([low_x, high_x, low_x, high_x], axis=1)
    share_y = np.stack([1 - part_y, 1 - part_y, part_y, part_y], axis=1)
    share_x = np.stack([1 - part_x, part_x, 1 - part_x, part_x], axis=1)
    shares = np.asarray(share_y * share_x * mask[tap_y, tap_x], np.float32)
    # Far apart samples: the nearest cell may be in the mask and none of the four beside it.
    kept = shares.any(axis=1)
    return (tap_y * cols + tap_x)[kept], shares[kept]


def _linear(
    place: IntArray, scale: float, size: int
) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
    """The two cells beside each place of the small grid, and the share of the second."""
    source = np.clip((place + 0.5) / scale - 0.5, 0.0, size - 1.0)
    low = np.minimum(source.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), source - low
