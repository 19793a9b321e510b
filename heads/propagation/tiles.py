"""Tiles of a feature grid and the windows of keys that they see, for local propagation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

MASKED = -1.0e4
"""Similarity of a key outside the radius; far below any cosine, and representable in float16."""

QUERY_INDEX = 3
"""Which input of `propagate_global` and `propagate_local` says what is searched for."""

_TILE_CELLS = (64, 112)
"""Cells of a tile: fewer waste keys of the window, more give the matrix product better shapes."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Which query cells are worked on together, and which keys they see.

    Attributes:
        query_index: (T, Q) int64, row-major cells of each tile.
        window_index: (T, S) int64, row-major key cells of each tile's window.
        bias: (T, Q, S) float32, 0 where the key is within the radius and in the grid, `MASKED`
            elsewhere.
        position: (cells,) int64: where in the flattened tiles each cell of the grid stands.
    """

    query_index: npt.NDArray[np.int64]
    window_index: npt.NDArray[np.int64]
    bias: npt.NDArray[np.float32]
    position: npt.NDArray[np.int64]

    @staticmethod
    def build(
        rows: int, cols: int, radius: float, tile: tuple[int, int] | None = None, keys: int = 1
    ) -> TilePlan:
        """Lay tiles over a grid of `rows` x `cols` cells.

        A key is within the radius when its Euclidean distance is strictly below it.

        Args:
            rows: Of the grid.
            cols: Of the grid.
            radius: In cells.
            tile: Height and width of a tile in cells; None takes what needs the least work.
            keys: Smallest number of keys in a window, masked ones included: top-k wants k.
        """
        bound = min(radius, float(rows + cols))
        tile_h, tile_w = tile or best_tile(rows, cols, reach_of(bound))
        window_y, window_x = window_offsets(tile_h, tile_w, bound)
        absent = max(0, keys - len(window_y))
        # A window of too few keys is filled up with one that no cell of the tile can see.
        window_y = np.pad(window_y, (0, absent), constant_values=-rows - tile_h)
        window_x = np.pad(window_x, (0, absent))
        tile_y, tile_x = np.divmod(np.arange(tile_h * tile_w), tile_w)
        top, left = np.meshgrid(
            np.arange(0, rows, tile_h), np.arange(0, cols, tile_w), indexing="ij"
        )
        qy, qx = top.reshape(-1, 1) + tile_y, left.reshape(-1, 1) + tile_x
        wy, wx = top.reshape(-1, 1) + window_y, left.reshape(-1, 1) + window_x
        query_index = np.minimum(qy, rows - 1) * cols + np.minimum(qx, cols - 1)
        window_index = np.clip(wy, 0, rows - 1) * cols + np.clip(wx, 0, cols - 1)
        inside = (wy >= 0) & (wy < rows) & (wx >= 0) & (wx < cols)
        # Cells and windows lie alike in every tile; tiles differ in what is inside the grid.
        away_y, away_x = tile_y[:, None] - window_y, tile_x[:, None] - window_x
        near = away_y**2 + away_x**2 < radius * radius
        bias = np.where(near & inside[:, None, :], np.float32(0), np.float32(MASKED))
        in_grid = np.flatnonzero(((qy < rows) & (qx < cols)).ravel())
        position = np.empty(rows * cols, np.int64)
        position[query_index.ravel()[in_grid]] = in_grid
        return TilePlan(query_index, window_index, bias, position)

    def __len__(self) -> int:
        return len(self.query_index)


def reach_of(radius: float) -> int:
    """The largest whole distance strictly below `radius`."""
    return max(0, int(np.ceil(radius)) - 1)


def window_offsets(
    tile_h: int, tile_w: int, radius: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The keys that some cell of a tile sees, as offsets (y, x) from the tile's first cell.

    Those nearest to the tile's centre come first: good matches are near, and top-k is quicker
    when it meets them early.
    """
    reach = reach_of(radius)
    y, x = np.meshgrid(
        np.arange(-reach, tile_h + reach), np.arange(-reach, tile_w + reach), indexing="ij"
    )
    beyond_y = np.maximum(0, np.maximum(-y, y - tile_h + 1))
    beyond_x = np.maximum(0, np.maximum(-x, x - tile_w + 1))
    seen = beyond_y**2 + beyond_x**2 < max(radius, 0.5) ** 2
    y, x = y[seen], x[seen]
    from_centre = (y - (tile_h - 1) / 2) ** 2 + (x - (tile_w - 1) / 2) ** 2
    order = np.argsort(from_centre, kind="stable")
    return y[order], x[order]


@lru_cache(maxsize=16)
def best_tile(rows: int, cols: int, reach: int) -> tuple[int, int]:
    """The tile that needs the fewest products for the whole grid."""

    def work(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        h, w = size
        tiles = -(-rows // h) * -(-cols // w)
        # The window is the tile widened by the reach, its corners rounded off.
        window = h * w + 2 * reach * (h + w) + round(np.pi * reach * reach)
        return tiles * h * w * window, size

    low, high = _TILE_CELLS
    sizes = [(h, w) for h in range(4, 33) for w in range(4, 33) if low <= h * w <= high]
    return min(sizes, key=work)
