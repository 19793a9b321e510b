"""Pairs of tracklets and detections: who may be whom, and the smallest total cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lap
import numpy as np
import numpy.typing as npt

from ...records import IntArray

OTHER_CLASS_COST = 0.1
"""What a match with a detection of another class costs more: of two, that of its own class wins."""


def class_costs(own: IntArray, classes: IntArray, *, apart: bool) -> npt.NDArray[np.float64]:
    """What matches cost more because of their classes.

    Args:
        own: Classes of tracklets.
        classes: Of detections, in shapes that broadcast; -1 where not known.
        apart: Whether no match between two classes is possible.

    Returns:
        In their common shape: 0 within a class and, unless `apart`, where one is not known.
    """
    other = own != classes
    if not apart:
        other &= (own >= 0) & (classes >= 0)
    return np.where(other, np.inf if apart else OTHER_CLASS_COST, 0.0)


Pairs = list[tuple[int, int]]


def assign(cost: npt.NDArray[Any], limit: float) -> tuple[Pairs, list[int], list[int]]:
    """Pair rows with columns at the smallest total cost.

    Leaving a row and a column unpaired costs `limit` together, so no pair costs more.

    Args:
        cost: (N, M); infinite or NaN entries are never paired. Left as it is.
        limit: Largest cost of a pair.

    Returns:
        The pairs in the order of the rows, the unmatched rows, the unmatched columns.
    """
    rows, columns = cost.shape
    if rows == 0 or columns == 0:
        return [], list(range(rows)), list(range(columns))
    # lap wants finite numbers: twice the limit is as good as never.
    never = 2.0 * limit + 1.0
    finite = np.where(cost <= limit, cost, never).astype(np.float64)
    _, of_row, _of_column = lap.lapjv(finite, extend_cost=True, cost_limit=limit)
    which = np.flatnonzero(of_row >= 0)
    which = which[cost[which, of_row[which]] <= limit]
    paired = of_row[which]
    left, free = np.ones(rows, np.bool_), np.ones(columns, np.bool_)
    left[which], free[paired] = False, False
    pairs = list(zip(which.tolist(), paired.tolist(), strict=True))
    return pairs, np.flatnonzero(left).tolist(), np.flatnonzero(free).tolist()


def best_others(lines: IntArray, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(P,) of each value the largest other one in its line, at least 0.

    Args:
        lines: (P,) number of the line that each value is in.
        values: (P,).
    """
    best = np.zeros(lines.max(initial=-1) + 1)
    second = best.copy()
    np.maximum.at(best, lines, values)
    found = best[lines]
    # One of the largest in each line, which has another one as large where there are more.
    holders = np.full(len(best), -1)
    largest = np.flatnonzero(values == found)
    holders[lines[largest]] = largest
    holders = holders[holders >= 0]
    rest = values.copy()
    rest[holders] = 0.0
    np.maximum.at(second, lines, rest)
    found[holders] = second[lines[holders]]
    return found


@dataclass(frozen=True, slots=True)
class Groups:
    """G groups of rows and columns: no row of one is linked to a column of another.

    Attributes:
        rows: Group by group the numbers of its rows, rising; groups in the order of their first.
        row_starts: (G + 1,) where each begins in `rows`, and the last one ends.
        columns: As `rows`.
        column_starts: As `row_starts`.
    """

    rows: IntArray
    row_starts: IntArray
    columns: IntArray
    column_starts: IntArray

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    def __getitem__(self, number: int) -> tuple[IntArray, IntArray]:
        sides = (self.rows, self.row_starts), (self.columns, self.column_starts)
        rows, columns = (side[starts[number] : starts[number + 1]] for side, starts in sides)
        return rows, columns

    def pairs(self, looks: IntArray) -> IntArray:
        """(G,) how many pairs of a look and a column each has, by so many looks of each row."""
        totals = np.append(0, looks[self.rows].cumsum())[self.row_starts]
        pairs: IntArray = np.diff(totals) * np.diff(self.column_starts)
        return pairs

    def twos(self) -> tuple[IntArray, IntArray, IntArray]:
        """Those that are a row and a column: their numbers, the row and the column of each."""
        sizes = np.diff(self.row_starts), np.diff(self.column_starts)
        numbers = np.flatnonzero((sizes[0] == 1) & (sizes[1] == 1))
        first = self.row_starts[numbers], self.column_starts[numbers]
        return numbers, self.rows[first[0]], self.columns[first[1]]


def groups(rows: IntArray, columns: IntArray) -> Groups:
    """Rows and columns that hang together.

    Args:
        rows: (P,) of every link, its row.
        columns: (P,) its column.
    """
    none = rows.max(initial=-1) + 1
    # Everything gets the least row that it can be reached from, step by step.
    labels = np.full(none + 1, none)
    labels[rows] = rows
    while True:
        of_columns = np.full(columns.max(initial=-1) + 1, none)
        np.minimum.at(of_columns, columns, labels[rows])
        least = labels.copy()
        np.minimum.at(least, rows, of_columns[columns])
        least = least[least]
        if (least == labels).all():
            break
        labels = least
    # Every group has the number of its first row.
    numbers = np.append(np.flatnonzero(labels[:-1] == np.arange(none)), none)
    sides = []
    for of_side in (labels[:-1], of_columns):
        order = np.argsort(of_side, kind="stable")
        sides += [order, np.searchsorted(of_side[order], numbers)]
    return Groups(*sides)
