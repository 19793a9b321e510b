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
    (which,) = (of_row >= 0).nonzero()
    which = which[cost[which, of_row[which]] <= limit]
    paired = of_row[which]
    left, free = np.ones(rows, np.bool_), np.ones(columns, np.bool_)
    left[which], free[paired] = False, False
    pairs = list(zip(which.tolist(), paired.tolist(), strict=True))
    return pairs, left.nonzero()[0].tolist(), free.nonzero()[0].tolist()


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
    (largest,) = (values == found).nonzero()
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
        columns: As `rows`.
        starts: (2, G) where each begins in `rows` and in `columns`.
        sizes: (2, G) how many it has of them.
    """

    rows: IntArray
    columns: IntArray
    starts: IntArray
    sizes: IntArray

    def __len__(self) -> int:
        return len(self.sizes[0])

    def __getitem__(self, number: int) -> tuple[IntArray, IntArray]:
        (row, column), (rows, columns) = self.starts[:, number], self.sizes[:, number]
        return self.rows[row : row + rows], self.columns[column : column + columns]

    def pairs(self, looks: IntArray) -> IntArray:
        """(G,) how many pairs of a look and a column each has, by so many looks of each row."""
        pairs: IntArray = np.add.reduceat(looks[self.rows], self.starts[0]) * self.sizes[1]
        return pairs

    def twos(self) -> tuple[IntArray, IntArray, IntArray]:
        """Those that are a row and a column: their numbers, the row and the column of each."""
        (numbers,) = (self.sizes == 1).all(axis=0).nonzero()
        row, column = self.starts[:, numbers]
        return numbers, self.rows[row], self.columns[column]


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
    numbers = np.append((labels[:-1] == np.arange(none)).nonzero()[0], none)
    sides = labels[:-1], of_columns
    orders = [side.argsort(kind="stable") for side in sides]
    ends = np.array(
        [side[order].searchsorted(numbers) for side, order in zip(sides, orders, strict=True)]
    )
    starts = ends[:, :-1]
    members, others = (order[:end] for order, end in zip(orders, ends[:, -1], strict=True))
    return Groups(members, others, starts, ends[:, 1:] - starts)
