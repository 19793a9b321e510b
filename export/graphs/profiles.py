"""Smallest, expected and largest sizes of a bundle's tensors: what engines are built for.

Runs without PyTorch, because a device builds its engines from the ONNX files alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...runtime.bundle.spec import TensorSpec
from ...runtime.inference.base import DEVICE_VALUES, IMAGE_COUNTS

Range = tuple[int, int, int]
"""Smallest, expected and largest size of a dynamic dimension."""

ANY_SIZE = ((64, 64), (608, 1088), (736, 1280))
"""Image sizes that engines are built for where none were asked for: a larger one would cost memory
on boards that have little, and can be asked for."""

_LARGEST_TILE = 128
"""Pixels of the side of an object's image (`heads.association.tiles`)."""

_TILE = (64, 66, 112)
"""Cells of a tile of local propagation: 64 to 80 but for grids of a few rows (`best_tile`)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the shapes of a bundle's tensors depend on.

    Attributes:
        channels: C of the feature map.
        stride: Image pixels per feature cell.
        sizes_hw: Image sizes to serve; empty: any.
        top_k: Keys kept by propagation.
        dtype: Of feature maps, `float32` or `float16`.
    """

    channels: int
    stride: int
    sizes_hw: tuple[tuple[int, int], ...]
    top_k: int
    dtype: str

    def ranges(self) -> dict[str, Range]:
        """Every dynamic dimension by name."""
        return dimension_ranges(self.sizes_hw, self.stride)


def dimension_ranges(sizes_hw: tuple[tuple[int, int], ...], stride: int) -> dict[str, Range]:
    """Every dynamic dimension of a bundle's graphs by name.

    Args:
        sizes_hw: Image sizes (height, width) to serve; empty: `ANY_SIZE`.
        stride: Image pixels per feature cell.
    """
    heights, widths = zip(*(sizes_hw or ANY_SIZE), strict=True)
    height, width = _range(heights), _range(widths)
    rows, cols = _cells(height, stride), _cells(width, stride)
    cells = (rows[0] * cols[0], rows[1] * cols[1], rows[2] * cols[2])
    tiles = _tiles(cells)
    images = -(-_LARGEST_TILE // stride) * IMAGE_COUNTS[-1]
    return {
        "batch": (1, 1, IMAGE_COUNTS[-1]),
        "height": height,
        "width": width,
        # A part of the frame may be small.  Memory goes with the product of the last five: 100 MB.
        "frame_height": (16, 1080, 1088),
        "frame_width": (16, 1920, 1920),
        "image_height": height,
        "image_width": width,
        "row_taps": (1, 3, 6),
        "column_taps": (1, 3, 6),
        "rows": rows,
        "cols": cols,
        # Of a frame, or of the images of several objects one below another.
        "map_rows": (
            rows[0],
            rows[1],
            max(rows[2], images),
        ),
        "boxes": (1, 32, 128),
        "objects": (1, 16, 128),
        "old": (1, 32, 256),
        "new": (1, 32, 256),
        "chosen": (1, 32, 256),
        "points": (1, 40, 400),
        "out_h": (1, 4, 8),
        "out_w": (1, 10, 16),
        **_similarity_ranges(),
        "cells": cells,
        "ordered": (1, cells[1], cells[2]),
        "labels": (2, 2, 256),
        # Of a label map; memory goes with their product with the frame's sides: 134 MB.
        "shown_labels": (2, 2, 16),
        "tiles": tiles,
        "per_tile": _TILE,
        "window": (64, 832, 2704),
        # Those of a tile are laid one after the other: the three must agree.
        "queries": (tiles[0] * _TILE[0], tiles[1] * _TILE[1], tiles[2] * _TILE[2]),
        "scales": (1, 3, 8),
    }


def _similarity_ranges() -> dict[str, Range]:
    # Memory goes with the product of the four, some six arrays of it: a graph of its own for boxes,
    # which are many and small, and for masks, which are few and large, keeps an array to 52 MB and
    # 164 MB.  More tracklets than that are compared in several calls, with the same result.
    return {
        "tracks": (1, 32, 64),
        "track_points": (1, 40, 40),
        "detections": (1, 32, 128),
        "detection_points": (1, 40, 40),
        "compared": (1, 16, 64),
        "compared_points": (1, 40, 40),
        # Of masks on the images of objects, which have 160 cells: an array of 26 MB.
        "mask_compared": (1, 8, 16),
        "mask_compared_points": (1, 160, 160),
        "mask_tracks": (1, 8, 8),
        "mask_track_points": (1, 200, 400),
        "mask_detections": (1, 8, 32),
        "mask_detection_points": (1, 200, 400),
    }


def profiled(tensor: TensorSpec, ranges: Mapping[str, Range]) -> TensorSpec:
    """The tensor with its smallest, expected and largest shape, where all of them are known."""
    if not tensor.is_dynamic or any(isinstance(s, str) and s not in ranges for s in tensor.shape):
        return tensor
    low, middle, high = (
        tuple(ranges[s][which] if isinstance(s, str) else s for s in tensor.shape)
        for which in range(3)
    )
    return replace(tensor, min_shape=low, opt_shape=middle, max_shape=high)


def _tiles(cells: Range) -> Range:
    most = max(4, min(128, DEVICE_VALUES // (_TILE[2] * cells[2])))
    return 1, min(most, -(-cells[1] // _TILE[0])), most


def _cells(pixels: Range, stride: int) -> Range:
    low, middle, high = (-(-size // stride) for size in pixels)
    return low, middle, high


def _range(values: tuple[int, ...]) -> Range:
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]
