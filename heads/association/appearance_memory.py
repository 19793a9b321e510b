"""What each tracklet is remembered to look like: several features, spread over time.

The look of the last match alone is a poor memory: it is often the one in which somebody else
already covered half of the object.  A tracklet therefore keeps its newest feature and snapshots
of earlier ones, at least an interval apart, and the best of them decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, IntArray
from ...runtime.inference.base import Array, Graphs
from .similarity import SIMILARITIES, grouped_costs
from .tracklets import ObjectFeatures, Tracklet, select_rows

EPSILON_S = 1e-6
"""Times are sums of floats: so much is no difference."""

New = TypeVar("New")
"""What there is of a frame's M objects, row by row."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tracklets and objects of a frame of which any may belong together.

    Attributes:
        tracklets: N of those that were given to the last `update`.
        looks: (N,) how many of its newest features each is compared by.
        rows: (M,) of the frame's objects.
    """

    tracklets: Sequence[Tracklet]
    looks: IntArray
    rows: IntArray

    @property
    def numbers(self) -> list[list[int]]:
        """The features of each tracklet, as its memory numbers them."""
        pairs = zip(self.tracklets, self.looks.tolist(), strict=True)
        return [tracklet.memory[:count] for tracklet, count in pairs]


class Memory(ABC, Generic[New]):
    """What the tracklets of one video look like; the numbers in `Tracklet.memory` are its own.

    Args:
        graphs: Runs the graph of the similarity.
        size: Most features a tracklet, at least 1.
        interval_s: Time between two snapshots, in seconds.
    """

    def __init__(self, graphs: Graphs, size: int, interval_s: float) -> None:
        self._graphs = graphs
        self._size = size
        self._interval_s = interval_s

    def compare(
        self, comparisons: Sequence[Comparison], new: New, similarity: str, scale: Array
    ) -> list[npt.NDArray[np.float64]]:
        """Appearance cost of every pair: the least over a tracklet's features.

        Args:
            comparisons: Each by itself: what is compared in one changes nothing in another.
            new: Of the frame's objects.
            similarity: Key of `similarity.SIMILARITIES`.
            scale: (1,) float32, s of `softmax(s T Dᵀ)`.

        Returns:
            (N, M) float64 of each; infinite where either has no point.
        """
        self._prepare(comparisons, new)
        if comparisons and similarity == "rsm" and self._graphs.on_device:
            stacks = self._stacks(new)
            groups = [
                (self._rows(_joined(c.numbers)), self._new_rows(new, c.rows)) for c in comparisons
            ]
            found = grouped_costs(self._graphs, stacks, groups, scale) if stacks else None
            if found is not None:
                present = np.concatenate([stack.present for stack in stacks])
                return [
                    _least(costs, c.numbers, present[rows])
                    for costs, c, (_, rows) in zip(found, comparisons, groups, strict=True)
                ]
        return [self._costs(one, new, similarity, scale) for one in comparisons]

    def _costs(
        self, comparison: Comparison, new: New, similarity: str, scale: Array
    ) -> npt.NDArray[np.float64]:
        """See `compare`."""
        numbers = comparison.numbers
        detections, rows = self.some(new, comparison.rows), _joined(numbers)
        if not len(rows) or not len(detections.mask):
            return np.full((len(numbers), len(detections.mask)), np.inf)
        compare = SIMILARITIES[similarity]
        costs = compare(self._graphs, self._remembered(rows), detections, scale)
        return _least(costs, numbers, detections.present)

    def _prepare(self, comparisons: Sequence[Comparison], new: New) -> None:
        """Learn what will be compared."""

    @abstractmethod
    def _stacks(self, new: New) -> list[ObjectFeatures]:
        """One or two stacks of all that is remembered, and of what is compared of the frame's."""

    @abstractmethod
    def _rows(self, numbers: IntArray) -> IntArray:
        """Where numbers of `Tracklet.memory` are in the stacks."""

    @abstractmethod
    def _new_rows(self, new: New, rows: IntArray) -> IntArray:
        """Where the frame's objects are in the stacks."""

    @abstractmethod
    def some(self, new: New, rows: IntArray) -> ObjectFeatures:
        """Features of some of the frame's objects."""

    @abstractmethod
    def update(self, tracklets: Sequence[Tracklet], new: New | None, time_s: float) -> None:
        """Keep the features of `tracklets` only, and learn from the matches of this frame.

        The newest feature is replaced in every match; where the last snapshot is an interval old,
        it becomes a snapshot instead, and the oldest one goes.  A match without any point teaches
        nothing.  Rows may be numbered anew.

        Args:
            tracklets: All that are left, with `detection` set for those matched in this frame.
            new: Of the frame's detections; None where there is none.
            time_s: Time of the frame.
        """

    @abstractmethod
    def _remembered(self, rows: IntArray) -> ObjectFeatures:
        """Features of numbers of `Tracklet.memory`."""

    def _learn(
        self, tracklets: Sequence[Tracklet], present: BoolArray, first: int, time_s: float
    ) -> None:
        """Number the features of the matched.

        Args:
            tracklets: All that are left.
            present: (M,) which of the frame's objects have any point.
            first: Number of the first of these.
            time_s: Time of the frame.
        """
        for tracklet in tracklets:
            rows = tracklet.memory
            if 0 <= tracklet.detection < len(present) and present[tracklet.detection]:
                due = time_s - tracklet.snapshot_s >= self._interval_s - EPSILON_S
                if due or not rows:
                    tracklet.snapshot_s = time_s
                earlier = rows if due else rows[1:]
                tracklet.memory = [first + tracklet.detection, *earlier][: self._size]


