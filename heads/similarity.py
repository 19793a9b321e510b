"""RSM costs of all pairs, in parts where there are too many points to do it at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runtime.engine import to_host
from ..runtime.graph_runner import GraphRunner
from .tracklets import ObjectFeatures

_MOST_AFFINITIES = 8_000_000
"""Of one call: the graph holds about six arrays of so many float32, some 200 MB."""


def rsm_costs(
    graphs: GraphRunner,
    tracks: ObjectFeatures,
    detections: ObjectFeatures,
    scale: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Cost 1 - RSM of every pair.

    A tracklet is reconstructed from all detections whichever other tracklets there are, and a
    detection from all tracklets; so each half of the similarity can be had for a few objects at a
    time, exactly.

    Args:
        graphs: Runs `rsm` and `select`.
        tracks: N objects.
        detections: M objects.
        scale: (1,) float32, s of the softmax.

    Returns:
        (N, M) float32.
    """
    n, p = tracks.mask.shape
    m, r = detections.mask.shape
    if n * p * m * r <= _MOST_AFFINITIES:
        return _run(graphs, tracks, detections, scale, 0)
    similarity = np.empty((n, m), np.float32)
    step = max(1, _MOST_AFFINITIES // (p * m * r))
    for low in range(0, n, step):
        some = _part(graphs, tracks, low, min(low + step, n))
        similarity[low : low + step] = _run(graphs, some, detections, scale, 1)
    step = max(1, _MOST_AFFINITIES // (n * p * r))
    for low in range(0, m, step):
        some = _part(graphs, detections, low, min(low + step, m))
        similarity[:, low : low + step] += _run(graphs, tracks, some, scale, 2)
    cost: npt.NDArray[np.float32] = 1 - np.float32(0.5) * similarity
    return cost


def _run(
    graphs: GraphRunner,
    tracks: ObjectFeatures,
    detections: ObjectFeatures,
    scale: npt.NDArray[np.float32],
    output: int,
) -> npt.NDArray[np.float32]:
    feeds = tracks.points, tracks.mask, detections.points, detections.mask, scale
    return to_host(graphs.run("rsm", *feeds)[output])


def _part(graphs: GraphRunner, objects: ObjectFeatures, low: int, high: int) -> ObjectFeatures:
    # By a graph, since the points may be on a device.
    (points,) = graphs.run("select", objects.points, objects.points, np.arange(low, high))
    return ObjectFeatures(points, objects.mask[low:high])
