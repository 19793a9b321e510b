"""Mask propagation (paper, section 2.3): labels of a frame from the labels of a memory of frames.

The first frame is searched everywhere, the recent ones within a radius.  Cells of the query are
worked on in tiles, because the cells of a tile share one window of keys: the work is then a batch
of dense matrix products, and no more than twice what the radius asks for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.inference.base import Array, Graphs, to_host
from .tiles import MASKED, QUERY_INDEX, TilePlan, best_tile, reach_of

RECENT = "propagate_recent"
"""The graph of several memory frames, which bundles of before do not have."""


def recent_at_once(graphs: Graphs) -> int:
    """How many recent frames `RECENT` takes; 1 where there is no such graph."""
    graph = graphs.spec.graphs.get(RECENT)
    return 1 if graph is None else sum(t.name.startswith("keys_") for t in graph.inputs)


@dataclass(frozen=True, slots=True)
class MemoryFrame:
    """A frame that labels are taken from: features (1, rows, cols, C), labels (cells, L)."""

    features: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Tiles that are worked on together; arrays are placed where the graphs compute.

    What is the same in every frame is placed once: at 480p it is some 24 MB, which a GPU would
    otherwise be sent with every memory frame of every frame.

    Attributes:
        cells: Which cells of the grid its queries are.
        query_index: (T, Q) int64, as in `TilePlan`.
        queries: (T * Q,) int64, the same in one row.
        first_window: `window_index` and `bias` of the first frame's plan.
        window: Those of the recent frames' plan.
        order: (its cells,) int64: where each cell stands among the queries.
        best: (T * Q, K) float32 `MASKED`: the candidates before the first memory frame.
        best_labels: (T * Q, K, L) float32 zeros: their labels.
    """

    cells: slice | npt.NDArray[np.int64]
    query_index: Array
    queries: Array
    first_window: tuple[Array, Array]
    window: tuple[Array, Array]
    order: Array
    best: Array
    best_labels: Array


class Propagator:
    """Carries labels of the feature grid from frame to frame.

    Args:
        graphs: Runs the `propagate_*` graphs.
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
        graphs: Graphs,
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
        self._at_once = recent_at_once(graphs)
        self._top_k = graphs.place(np.array([top_k], np.int64))
        self._temperature = graphs.place(np.array([temperature], np.float32))
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
        self._chunks: list[_Chunk] = []

    def start(self, features: Array, labels: npt.NDArray[np.float32]) -> None:
        """Make this the first frame: features (1, rows, cols, C), labels (cells, L) float32."""
        self._first = MemoryFrame(features, self._graphs.place(labels))
        self._recent.clear()
        # The public code repeats the first frame until the memory is full.
        self._recent.extend([self._first] * (self._recent.maxlen or 0))
        self._chunks = self._lay_out(labels.shape[1])

    def step(self, features: Array) -> npt.NDArray[np.float32]:
        """`propagate`, on the host."""
        return np.asarray(to_host(self.propagate(features)), np.float32)

    def propagate(self, features: Array) -> Array:
        """Labels (cells, L) float32 of the next frame, which joins the memory."""
        if self._first is None:
            raise RuntimeError("Propagator.propagate before Propagator.start")
        labels = self._propagate(features, self._first)
        self._recent.append(MemoryFrame(features, labels))
        return labels

    def _lay_out(self, width: int) -> list[_Chunk]:
        """The work of a frame with `width` labels, in parts, placed where the graphs compute."""
        step = self._tiles_at_once()
        return [self._chunk(low, low + step, width) for low in range(0, len(self._plan), step)]

    def _tiles_at_once(self) -> int:
        """As many as the engines were built for; without engines, what memory is granted for."""
        per_tile = self._plan.query_index.shape[1]
        most = self._graphs.limit
        limits: list[int | None] = []
        if self._first_plan is None:
            queries = most("propagate_global", QUERY_INDEX, 0)
            limits.append(None if queries is None else queries // per_tile)
        if self._first_plan is not None or self._recent:
            limits.append(most("propagate_local", QUERY_INDEX, 0))
        known = [limit for limit in limits if limit is not None]
        cost = max(self._cells, self._plan.window_index.shape[1]) * per_tile
        at_once = min(known) if known else self._graphs.values_at_once() // cost
        return min(max(1, at_once), len(self._plan))

    def _chunk(self, low: int, high: int, width: int) -> _Chunk:
        place = self._graphs.place
        tiles = slice(low, high)
        index = self._plan.query_index[tiles]
        start, stop = low * index.shape[1], low * index.shape[1] + index.size
        position = self._plan.position
        whole = index.size == self._plan.query_index.size
        inside = (position >= start) & (position < stop)
        cells = slice(None) if whole else np.flatnonzero(inside)
        plans = [plan for plan in (self._first_plan, self._plan) if plan is not None]
        windows = [(place(plan.window_index[tiles]), place(plan.bias[tiles])) for plan in plans]
        return _Chunk(
            cells=cells,
            query_index=place(index),
            queries=place(index.reshape(-1)),
            first_window=windows[0],
            window=windows[-1],
            order=place(position[cells] - start),
            best=place(np.full((index.size, self._kept), MASKED, np.float32)),
            best_labels=place(np.zeros((index.size, self._kept, width), np.float32)),
        )

    def _propagate(self, query: Array, first: MemoryFrame) -> Array:
        if len(self._chunks) == 1:
            return self._labels_of(self._chunks[0], query, first)
        labels = np.empty((self._cells, first.labels.shape[1]), np.float32)
        for chunk in self._chunks:
            labels[chunk.cells] = to_host(self._labels_of(chunk, query, first))
        return self._graphs.place(labels)

    def _labels_of(self, chunk: _Chunk, query: Array, first: MemoryFrame) -> Array:
        best, best_labels = chunk.best, chunk.best_labels
        near = [(chunk.window, frames) for frames in self._together()]
        if self._first_plan is not None:
            near.insert(0, (chunk.first_window, [first]))
        else:
            best, best_labels = self._graphs.run(
                "propagate_global",
                query,
                first.features,
                first.labels,
                chunk.queries,
                best,
                best_labels,
            )
        for window, frames in near:
            best, best_labels = self._graphs.run(
                "propagate_local" if len(frames) == 1 else RECENT,
                query,
                *(frame.features for frame in frames),
                *(frame.labels for frame in frames),
                chunk.query_index,
                *window,
                best,
                best_labels,
            )
        (labels,) = self._graphs.run(
            "propagate_labels", best, best_labels, chunk.order, self._temperature, self._top_k
        )
        return labels

    def _together(self) -> list[list[MemoryFrame]]:
        """The recent frames, oldest first, as calls take them."""
        frames, size = list(self._recent), self._at_once
        whole = len(frames) // size * size
        return [frames[k : k + size] for k in range(0, whole, size)] + [[f] for f in frames[whole:]]
