"""Pairs of tracklets and detections at the smallest total cost, and what other classes cost."""

from __future__ import annotations

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
    finite = np.where(cost <= limit, cost, never).astype(np.float64, copy=False)
    _, of_row, _of_column = lap.lapjv(finite, extend_cost=True, cost_limit=limit)
    (which,) = (of_row >= 0).nonzero()
    which = which[cost[which, of_row[which]] <= limit]
    paired = of_row[which]
    left, free = np.ones(rows, np.bool_), np.ones(columns, np.bool_)
    left[which], free[paired] = False, False
    pairs = list(zip(which.tolist(), paired.tolist(), strict=True))
    return pairs, left.nonzero()[0].tolist(), free.nonzero()[0].tolist()
