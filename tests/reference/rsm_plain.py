"""Reconstruction similarity (paper, equation 2) with the reconstructions really built; float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def unit_rows(points: np.ndarray) -> np.ndarray:
    """(P, C) points divided by their norms; a zero point stays zero."""
    points = points.astype(np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays seen as one long vector each, norms floored at 1e-12."""
    floor = 1e-12
    product = float((a * b).sum())
    return product / max(np.linalg.norm(a), floor) / max(np.linalg.norm(b), floor)


def softmax_rows(logits: np.ndarray) -> np.ndarray:
    """Row by row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def rsm_cost(
    tracks: Sequence[np.ndarray], detections: Sequence[np.ndarray], scale: float
) -> np.ndarray:
    """Cost 1 - RSM of every pair.

    Args:
        tracks: N objects, each (its own number of points, C).
        detections: M objects likewise.
        scale: s of `softmax(s T Dᵀ)`.

    Returns:
        (N, M) float64; an object without points costs 1 with everything.
    """
    t = [unit_rows(points) for points in tracks]
    d = [unit_rows(points) for points in detections]
    cost = np.ones((len(t), len(d)))
    all_t, all_d = np.concatenate(t), np.concatenate(d)
    if not len(all_t) or not len(all_d):
        return cost
    forward = softmax_rows(scale * all_t @ all_d.T)
    backward = softmax_rows(scale * all_d @ all_t.T)
    t_ends = np.cumsum([0] + [len(points) for points in t])
    d_ends = np.cumsum([0] + [len(points) for points in d])
    for i in range(len(t)):
        for j in range(len(d)):
            if not len(t[i]) or not len(d[j]):
                continue
            rows, columns = slice(t_ends[i], t_ends[i + 1]), slice(d_ends[j], d_ends[j + 1])
            t_hat = forward[rows, columns] @ d[j]
            d_hat = backward[columns, rows] @ t[i]
            cost[i, j] = 1.0 - 0.5 * (cosine(t[i], t_hat) + cosine(d[j], d_hat))
    return cost
