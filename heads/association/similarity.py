"""Appearance costs of all pairs of tracklets and detections.

RSM is the method's, done in parts where there are too many points to do it at once.  The other two
are what the paper compares it with: they run on the host and are not made for speed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...runtime.inference.base import Graphs, to_host
from .tracklets import ObjectFeatures, select_rows

_MOST_AFFINITIES = 8_000_000
"""Of one call: the graph holds about five arrays of so many float32, some 160 MB."""

MOST_BOX_POINTS = 40
"""Objects of more points than this are compared by the graph for masks."""

_FLOOR = np.float32(1e-12)
Float32 = npt.NDArray[np.float32]


def rsm_costs(
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Float32
) -> Float32:
    """Cost 1 - RSM of every pair.

    Args:
        graphs: Runs `rsm` or `rsm_masks`, and `select`.
        tracks: N objects.
        detections: M objects.
        scale: (1,) float32, s of the softmax.

    Returns:
        (N, M) float32.
    """
    graph = _graph_for(max(tracks.mask.shape[1], detections.mask.shape[1]))
    tracks, detections = _without_padding(tracks), _without_padding(detections)
    n, p = tracks.mask.shape
    step = max(1, _MOST_AFFINITIES // (p * detections.mask.size))
    # An engine takes no more objects than it was built for.
    step = min(step, graphs.limit(graph, 0, 0) or step)
    against = detections.points, detections.mask, scale
    if step >= n:
        whole = graphs.run(graph, tracks.points, tracks.mask, *against)[0]
        return whole if isinstance(whole, np.ndarray) else whole.to_host()
    parts = [
        [to_host(array) for array in graphs.run(graph, part.points, part.mask, *against)[1:]]
        for part in (_part(graphs, tracks, low, min(low + step, n)) for low in range(0, n, step))
    ]
    of_tracks, level, dot, square = (np.concatenate(found) for found in zip(*parts, strict=True))
    # The weights of the tracklets against one another are what a single call could not know.
    weight = np.exp(level - level.max(axis=0))
    weight /= weight.sum(axis=0)
    rebuilt = np.sqrt(np.maximum((weight * weight * square).sum(axis=2), 0))
    of_detections = (weight * dot).sum(axis=2) / np.maximum(rebuilt, _FLOOR)
    of_detections[~tracks.present] = 0
    cost: Float32 = 1 - np.float32(0.5) * (of_tracks + of_detections)
    return cost


def _graph_for(points: int) -> str:
    """The graph for objects of so many points: engines of the two are built for other sizes."""
    return "rsm" if points <= MOST_BOX_POINTS else "rsm_masks"


def _without_padding(objects: ObjectFeatures) -> ObjectFeatures:
    """The same objects without the points that all of them lack at the end.

    Masks are padded to the largest number of points that any could have, which is a multiple of
    what small ones need.  On a device they stay as they are: there, cutting is another graph.
    """
    used = np.flatnonzero(objects.mask.any(axis=0))
    points = max(1, int(used[-1]) + 1 if len(used) else 0)
    if points == objects.mask.shape[1] or not isinstance(objects.points, np.ndarray):
        return objects
    kept = np.ascontiguousarray(objects.points[:, :points])
    return ObjectFeatures(kept, np.ascontiguousarray(objects.mask[:, :points]))


def _part(graphs: Graphs, objects: ObjectFeatures, low: int, high: int) -> ObjectFeatures:
    return select_rows(graphs, [objects], np.arange(low, high))


def pooled_costs(
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Float32
) -> Float32:
    """Cost 1 - cosine of the objects' mean points.

    Args:
        graphs: Not used, nor is `scale`: all costs are called alike.
        tracks: N objects.
        detections: M objects.
        scale: See `graphs`.

    Returns:
        (N, M) float32; 1 for an object without a point.
    """
    del graphs, scale
    return _cosine_costs(*(_host_points(o).sum(axis=1) for o in (tracks, detections)))


def flattened_costs(
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Float32
) -> Float32:
    """Cost 1 - cosine of the objects' points laid end to end; see `pooled_costs`.

    Point n of one object is compared with point n of another, so both must have the same grid.
    """
    del graphs, scale
    flat = (_host_points(o).reshape(len(o.mask), -1) for o in (tracks, detections))
    return _cosine_costs(*flat)


def _host_points(objects: ObjectFeatures) -> Float32:
    """(N, P, C) on the host, zero where there is no point."""
    points: Float32 = to_host(objects.points).astype(np.float32) * objects.mask[..., None]
    return points


def _cosine_costs(tracks: Float32, detections: Float32) -> Float32:
    units = [
        v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), _FLOOR)
        for v in (tracks, detections)
    ]
    cost: Float32 = 1 - units[0] @ units[1].T
    return cost


Costs = Callable[[Graphs, ObjectFeatures, ObjectFeatures, Float32], Float32]

SIMILARITIES: dict[str, Costs] = {
    "rsm": rsm_costs,
    "pooled": pooled_costs,
    "flattened": flattened_costs,
}
"""By the name that a head's parameter `similarity` takes."""
