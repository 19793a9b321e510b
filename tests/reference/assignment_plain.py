"""The best assignment under a limit, by trying all of them."""

from __future__ import annotations

from itertools import permutations

import numpy as np


def best_total(cost: np.ndarray, limit: float) -> float:
    """Smallest sum of `cost - limit` over all sets of pairs (no row and no column twice).

    Args:
        cost: (N, M), both small; what is not finite is never paired.
        limit: Pairs above it are never worth while.
    """
    if cost.shape[0] > cost.shape[1]:
        cost = cost.T
    rows, columns = cost.shape
    gain = np.where(np.isfinite(cost), cost - limit, 0.0)
    gain = np.minimum(gain, 0.0)
    if not rows:
        return 0.0
    return min(
        float(sum(gain[row, column] for row, column in enumerate(order)))
        for order in permutations(range(columns), rows)
    )
