"""Label propagation (paper, section 2.3), one query cell after another, in float64.

    z_t(q) = Σ_k softmax_k(<x_q, x_k> / τ) z(k)

over the `top_k` most similar keys k of all memory frames together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def propagate(
    query: np.ndarray,
    keys: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    radii: Sequence[float | None],
    *,
    top_k: int,
    temperature: float,
) -> np.ndarray:
    """Labels of one frame.

    Args:
        query: (rows, cols, C).
        keys: (rows, cols, C) of every memory frame.
        labels: (rows * cols, L) of every memory frame.
        radii: Of every memory frame: keys count whose Euclidean distance in cells is strictly
            below it; None: all.
        top_k: Keys kept, of all frames together; fewer where fewer can be seen.
        temperature: τ.

    Returns:
        (rows * cols, L) float64.
    """
    rows, cols, _ = query.shape
    y, x = np.divmod(np.arange(rows * cols), cols)
    points = [unit(frame.reshape(rows * cols, -1)) for frame in keys]
    result = np.zeros((rows * cols, labels[0].shape[1]))
    for q, point in enumerate(unit(query.reshape(rows * cols, -1))):
        similar, values = [], []
        for frame, frame_labels, radius in zip(points, labels, radii, strict=True):
            distance = np.hypot(y - y[q], x - x[q])
            seen = np.ones(rows * cols, bool) if radius is None else distance < radius
            similar.append(frame[seen] @ point)
            values.append(frame_labels[seen].astype(np.float64))
        similarity, value = np.concatenate(similar), np.concatenate(values)
        kept = np.argsort(-similarity, kind="stable")[:top_k]
        weight = np.exp((similarity[kept] - similarity[kept].max()) / temperature)
        result[q] = weight / weight.sum() @ value[kept]
    return result


def propagate_video(
    frames: Sequence[np.ndarray],
    first_labels: np.ndarray,
    *,
    memory: int,
    radius: float,
    first_radius: float | None,
    top_k: int,
    temperature: float,
) -> list[np.ndarray]:
    """Labels of frames 1, 2, … from those of frame 0, each frame joining the memory.

    The memory is frame 0 and the last `memory` frames, where frame 0 stands in for frames before
    the video.
    """
    known = [first_labels.astype(np.float64)]
    for number in range(1, len(frames)):
        recent = [max(0, number - back) for back in range(memory, 0, -1)]
        which = [0, *recent]
        known.append(
            propagate(
                frames[number],
                [frames[i] for i in which],
                [known[i] for i in which],
                [first_radius, *[radius] * len(recent)],
                top_k=top_k,
                temperature=temperature,
            )
        )
    return known[1:]


def unit(points: np.ndarray) -> np.ndarray:
    """Rows divided by their norms."""
    points = points.astype(np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
