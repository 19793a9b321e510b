"""Tracklets: what is remembered of each object, and where its appearance is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from ...records import IntArray
from ...runtime.inference.base import Array, Graphs, to_host
from .kalman import BoxFilter


class State(Enum):
    """Life of a tracklet: unconfirmed → tracked ↔ lost → gone."""

    UNCONFIRMED = auto()
    TRACKED = auto()
    LOST = auto()


@dataclass(slots=True)
class Tracklet:
    """One object over time.

    Attributes:
        id: From 1, never used twice by one head.
        state: Where it is in its life.
        filter: Its motion.
        class_id: Of most of its matches; -1 while none had a class.
        first_frame: Index of the frame of its first match.
        last_frame: Index of the frame of its last match.
        detection: Row of its match in the current frame's detections, -1 if it has none.
        row: Its row in the feature bank, -1 before it had any feature.
        memory: Its rows in the appearance memory, newest first.
        snapshot_s: Time of the newest of them that stays, in seconds.
        last_s: Time of its last match, in seconds.
        score: Of its last match.
        matches: How many it had.
        path: Time in seconds and centre of its latest matches, oldest first.
        votes: How many of each class.
        box: (4,) left, top, right, bottom in source pixels: of its motion filter after the frame.
    """

    id: int
    state: State
    filter: BoxFilter
    class_id: int
    first_frame: int
    last_frame: int
    detection: int
    row: int = -1
    memory: list[int] = field(default_factory=list)
    snapshot_s: float = -inf
    last_s: float = 0.0
    score: float = 0.0
    matches: int = 0
    path: list[tuple[float, float, float]] = field(default_factory=list)
    votes: dict[int, int] = field(default_factory=dict)
    box: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))

    @property
    def age(self) -> int:
        """Frames between its first and its last match."""
        return self.last_frame - self.first_frame


def vote(tracklet: Tracklet, class_id: int) -> None:
    """Count the class of a match; one that is not known (-1) says nothing."""
    if class_id < 0:
        return
    votes = tracklet.votes
    votes[class_id] = votes.get(class_id, 0) + 1
    if tracklet.class_id < 0 or votes[class_id] > votes[tracklet.class_id]:
        tracklet.class_id = class_id


def follow(tracklet: Tracklet, centre_xy: Sequence[float], time_s: float, oldest_s: float) -> None:
    """Note where a tracklet was matched; of earlier places one from before `oldest_s` stays.

    Args:
        tracklet: It.
        centre_xy: Of its match.
        time_s: Now, in seconds.
        oldest_s: In seconds.
    """
    x, y = centre_xy
    path = tracklet.path
    path.append((time_s, x, y))
    while len(path) > 1 and path[1][0] <= oldest_s:
        path.pop(0)


@dataclass(frozen=True, slots=True)
class ObjectFeatures:
    """Appearance of N objects.

    Attributes:
        points: (N, P, C) unit points; on a device maybe more rows, which are of no object.
        mask: (N, P) float32, 1 where there is a point; a row of zeros is an object without any.
    """

    points: Array
    mask: npt.NDArray[np.float32]

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: objects with at least one point."""
        return np.asarray(self.mask.any(axis=1), np.bool_)

    @property
    def rows(self) -> int:
        """Of `points`: N, or more."""
        return self.points.shape[0]

    def host_points(self) -> npt.NDArray[Any]:
        """(N, P, C) on the host."""
        return to_host(self.points)[: len(self.mask)]


def rows_for(graphs: Graphs, graph: str, input_index: int, count: int) -> int:
    """How many rows a stack of `count` objects has where a graph takes it; at least `count`.

    Args:
        graphs: Runs `graph`, whose engine may take no more than a number of rows.
        graph: Its name.
        input_index: Of the stack.
        count: Of objects.
    """
    most = graphs.limit(graph, input_index, 0)
    wanted = graphs.filled(count)
    return wanted if most is None else max(count, min(wanted, most))


