"""RSM costs of all pairs, in parts where there are too many points to do it at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runtime.engine import Array, to_host
from ..runtime.graph_runner import GraphRunner
from .tracklets import ObjectFeatures

_MOST_AFFINITIES = 8_000_000
"""Of one call: the graph holds about five arrays of so many float32, some 160 MB."""

_FLOOR = np.float32(1e-12)

Float32 = npt.NDArray[np.float32]


def rsm_costs(
    graphs: GraphRunner, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Float32
) -> Float32:
    """Cost 1 - RSM of every pair.

    Args:
        graphs: Runs `rsm` and `select`.
        tracks: N objects.
        detections: M objects.
        scale: (1,) float32, s of the softmax.

    Returns:
        (N, M) float32.
    """
    tracks, detections = _without_padding(tracks), _without_padding(detections)
    n, p = tracks.mask.shape
    step = max(1, _MOST_AFFINITIES // (p * detections.mask.size))
    if step >= n:
        return to_host(_run(graphs, tracks, detections, scale)[0])
    parts = [
        [to_host(array) for array in _run(graphs, part, detections, scale)[1:]]
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


def _run(
    graphs: GraphRunner, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Float32
) -> tuple[Array, ...]:
    return graphs.run("rsm", tracks.points, tracks.mask, detections.points, detections.mask, scale)


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


def _part(graphs: GraphRunner, objects: ObjectFeatures, low: int, high: int) -> ObjectFeatures:
    # By a graph, since the points may be on a device.
    (points,) = graphs.run("select", objects.points, objects.points, np.arange(low, high))
    return ObjectFeatures(points, objects.mask[low:high])
