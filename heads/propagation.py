"""Mask propagation (paper, section 2.3): labels of a frame from the labels of a memory of frames.

The first frame is searched everywhere, the recent ones within a radius.  Cells of the query are
worked on in tiles, because the cells of a tile share one window of keys: the work is then a batch
of dense matrix products, and no more than twice what the radius asks for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..runtime.engine import Array, to_host
from ..runtime.graph_runner import GraphRunner

MASKED = -1.0e4
"""Similarity of a key outside the radius; far below any cosine, and representable in float16."""

_CHUNK_VALUES = 8_000_000
"""Affinities held at once: 32 MB, so that a large picture needs no more memory than a small one."""

_TILE_CELLS = (64, 160)
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
        squared = (qy[:, :, None] - wy[:, None, :]) ** 2 + (qx[:, :, None] - wx[:, None, :]) ** 2
        seen = (squared < radius * radius) & inside[:, None, :]
        bias = np.where(seen, np.float32(0), np.float32(MASKED))
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


@dataclass(frozen=True, slots=True)
class MemoryFrame:
    """A frame that labels are taken from: features (1, rows, cols, C), labels (cells, L)."""

    features: Array
    labels: Array


class Propagator:
    """Carries labels of the feature grid from frame to frame.

    Args:
        graphs: Runs `propagate_global`, `propagate_local` and `propagate_labels`.
        rows: Of the feature grid.
        cols: Of the feature grid.
        top_k: Keys kept per query cell.
        temperature: τ of the softmax over the kept similarities.
        radius: Of the neighbourhood in recent frames, in cells, strict.
        memory: How many recent frames are kept besides the first.
        first_radius: Of the neighbourhood in the first frame; None searches all of it.
    """

    def __init__(
        self,
        graphs: GraphRunner,
        rows: int,
        cols: int,
        *,
        top_k: int,
        temperature: float,
        radius: float,
        memory: int,
        first_radius: float | None = None,
    ) -> None:
        self._graphs = graphs
        self._cells = rows * cols
        self._kept = graphs.spec.parameters["top_k"]
        self._top_k = np.array([top_k], np.int64)
        self._temperature = np.array([temperature], np.float32)
        # The first frame's candidates join those of the recent ones cell by cell: its windows may
        # be of another size, but its tiles must be the same.
        widest = min(max(radius, first_radius or 0.0), max(rows, cols))
        tile = best_tile(rows, cols, reach_of(widest))
        if first_radius is None and self._cells < self._kept:
            # The global search takes its top-k from the grid's own cells, which are too few.
            first_radius = float(rows + cols)
        self._plan = TilePlan.build(rows, cols, radius, tile, self._kept)
        self._first_plan = (
            None
            if first_radius is None
            else TilePlan.build(rows, cols, first_radius, tile, self._kept)
        )
        self._first: MemoryFrame | None = None
        self._recent: deque[MemoryFrame] = deque(maxlen=memory)

    def start(self, features: Array, labels: npt.NDArray[np.float32]) -> None:
        """Make this the first frame: features (1, rows, cols, C), labels (cells, L) float32."""
        self._first = MemoryFrame(features, labels)
        self._recent.clear()
        # The public code repeats the first frame until the memory is full.
        self._recent.extend([self._first] * (self._recent.maxlen or 0))

    def step(self, features: Array) -> npt.NDArray[np.float32]:
        """Labels (cells, L) float32 of the next frame, which joins the memory."""
        if self._first is None:
            raise RuntimeError("Propagator.step before Propagator.start")
        labels = self._propagate(features, self._first)
        self._recent.append(MemoryFrame(features, labels))
        return to_host(labels)

    def _propagate(self, query: Array, first: MemoryFrame) -> Array:
        per_tile = self._plan.query_index.shape[1]
        cost = max(self._cells, self._plan.window_index.shape[1]) * per_tile
        chunk = max(1, _CHUNK_VALUES // cost)
        if chunk >= len(self._plan):
            return self._chunk(query, first, slice(0, len(self._plan)), self._plan.position)
        labels = np.empty((self._cells, first.labels.shape[1]), np.float32)
        for start in range(0, len(self._plan), chunk):
            stop = min(start + chunk, len(self._plan))
            low, high = start * per_tile, stop * per_tile
            cells = np.flatnonzero((self._plan.position >= low) & (self._plan.position < high))
            order = self._plan.position[cells] - low
            labels[cells] = to_host(self._chunk(query, first, slice(start, stop), order))
        return labels

    def _chunk(
        self, query: Array, first: MemoryFrame, tiles: slice, order: npt.NDArray[np.int64]
    ) -> Array:
        index = self._plan.query_index[tiles]
        best: Array = np.full((index.size, self._kept), MASKED, np.float32)
        best_labels: Array = np.zeros((index.size, self._kept, first.labels.shape[1]), np.float32)
        if self._first_plan is None:
            best, best_labels = self._graphs.run(
                "propagate_global",
                query,
                first.features,
                first.labels,
                index.reshape(-1),
                best,
                best_labels,
            )
        local = [(frame, self._plan) for frame in self._recent]
        if self._first_plan is not None:
            local.insert(0, (first, self._first_plan))
        for frame, plan in local:
            best, best_labels = self._graphs.run(
                "propagate_local",
                query,
                frame.features,
                frame.labels,
                index,
                plan.window_index[tiles],
                plan.bias[tiles],
                best,
                best_labels,
            )
        (labels,) = self._graphs.run(
            "propagate_labels", best, best_labels, order, self._temperature, self._top_k
        )
        return labels