def _joined(numbers: Sequence[Sequence[int]]) -> IntArray:
    return np.array([number for some in numbers for number in some], np.int64)


def _least(
    costs: npt.NDArray[np.float32], numbers: Sequence[Sequence[int]], present: BoolArray
) -> npt.NDArray[np.float64]:
    """The least cost of each tracklet's features, one below the other; infinite without any.

    Args:
        costs: A row a feature, a column an object.
        numbers: The features of each tracklet.
        present: Which objects have any point.
    """
    least = np.full((len(numbers), len(present)), np.inf)
    lengths = [len(some) for some in numbers]
    known = [row for row, length in enumerate(lengths) if length]
    if costs.size:
        starts = [0, *accumulate(lengths[row] for row in known[:-1])]
        least[known] = np.minimum.reduceat(costs, starts, axis=0)
    if not present.all():
        least[:, ~present] = np.inf
    return least


class AppearanceMemory(Memory[ObjectFeatures]):
    """Features that are computed for every object of every frame, kept where they were computed.

    A tracklet's numbers are rows of `features`.

    Args:
        graphs: Runs `select` and the graph of the similarity.
        size: Most features a tracklet, at least 1.
        interval_s: Time between two snapshots, in seconds.
    """

    def __init__(self, graphs: Graphs, size: int, interval_s: float) -> None:
        super().__init__(graphs, size, interval_s)
        self.features: ObjectFeatures | None = None

    def some(self, new: ObjectFeatures, rows: IntArray) -> ObjectFeatures:
        """Features of some of the frame's objects."""
        return select_rows(self._graphs, [new], rows)

    def _stacks(self, new: ObjectFeatures) -> list[ObjectFeatures]:
        return [new] if self.features is None else [self.features, new]

    def _rows(self, numbers: IntArray) -> IntArray:
        return numbers

    def _new_rows(self, new: ObjectFeatures, rows: IntArray) -> IntArray:  # noqa: ARG002
        return rows if self.features is None else rows + len(self.features.mask)

    def update(
        self, tracklets: Sequence[Tracklet], new: ObjectFeatures | None, time_s: float
    ) -> None:
        """See `Memory`."""
        # Rows from here on are those of `new`.
        count = 0 if self.features is None else len(self.features.mask)
        self._learn(tracklets, _present(new), count, time_s)
        stacks = [features for features in (self.features, new) if features is not None]
        # What is kept is put side by side, where it is: engines write no rows.
        sources: list[int] = []
        for tracklet in tracklets:
            first = len(sources)
            sources += tracklet.memory
            tracklet.memory = list(range(first, len(sources)))
        if not sources:
            self.features = None
        elif sources != list(range(count)):
            self.features = select_rows(self._graphs, stacks, np.array(sources, np.int64))

    def _remembered(self, rows: IntArray) -> ObjectFeatures:
        every = self.features
        if every is None:
            raise ValueError("numbers of features, and there is none")
        if len(rows) < len(every.mask) or (rows != np.arange(len(rows))).any():
            return select_rows(self._graphs, [every], rows)
        return every


class HostMemory(AppearanceMemory):
    """The same on the host, where nothing is copied but what stays for long.

    A feature is its frame's rows, which `update` was given and nobody may change.  These frames are
    held whole, so what outlives as many updates as a tracklet has features is copied out of them.
    A tracklet's numbers are those of its features, counted from the first one.
    """

    def __init__(self, graphs: Graphs, size: int, interval_s: float) -> None:
        super().__init__(graphs, size, interval_s)
        # The last frames, and where each begins; then what is left of earlier ones, by number.
        self._frames: list[ObjectFeatures | None] = [None] * size
        self._firsts = [0] * (size + 1)
        self._copies: dict[int, ObjectFeatures] = {}

    def update(
        self, tracklets: Sequence[Tracklet], new: ObjectFeatures | None, time_s: float
    ) -> None:
        """See `Memory`."""
        first, present = self._firsts[-1], _present(new)
        self._learn(tracklets, present, first, time_s)
        oldest, copies = self._firsts[1], {}
        for tracklet in tracklets:
            # The newest come first.
            for number in reversed(tracklet.memory):
                if number >= oldest:
                    break
                copies[number] = self._copies.get(number) or self._copied(number)
        self._copies = copies
        self._frames = [*self._frames[1:], new]
        self._firsts = [*self._firsts[1:], first + len(present)]

    def _copied(self, number: int) -> ObjectFeatures:
        points, mask = self._row(number)
        return ObjectFeatures(points[None].copy(), mask[None].copy())

    def _row(self, number: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """(P, C) points and (P,) mask."""
        frame = bisect_right(self._firsts, number) - 1
        found = self._frames[frame] if frame >= 0 else self._copies[number]
        if found is None:
            raise ValueError(f"number {number} of a feature, and there is none")
        row = number - self._firsts[frame] if frame >= 0 else 0
        return np.asarray(found.points)[row], found.mask[row]

    def _remembered(self, rows: IntArray) -> ObjectFeatures:
        points, masks = zip(*(self._row(number) for number in rows.tolist()), strict=True)
        shape = len(rows), *points[0].shape
        return ObjectFeatures(
            np.concatenate(points).reshape(shape), np.concatenate(masks).reshape(shape[:2])
        )


def _present(new: ObjectFeatures | None) -> BoolArray:
    points = np.zeros((0, 1)) if new is None else new.mask
    return np.asarray(points.any(axis=1), np.bool_)