def filled_up(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """(rows, …) that begins with an array (N, …), N ≤ rows, and is 0 from there on."""
    if len(array) == rows:
        return array
    whole = np.zeros((rows, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole


def select_rows(
    graphs: Graphs, stacks: Sequence[ObjectFeatures], rows: IntArray, most: int | None = None
) -> ObjectFeatures:
    """Some of the objects of one or two stacks.

    What lies on the host is gathered there. An engine takes stacks up to a size; larger ones are
    put together on the host too.

    Args:
        graphs: Runs `select`.
        stacks: One or two, of as many points an object each.
        rows: (K,) int64, where the second stack's objects follow the first's.
        most: Most rows of the result, at least K; None: any number.
    """
    first, last = stacks[0], stacks[-1]
    if len(stacks) == 1 and isinstance(first.points, np.ndarray):
        return ObjectFeatures(first.points[: len(first.mask)].take(rows, 0), first.mask[rows])
    mask = (first.mask if len(stacks) == 1 else np.concatenate([s.mask for s in stacks]))[rows]
    count = rows_for(graphs, "select", 2, len(rows))
    count = count if most is None else min(count, most)
    sizes = first.rows, last.rows, count
    host = all(isinstance(stack.points, np.ndarray) for stack in stacks)
    if host or not _fits(graphs, sizes):
        return ObjectFeatures(_gathered([stack.host_points() for stack in stacks], rows), mask)
    # A graph takes no empty stack: one that is missing is stood in for by the other, whose rows
    # are then not chosen.
    places = filled_up(placed(first, rows), count)
    (points,) = graphs.run("select", first.points, last.points, places)
    return ObjectFeatures(points, mask)


def placed(first: ObjectFeatures, rows: IntArray) -> IntArray:
    """Rows of two stacks for a graph: the second begins after what the first was filled up with."""
    return np.where(rows < len(first.mask), rows, rows + first.rows - len(first.mask))


def points_of(graphs: Graphs, graph: str, features: Array, *feeds: npt.NDArray[Any]) -> Array:
    """Points of N objects of a frame, in as many calls as the engine needs.

    Args:
        graphs: Runs `graph`.
        graph: `box_features` or `point_features`.
        features: Of the frame.
        *feeds: Its other inputs, a row an object.

    Returns:
        (N, P, C) on the host, where it took several calls too; (N or more, P, C) on a device.
    """
    count = len(feeds[0])
    most, rows = graphs.limit(graph, 1, 0) or count, graphs.filled(count)
    if rows == count <= most:
        return graphs.run(graph, features, *feeds)[0]
    parts = []
    for low in range(0, count, most):
        size = min(most, count - low)
        rows = rows_for(graphs, graph, 1, size)
        some = [filled_up(feed[low : low + size], rows) for feed in feeds]
        parts.append((graphs.run(graph, features, *some)[0], size))
    if len(parts) == 1:
        return parts[0][0]
    return np.concatenate([to_host(part)[:size] for part, size in parts])


def _fits(graphs: Graphs, sizes: tuple[int, int, int]) -> bool:
    limits = [graphs.limit("select", number, 0) for number in range(3)]
    return all(limit is None or size <= limit for size, limit in zip(sizes, limits, strict=True))


def _gathered(stacks: Sequence[npt.NDArray[np.float32]], rows: IntArray) -> Array:
    """Rows of stacks on the host, each copied once."""
    points = np.empty((len(rows), *stacks[0].shape[1:]), stacks[0].dtype)
    every = [row for stack in stacks for row in stack]
    for place, row in enumerate(rows.tolist()):
        points[place] = every[row]
    return points


class FeatureBank:
    """Features of the last match of every tracklet, kept where they were computed.

    Args:
        graphs: Runs `select`.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self.features: ObjectFeatures | None = None

    def update(self, tracklets: list[Tracklet], new: ObjectFeatures | None) -> None:
        """Keep the features of `tracklets` only, those matched in this frame renewed.

        A tracklet whose match has no point keeps what it had.  Rows are numbered anew.
        """
        old_count = 0 if self.features is None else len(self.features.mask)
        fresh = np.zeros(0, np.bool_) if new is None else new.present
        sources: list[int] = []
        kept: list[Tracklet] = []
        for tracklet in tracklets:
            if tracklet.detection >= 0 and len(fresh) and fresh[tracklet.detection]:
                sources.append(old_count + tracklet.detection)
            elif tracklet.row >= 0:
                sources.append(tracklet.row)
            else:
                continue
            kept.append(tracklet)
        if not kept:
            self.features = None
        elif sources != list(range(old_count)):
            stacks = [features for features in (self.features, new) if features is not None]
            self.features = select_rows(self._graphs, stacks, np.array(sources, np.int64))
        for row, tracklet in enumerate(kept):
            tracklet.row = row
