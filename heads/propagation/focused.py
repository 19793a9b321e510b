"""Propagation within regions: only cells near the objects are labelled, whatever moves.

All regions of one pitch are parts of one grid.  A memory frame is kept with the place of its cells,
and is laid anew when the regions move; cells that it does not know are zeros, which resemble
nothing.  The first frame's cells are kept as a list, because they are searched everywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, FloatArray
from ...runtime.inference.base import Array, Graphs, to_host
from ...runtime.preprocessing import Region
from .tiles import MASKED, QUERY_INDEX, TilePlan, best_tile, reach_of

AnyArray: TypeAlias = npt.NDArray[Any]
"""Features of any float type, or labels, on the host."""

FAVOUR, OUTDATED, FRESH = 0.2, 0.57, 0.84
"""The first frame's labels are true, those of the recent frames were found: what resembles it by
`FRESH` or more is taken to do so by `FAVOUR` more, what does by `OUTDATED` or less is not (the
object looks otherwise by now), and in between in proportion.  On a scale on which 0 is how much the
object resembles its background in the mean, which differs between backbones, and 1 is the same."""

_LIST_COLS = 64
"""A list of cells is given to the graphs as a grid of so many columns."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Features of a part of a frame.

    Attributes:
        region: Where its cells lie.
        features: (1, rows, cols, C).
    """

    region: Region
    features: Array


class KeyList:
    """Cells of a frame that is searched everywhere, with their labels.

    Args:
        graphs: Runs `propagate_global`.
        patch: What was looked at.
        labels: (rows, cols, L) float32 of it.
        beside: (n, C) more cells, of background; None: none.

    Attributes:
        chance: Mean similarity of a cell of the background, label 0, and one that is not.
    """

    def __init__(
        self, graphs: Graphs, patch: Patch, labels: FloatArray, beside: AnyArray | None = None
    ) -> None:
        features = to_host(patch.features)
        self._graphs = graphs
        self._cells: AnyArray = features.reshape(-1, features.shape[3])
        self._labels = labels.reshape(-1, labels.shape[2])
        if beside is not None:
            self._cells = np.concatenate([self._cells, beside])
            more = np.zeros((len(beside), labels.shape[2]), np.float32)
            more[:, 0] = 1
            self._labels = np.concatenate([self._labels, more])
        self._placed: tuple[Array, Array] | None = None
        behind = self._labels[:, 0]
        totals = [share @ self._cells.astype(np.float32) for share in (behind, 1 - behind)]
        pairs = float(behind.sum() * (1 - behind).sum())
        self.chance = float(totals[0] @ totals[1]) / pairs if pairs > 0 else 0.0

    def merge(
        self, features: Array, cells: npt.NDArray[np.int64], best: Array, best_labels: Array
    ) -> tuple[Array, Array]:
        """Add what this frame has for some cells of another to their best matches.

        Args:
            features: (1, rows, cols, C) of the other frame.
            cells: (Q,) which of its cells.
            best: (Q, K) float32 similarities so far.
            best_labels: (Q, K, L) float32 labels of those.
        """
        host = to_host(features)
        # Queries and keys are of one shape, as the graph's engines want it.
        rows = -(-max(len(cells), len(self._cells)) // _LIST_COLS)
        if self._placed is None or self._placed[0].shape[1] < rows:
            flat = _listed(self._labels, rows).reshape(rows * _LIST_COLS, -1)
            self._placed = (
                self._graphs.place(_listed(self._cells, rows)),
                self._graphs.place(flat),
            )
        keys, labels = self._placed
        query = _listed(host.reshape(-1, host.shape[3])[cells], keys.shape[1])
        index = np.arange(len(cells))
        merged, merged_labels = self._graphs.run(
            "propagate_global", query, keys, labels, index, best, best_labels
        )
        return merged, merged_labels


@dataclass(frozen=True, slots=True)
class _Known:
    """A memory frame: its cells, and their labels (cells, L)."""

    patch: Patch
    labels: Array


class FocusedPropagator:
    """Carries labels of cells from frame to frame, within regions.

    Args:
        graphs: Runs `propagate_global`, `propagate_local` and `propagate_labels`.
        outside: (L,) labels of cells that are not looked at.
        top_k: Keys kept per query cell.
        temperature: τ of the softmax over the kept similarities.
        radius: Of the neighbourhood in recent frames, in cells, strict.
        memory: How many recent frames are kept besides the first.
        favour: How much the first frame is favoured; see `FAVOUR`.
    """

    def __init__(
        self,
        graphs: Graphs,
        outside: FloatArray,
        *,
        top_k: int,
        temperature: float,
        radius: float,
        memory: int,
        favour: float = FAVOUR,
    ) -> None:
        self._graphs = graphs
        self._favour = favour
        self._outside = outside
        self._kept = graphs.spec.parameters["top_k"]
        self._top_k = graphs.place(np.array([top_k], np.int64))
        self._temperature = graphs.place(np.array([temperature], np.float32))
        self._radius = radius
        self._recent: deque[_Known] = deque(maxlen=max(1, memory))
        self._first: KeyList | None = None
        self._likeness: FloatArray = np.zeros(0, np.float32)
        self._by_first: FloatArray = np.zeros((0, 0), np.float32)
        self._plan: tuple[tuple[int, int], TilePlan] | None = None

    def start(self, patch: Patch, labels: FloatArray, beside: AnyArray | None = None) -> None:
        """Make this the first frame; as `KeyList`.

        It may be called again with the same frame at another pitch; the recent frames stay.
        """
        self._first = KeyList(self._graphs, patch, labels, beside)

    def restart(self, patch: Patch, labels: FloatArray) -> None:
        """Make this the only recent frame; as `start`."""
        flat = self._graphs.place(np.ascontiguousarray(labels).reshape(-1, labels.shape[2]))
        self._recent.clear()
        # As in the whole frame, the memory is full from the beginning.
        self._recent.extend([_Known(patch, flat)] * (self._recent.maxlen or 1))

    def last_labels(self, region: Region) -> FloatArray:
        """(rows, cols, L) of the last frame, where the next one's cells lie."""
        self._move(region)
        return np.asarray(to_host(self._recent[-1].labels)).reshape(region.rows, region.cols, -1)

    def step(
        self,
        patch: Patch,
        wanted: BoolArray,
        clean: Callable[[FloatArray, FloatArray, FloatArray], None] = lambda *_: None,
    ) -> tuple[FloatArray, FloatArray]:
        """Label the next frame, which joins the memory.

        Args:
            patch: What was looked at, of the last frame's pitch.
            wanted: (rows, cols) which of its cells are to be labelled.
            clean: Corrects labels (rows, cols, L) in place, before they are remembered; it is
                given those that the first frame alone would give, and the similarities, too.

        Returns:
            Labels (rows, cols, L) float32, `outside` where none were wanted; and (rows, cols) the
            similarity of each cell to the one of the first frame that it resembles most.
        """
        region = patch.region
        self._move(region)
        labels = np.tile(self._outside, (region.rows * region.cols, 1))
        self._likeness = np.zeros(region.rows * region.cols, np.float32)
        self._by_first = labels.copy()
        plan = self._plan_of(region)
        tiles = np.flatnonzero(wanted.reshape(-1)[plan.query_index].any(axis=1))
        step = self._tiles_at_once(plan)
        for low in range(0, len(tiles), step):
            self._label(plan, tiles[low : low + step], patch, wanted.reshape(-1), labels)
        cells = labels.reshape(region.rows, region.cols, -1)
        clean(cells, self._by_first.reshape(cells.shape), self._likeness.reshape(cells.shape[:2]))
        self._recent.append(_Known(patch, self._graphs.place(labels)))
        return cells, self._likeness.reshape(region.rows, region.cols)

    def give_up(self, taken: FloatArray) -> None:
        """Make background, in the last frame that is remembered, of what is not the object's.

        Args:
            taken: (rows, cols) the share of each cell; what is left is at most the object's.
        """
        last = self._recent[-1]
        labels = np.array(to_host(last.labels))
        mine = np.minimum(labels[:, 1], 1 - taken.reshape(-1))
        placed = self._graphs.place(np.stack([1 - mine, mine], axis=1))
        self._recent[-1] = _Known(last.patch, placed)

    def search(self, patch: Patch, first: KeyList | None = None) -> tuple[FloatArray, FloatArray]:
        """Labels (rows, cols, L) of all cells of a frame, from another one's alone; as `step`.

        Args:
            patch: What was looked at.
            first: The other one; None: the first frame as it was given to `start`.
        """
        first = first or self._first
        if first is None:
            raise RuntimeError("FocusedPropagator.search before FocusedPropagator.start")
        rows, cols = _shape(patch.region)
        found = first.merge(patch.features, np.arange(rows * cols), *self._nothing(rows * cols))
        labels = to_host(self._weighted(*found, rows * cols)).reshape(rows, cols, -1)
        return labels, to_host(found[0])[:, 0].reshape(rows, cols)

    def _nothing(self, count: int) -> tuple[Array, Array]:
        """The best matches of some cells before anything was searched."""
        best = np.full((count, self._kept), MASKED, np.float32)
        return best, np.zeros((count, self._kept, len(self._outside)), np.float32)

    def _label(
        self,
        plan: TilePlan,
        tiles: npt.NDArray[np.int64],
        patch: Patch,
        wanted: BoolArray,
        labels: FloatArray,
    ) -> None:
        """Fill in the labels of the wanted cells of some tiles.

        Args:
            plan: Of the region.
            tiles: (T,) which tiles.
            patch: The frame.
            wanted: (cells,) which cells of the region.
            labels: (cells, L), written to.
        """
        if self._first is None:
            raise RuntimeError("FocusedPropagator.step before FocusedPropagator.start")
        index = plan.query_index[tiles]
        # Tiles hold more cells than are wanted, and the first frame is searched cell by cell.
        chosen = np.flatnonzero(wanted[index.reshape(-1)])
        cells = index.reshape(-1)[chosen]
        merged = self._first.merge(patch.features, cells, *self._nothing(len(cells)))
        best, best_labels = (np.array(to_host(one)) for one in self._nothing(index.size))
        best[chosen], best_labels[chosen] = (to_host(one) for one in merged)
        self._likeness[cells] = best[chosen, 0]
        chance = self._first.chance
        beyond = (best[chosen] - chance) / max(1 - chance, 1e-6)
        fresh = np.clip((beyond - OUTDATED) / (FRESH - OUTDATED), 0, 1)
        best[chosen] += np.float32(self._favour) * fresh
        self._by_first[cells] = to_host(self._weighted(*merged, len(cells)))
        windows = self._graphs.place(plan.window_index[tiles])
        bias = self._graphs.place(plan.bias[tiles])
        queries = self._graphs.place(index)
        found: tuple[Array, Array] = (best, best_labels)
        for known in self._recent:
            found_best, found_labels = self._graphs.run(
                "propagate_local",
                patch.features,
                known.patch.features,
                known.labels,
                queries,
                windows,
                bias,
                *found,
            )
            found = found_best, found_labels
        labels[cells] = to_host(self._weighted(*found, index.size))[chosen]

    def _weighted(self, best: Array, best_labels: Array, count: int) -> Array:
        order = self._graphs.place(np.arange(count))
        (labels,) = self._graphs.run(
            "propagate_labels", best, best_labels, order, self._temperature, self._top_k
        )
        return labels

    def _move(self, region: Region) -> None:
        """Lay the recent frames where a frame's cells lie."""
        moved: dict[int, _Known] = {}
        for known in self._recent:
            if known.patch.region != region and id(known) not in moved:
                labels = to_host(known.labels).reshape(*_shape(known.patch.region), -1)
                patch = Patch(
                    region,
                    self._graphs.place(
                        relaid(to_host(known.patch.features)[0], known.patch.region, region)[None]
                    ),
                )
                where = relaid(labels, known.patch.region, region, self._outside)
                placed = self._graphs.place(where.reshape(-1, labels.shape[2]))
                moved[id(known)] = _Known(patch, placed)
        if moved:
            rows = [moved.get(id(known), known) for known in self._recent]
            self._recent.clear()
            self._recent.extend(rows)

    def _plan_of(self, region: Region) -> TilePlan:
        shape = _shape(region)
        if self._plan is None or self._plan[0] != shape:
            tile = best_tile(*shape, reach_of(min(self._radius, float(max(shape)))))
            self._plan = shape, TilePlan.build(*shape, self._radius, tile, self._kept)
        return self._plan[1]

    def _tiles_at_once(self, plan: TilePlan) -> int:
        """As many as the engines were built for; without engines, what memory is granted for."""
        per_tile, most = plan.query_index.shape[1], self._graphs.limit
        queries = most("propagate_global", QUERY_INDEX, 0)
        limits = [most("propagate_local", QUERY_INDEX, 0), queries and queries // per_tile]
        known = [limit for limit in limits if limit is not None]
        cost = plan.window_index.shape[1] * per_tile
        return max(1, min(known) if known else self._graphs.values_at_once() // cost)


def relaid(
    cells: AnyArray,
    old: Region,
    new: Region,
    fill: FloatArray | None = None,
) -> AnyArray:
    """(rows, cols, …) of one region, as another one of the same pitch sees them.

    Args:
        cells: Of the old region.
        old: Where they lie.
        new: What is wanted.
        fill: Of cells that the old region does not hold; zeros where it is None.
    """
    laid = np.zeros((new.rows, new.cols, cells.shape[2]), cells.dtype)
    if fill is not None:
        laid[:] = fill
    top, left = max(old.top, new.top), max(old.left, new.left)
    bottom = min(old.top + old.rows, new.top + new.rows)
    right = min(old.left + old.cols, new.left + new.cols)
    if top < bottom and left < right:
        shared = Region(top, left, bottom - top, right - left, new.pitch)
        _cells_of(laid, new, shared)[:] = _cells_of(cells, old, shared)
    return laid


def _cells_of(cells: AnyArray, region: Region, part: Region) -> AnyArray:
    """A view of the cells of a part of a region."""
    top, left = part.top - region.top, part.left - region.left
    return cells[top : top + part.rows, left : left + part.cols]


def _shape(region: Region) -> tuple[int, int]:
    return region.rows, region.cols


def _listed(cells: AnyArray, rows: int) -> AnyArray:
    """(n, C) cells as (1, rows, `_LIST_COLS`, C), filled up with zeros."""
    listed = np.zeros((rows * _LIST_COLS, cells.shape[1]), cells.dtype)
    listed[: len(cells)] = cells
    return listed.reshape(1, rows, _LIST_COLS, -1)
