"""Appearance costs of all pairs of tracklets and detections.

RSM is the method's, done in parts where there are too many points to do it at once.  The other two
are what the paper compares it with: they run on the host and are not made for speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isqrt

import numpy as np
import numpy.typing as npt

from ...records import IntArray
from ...runtime.inference.base import Array, Graphs, takes, to_host
from .tracklets import ObjectFeatures, filled_up, placed, rows_for, select_rows

MOST_BOX_POINTS = 40
"""Objects of more points than this are compared by the graph for masks."""

GROUPS = {"rsm": "rsm_groups", "rsm_masks": "rsm_mask_groups"}
"""The graphs that compare several groups in one launch, by those for one; bundles of before have
none, or that of boxes alone."""

_FLOOR = np.float32(1e-12)
Float32 = npt.NDArray[np.float32]


def rsm_costs(
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Array
) -> Float32:
    """Cost 1 - RSM of every pair.

    Where an engine takes fewer objects than there are, or memory would not do, the graph is run for
    some tracklets and some detections at a time.  The result is the same: what a part cannot know
    is only how the others' points weigh, and that is put together afterwards.

    Args:
        graphs: Runs `rsm` or `rsm_masks`, and `select`.
        tracks: N objects.
        detections: M objects.
        scale: (1,) float32, s of the softmax.

    Returns:
        (N, M) float32.
    """
    graph = _graph_for(max(tracks.mask.shape[1], detections.mask.shape[1]))
    tracks, detections = _trimmed(graphs, tracks), _trimmed(graphs, detections)
    n, m = len(tracks.mask), len(detections.mask)
    if not n or not m:
        return np.ones((n, m), np.float32)
    step_n, step_m = _steps(graphs, graph, tracks, detections)
    if step_n >= n and step_m >= m:
        whole = _run(graphs, graph, tracks, detections, scale)[0]
        return to_host(whole)[:n, :m]
    of_detections, of_tracks = _reconstructed(graphs, graph, tracks, detections, scale)
    if of_tracks is None:
        # The two sides of RSM are alike: what tracklets give of detections, detections give of
        # tracklets.
        of_tracks = _reconstructed(graphs, graph, detections, tracks, scale)[0].T
    cost: Float32 = 1 - np.float32(0.5) * (of_tracks + of_detections)
    return cost


def _steps(
    graphs: Graphs, graph: str, tracks: ObjectFeatures, detections: ObjectFeatures
) -> tuple[int, int]:
    """How many tracklets and how many detections one call takes."""
    (n, p), (m, r) = tracks.mask.shape, detections.mask.shape
    # The graph holds about five arrays of so many float32.
    most = graphs.values_at_once()
    step_m = min(m, graphs.limit(graph, 2, 0) or m, max(1, most // (p * r)))
    step_n = min(n, graphs.limit(graph, 0, 0) or n, max(1, most // (p * r * step_m)))
    return step_n, step_m


def _reconstructed(
    graphs: Graphs,
    graph: str,
    sources: ObjectFeatures,
    targets: ObjectFeatures,
    scale: Array,
) -> tuple[Float32, Float32 | None]:
    """Cosines of M targets with what each of N sources gives of them, in several calls.

    Returns:
        (N, M) float32; and the (N, M) cosines of the sources with what the targets give of them,
        which are known where one call takes all targets.
    """
    n, m = len(sources.mask), len(targets.mask)
    step_n, step_m = _steps(graphs, graph, sources, targets)
    # Of a part of the targets, three numbers are held for every source and every point.
    step_m = min(step_m, max(1, graphs.values_at_once() // (n * targets.mask.shape[1])))
    starts = range(0, n, step_n)
    parts = [_part(graphs, sources, low, min(low + step_n, n)) for low in starts]
    cosines = []
    for low in range(0, m, step_m):
        part = _part(graphs, targets, low, min(low + step_m, m))
        found = [
            [
                to_host(array)[: len(some.mask), : len(part.mask)]
                for array in _run(graphs, graph, some, part, scale)[1:]
            ]
            for some in parts
        ]
        of_sources, level, dot, square = (
            np.concatenate(arrays) for arrays in zip(*found, strict=True)
        )
        # The weights of the sources against one another are what a single call could not know.
        weight = np.exp(level - level.max(axis=0))
        weight /= weight.sum(axis=0)
        rebuilt = np.sqrt(np.maximum((weight * weight * square).sum(axis=2), 0))
        cosine = (weight * dot).sum(axis=2) / np.maximum(rebuilt, _FLOOR)
        cosine[~sources.present] = 0
        cosines.append(cosine)
    return np.concatenate(cosines, axis=1), of_sources if step_m >= m else None


def _graph_for(points: int) -> str:
    """The graph for objects of so many points: engines of the two are built for other sizes."""
    return "rsm" if points <= MOST_BOX_POINTS else "rsm_masks"


def _run(
    graphs: Graphs, graph: str, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Array
) -> tuple[Array, ...]:
    """One call; the result has a row or column for everything that stacks were filled up with."""
    points, mask = _feeds(graphs, graph, 0, tracks)
    return graphs.run(graph, points, mask, *_feeds(graphs, graph, 2, detections), scale)


def _feeds(
    graphs: Graphs, graph: str, input_index: int, objects: ObjectFeatures
) -> tuple[Array, Float32]:
    """Points and mask of as many rows as the graph should be given; those added have no point."""
    most = graphs.limit(graph, input_index, 0)
    if most is not None and objects.rows > most:
        # What they were filled up to for one graph is too much for another.
        objects = select_rows(graphs, [objects], np.arange(len(objects.mask)), most)
    if not isinstance(objects.points, np.ndarray):
        return objects.points, filled_up(objects.mask, objects.rows)
    rows = rows_for(graphs, graph, input_index, len(objects.mask))
    return filled_up(objects.points, rows), filled_up(objects.mask, rows)


def _trimmed(graphs: Graphs, objects: ObjectFeatures) -> ObjectFeatures:
    """The same objects without the points that all of them lack at the end.

    Masks are padded to the largest number of points that any could have, which is a multiple of
    what small ones need.  On a device they stay as they are: there, cutting is another graph.
    """
    if objects.mask[:, -1:].any():
        return objects
    used = np.flatnonzero(objects.mask.any(axis=0))
    points = graphs.filled(max(1, int(used[-1]) + 1 if len(used) else 0))
    if points >= objects.mask.shape[1] or not isinstance(objects.points, np.ndarray):
        return objects
    kept = np.ascontiguousarray(objects.points[:, :points])
    return ObjectFeatures(kept, np.ascontiguousarray(objects.mask[:, :points]))


def _part(graphs: Graphs, objects: ObjectFeatures, low: int, high: int) -> ObjectFeatures:
    if (low, high) == (0, len(objects.mask)):
        return objects
    return select_rows(graphs, [objects], np.arange(low, high))


def compares_groups(graphs: Graphs, graph: str) -> bool:
    """Whether `graph` compares groups at once: on a device, where launches and waits cost most."""
    return graphs.on_device and graph in graphs.spec.graphs


def grouped_costs(
    graphs: Graphs,
    stacks: Sequence[ObjectFeatures],
    groups: Sequence[tuple[IntArray, IntArray]],
    scale: Array,
) -> list[Float32] | None:
    """Cost 1 - RSM of every pair in each group, as `rsm_costs` gives it group by group.

    Args:
        graphs: Runs the graphs of `GROUPS`.
        stacks: One or two, of as many points an object each.
        groups: Rows of N tracklets and of M detections each, where the second stack's objects
            follow the first's.
        scale: (1,) float32, s of the softmax.

    Returns:
        (N, M) float32 of each group; None: one of them, or a stack, is more than the graph takes,
        or groups are not compared at once here.
    """
    first, last, points = stacks[0], stacks[-1], stacks[0].mask.shape[1]
    graph = GROUPS[_graph_for(points)]
    if not compares_groups(graphs, graph):
        return None
    most = graphs.limit(graph, 2, 0) or isqrt(graphs.values_at_once()) // points
    sizes = [(len(tracks), len(detections)) for tracks, detections in groups]
    fit = all(takes(graphs, graph, k, stack.points.shape) for k, stack in enumerate((first, last)))
    if not fit or max(map(max, sizes), default=0) > most:
        return None
    masks = np.concatenate([stack.mask for stack in stacks])
    costs: list[Array] = []
    parts = list(_packed(sizes, most))
    for part in parts:
        sides = zip(*groups[part], strict=True)
        rows = [np.concatenate([np.asarray(row, np.int64) for row in side]) for side in sides]
        count = rows_for(graphs, graph, 2, max(map(len, rows)))
        feeds: list[Array] = []
        for row, lengths in zip(rows, zip(*sizes[part], strict=True), strict=True):
            numbers = np.repeat(np.arange(len(lengths), dtype=np.float32), lengths)
            every = placed(first, row), masks[row], numbers
            feeds += [filled_up(array, count) for array in every]
        costs += graphs.run(graph, first.points, last.points, *feeds, scale)
    found = []
    # Nothing is waited for before all is under way.
    for part, cost in zip(parts, costs, strict=True):
        host, at = to_host(cost), (0, 0)
        for n, m in sizes[part]:
            found.append(host[at[0] : at[0] + n, at[1] : at[1] + m])
            at = at[0] + n, at[1] + m
    return found


def _packed(sizes: Sequence[tuple[int, int]], most: int) -> Iterator[slice]:
    """Groups that follow one another and together have no more than `most` of either side."""
    begin, total = 0, (0, 0)
    for number, size in enumerate(sizes):
        total = total[0] + size[0], total[1] + size[1]
        if max(total) > most:
            yield slice(begin, number)
            begin, total = number, size
    if begin < len(sizes):
        yield slice(begin, len(sizes))


def pooled_costs(
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Array
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
    graphs: Graphs, tracks: ObjectFeatures, detections: ObjectFeatures, scale: Array
) -> Float32:
    """Cost 1 - cosine of the objects' points laid end to end; see `pooled_costs`.

    Point n of one object is compared with point n of another, so both must have the same grid.
    """
    del graphs, scale
    flat = (_host_points(o).reshape(len(o.mask), -1) for o in (tracks, detections))
    return _cosine_costs(*flat)


def _host_points(objects: ObjectFeatures) -> Float32:
    """(N, P, C) on the host, zero where there is no point."""
    points: Float32 = objects.host_points().astype(np.float32) * objects.mask[..., None]
    return points


def _cosine_costs(tracks: Float32, detections: Float32) -> Float32:
    units = [
        v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), _FLOOR)
        for v in (tracks, detections)
    ]
    cost: Float32 = 1 - units[0] @ units[1].T
    return cost


Costs = Callable[[Graphs, ObjectFeatures, ObjectFeatures, Array], Float32]

SIMILARITIES: dict[str, Costs] = {
    "rsm": rsm_costs,
    "pooled": pooled_costs,
    "flattened": flattened_costs,
}
"""By the name that a head's parameter `similarity` takes."""
