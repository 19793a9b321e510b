"""Tasks on several sides that start every frame from the same state: nothing is fed back.

A head decides (this scale, that match), and what it decided changes what it sees next.  Where two
choices are nearly equal, two computations that differ in the seventh digit may choose differently
and never meet again, so results of whole runs say little about how exactly either computes.  Here
the reference alone carries the state.  In every frame each candidate gets a copy of it, computes
the frame from the image on, and is compared in the numbers that the head decides from, all of which
are continuous: costs of pairs, label scores of cells, responses to a target.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...records import Detections, Frame, Tracks
from ...runtime.head import Head
from ...runtime.inference.base import HOST_VALUES, Array, Graphs, to_host
from ...runtime.preprocessing import FeatureMap
from .graphs import MATCHED_BELOW

Float64 = npt.NDArray[np.float64]

DECIDING = frozenset({"rsm", "rsm_masks", "propagate_labels", "xcorr", "dcf_response"})
"""Graphs whose first output heads decide from."""

_REMEMBERED = 4
"""Passes of the backbone whose image is kept: heads of one frame share one, or a few."""


class Tap(Graphs):
    """Graphs of one side, with what its deciding graphs gave since `decided` was emptied.

    Args:
        inner: What computes.
        limit: Of all sides together, so that every side works in the same parts.

    Attributes:
        decided: Name and first output of every deciding graph that ran, in order.
    """

    def __init__(self, inner: Graphs, limit: Callable[[str, int, int], int | None]) -> None:
        self.spec = inner.spec
        self.decided: list[tuple[str, Float64]] = []
        self._inner = inner
        self._limit = limit
        self._passes: list[tuple[Array, Array]] = []

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph; a state of the other side is converted to this side's element types."""
        inputs = self.spec.graphs[graph].inputs
        taken = [_converted(feed, t.dtype) for feed, t in zip(feeds, inputs, strict=True)]
        outputs = self._inner.run(graph, *taken)
        if graph in DECIDING:
            self.decided.append((graph, np.array(to_host(outputs[0]), np.float64)))
        if graph == "backbone":
            self._passes = [*self._passes[1 - _REMEMBERED :], (outputs[0], feeds[0])]
        return outputs

    def place(self, array: Array) -> Array:
        """See `Graphs`."""
        return self._inner.place(array)

    def limit(self, graph: str, input_index: int, axis: int) -> int | None:
        """See `Graphs`."""
        return self._limit(graph, input_index, axis)

    def values_at_once(self) -> int:
        """The same for all sides."""
        return HOST_VALUES

    def image_of(self, features: Array) -> Array:
        """The image that the backbone made these features of."""
        return next(image for found, image in self._passes if found is features)


class Candidate:
    """A side that is judged.

    Args:
        tap: Its graphs.
    """

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self._last: tuple[Array, FeatureMap] | None = None

    def features(self, reference: Tap, features: FeatureMap | None) -> FeatureMap | None:
        """This side's features of the image that the reference's are of; once for all heads."""
        if features is None:
            return None
        if self._last is None or self._last[0] is not features.array:
            (array,) = self.tap.run("backbone", reference.image_of(features.array))
            self._last = features.array, replace(features, array=array)
        return self._last[1]


@dataclass(frozen=True, slots=True)
class Pair:
    """What the same call gave on the two sides."""

    want: Float64
    got: Float64


class SameStateHead(Head):
    """The reference's head, beside which every candidate does each frame from the same state.

    Args:
        head: Of the reference.
        tap: Its graphs; no head but this one runs them meanwhile.
        candidates: By backend.

    Attributes:
        pairs: By backend, the deciding calls of all frames so far.
    """

    def __init__(self, head: Head, tap: Tap, candidates: Mapping[str, Candidate]) -> None:
        self.needs_detections, self.needs_features = head.needs_detections, head.needs_features
        self.graphs_used = head.graphs_used
        self.pairs: dict[str, list[Pair]] = {name: [] for name in candidates}
        self._head = head
        self._tap = tap
        self._candidates = candidates

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """See `Head`."""
        return self._head.network_hw(source_hw)

    def reset(self) -> None:
        """See `Head`."""
        self._head.reset()

    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """The reference's result; candidates did the same frame and forgot it."""
        graphs = {name: c.tap for name, c in self._candidates.items()}
        copies = {
            name: copy.deepcopy(self._head, {id(self._tap): tap}) for name, tap in graphs.items()
        }
        self._tap.decided.clear()
        tracks = self._head.step(frame, features, detections)
        for name, candidate in self._candidates.items():
            candidate.tap.decided.clear()
            own = candidate.features(self._tap, features)
            # None only for the heads that take it.
            copies[name].step(frame, own, detections)  # type: ignore[arg-type]
            self.pairs[name] += paired(self._tap.decided, candidate.tap.decided)
        return tracks


def common_limit(sides: Sequence[Graphs]) -> Callable[[str, int, int], int | None]:
    """The smallest of the sides' limits."""

    def limit(graph: str, input_index: int, axis: int) -> int | None:
        known = [side.limit(graph, input_index, axis) for side in sides]
        return min((size for size in known if size is not None), default=None)

    return limit


def cost_difference(pairs: Sequence[Pair]) -> float:
    """Largest difference of two costs, where either could still be matched; 0 without any."""
    errors = [np.abs(_matchable(p.want) - _matchable(p.got)).max(initial=0.0) for p in pairs]
    return float(np.max(errors, initial=0.0))


def label_overlap(pairs: Sequence[Pair], *, background: bool) -> float:
    """IoU of label scores Σ min / Σ max over all cells, frames and objects; 1 without any.

    Args:
        pairs: (cells, L) scores.
        background: Whether the first label is no object.
    """
    low = high = 0.0
    for pair in pairs:
        want, got = (side[:, int(background) :] for side in (pair.want, pair.got))
        low, high = low + np.minimum(want, got).sum(), high + np.maximum(want, got).sum()
    # Written so that NaN stays what it is.
    return 1.0 if high == 0 else float(low / high)


def response_difference(pairs: Sequence[Pair]) -> float:
    """Largest difference of two responses, relative to the largest response of the frame."""
    errors = [
        np.abs(p.want - p.got).max(initial=0.0) / max(np.abs(p.want).max(initial=0.0), 1e-12)
        for p in pairs
    ]
    return float(np.max(errors, initial=0.0))


def _matchable(costs: Float64) -> Float64:
    return np.minimum(costs, MATCHED_BELOW)


def paired(want: Sequence[tuple[str, Float64]], got: Sequence[tuple[str, Float64]]) -> list[Pair]:
    """Call for call; calls that only one side made are as different as can be."""
    if [(name, array.shape) for name, array in want] == [(n, a.shape) for n, a in got]:
        return [Pair(a, b) for (_, a), (_, b) in zip(want, got, strict=True)]
    return [Pair(array, np.full_like(array, np.nan)) for _, array in (*want, *got)]


def _converted(feed: Array, dtype: str) -> Array:
    if feed.dtype == np.dtype(dtype):
        return feed
    return to_host(feed).astype(dtype)
