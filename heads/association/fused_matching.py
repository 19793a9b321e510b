"""Association by appearance and overlap together, with a memory of features: preset `memory`.

A frame goes through these steps (docs/association.md has the reasons and the measurements):

1. *Predict* every tracklet by the time that really passed.
2. *Match what is clear*: a tracklet seen in the last frame and a detection of high score on each
   other, with nothing else near.  In a frame without contact nothing is compared by appearance.
3. *Match by appearance and overlap*: the other tracked and lost tracklets with the other detections
   of high score.  The cost is a mean of two bounded terms, so neither can veto the other.
4. *Match by overlap*: tracklets seen in the last frame, with what is unmatched and with the
   detections of low score, which are often objects that are half hidden.
5. *Confirm*: new tracklets need a second match.
6. *Start* tracklets from unmatched detections above a score of their own.
7. *Forget* tracklets lost for too long, and the younger of two that are in one place.
8. *Learn* the appearance of the matched.

Nothing depends on the order of a frame's detections, on where the origin of the coordinates is, or
on how frames are numbered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...records import Detections, IntArray
from ...runtime.boxes import iou_matrix
from ...runtime.inference.base import Graphs
from .appearance_memory import AppearanceMemory
from .kalman import (
    WALKING,
    AspectNoise,
    BoxFilter,
    advance_filters,
    boxes_of,
    update_filters,
    xyxy_to_xyah,
)
from .matching import assign
from .tracklets import ObjectFeatures, State, Tracklet, select_rows

Cost = npt.NDArray[np.float64]

_EXPECTED_OTHER_COST = 0.6
"""What the most alike other object costs, before any was seen (both backbones: 0.5 to 0.75)."""

_EXPECTED_WEIGHT = 10.0
"""How many samples that expectation is worth."""

_EPSILON_S = 1e-6
"""Times are sums of floats: so much is no difference."""


@dataclass(frozen=True, slots=True)
class FusedConfig:
    """The numbers of one task.

    Attributes:
        high_score: Detections from here on are matched by appearance.
        low_score: Those from here to `high_score` are matched by overlap alone; others not at all.
        start_score: A new tracklet starts from here on.
        appearance_weight: w of `w·appearance + (1 - w)·(1 - IoU)`.
        other_cost: Appearance costs are scaled so that the most alike other object costs this much
            on average; 0: no scaling.
        cost_limit: Of the match by appearance and overlap.
        overlap_limit: On 1 - IoU, of the match by overlap.
        confirm_limit: On 1 - IoU, of new tracklets.
        confirm_at_once: Whether new tracklets count without a second match.
        duplicate_limit: A tracked and a lost tracklet nearer than this (1 - IoU) are one.
        buffer_s: How long a lost tracklet is remembered, in seconds.
        coast_s: How long a lost tracklet is still given as `coasting`, in seconds.
        memory: Features a tracklet.
        memory_interval_s: Time between two of them, in seconds.
        clear_overlap: A tracklet seen in the last frame and a detection of at least this IoU are
            matched at once, without appearance, where neither overlaps anything else by
            `contested_overlap`; above 1: appearance always counts.
        contested_overlap: IoU from which another object may be meant.
        scale: s of `softmax(s T Dᵀ)`.
        similarity: Key of `similarity.SIMILARITIES`.
        fps: Frames per second that the motion filter's noise is meant for.
        aspect: Noise of the aspect ratio.
    """

    high_score: float = 0.5
    low_score: float = 0.1
    start_score: float = 0.6
    appearance_weight: float = 0.5
    other_cost: float = 0.55
    cost_limit: float = 0.75
    overlap_limit: float = 0.5
    confirm_limit: float = 0.7
    confirm_at_once: bool = False
    duplicate_limit: float = 0.15
    buffer_s: float = 2.0
    coast_s: float = 0.12
    memory: int = 5
    memory_interval_s: float = 0.2
    clear_overlap: float = 0.7
    contested_overlap: float = 0.001
    scale: float = 100.0
    similarity: str = "rsm"
    fps: float = 25.0
    aspect: AspectNoise = WALKING


class FusedAssociator:
    """Tracklets of one video.

    Args:
        graphs: Runs `select` and the graph of the similarity.
        config: The task's numbers.
    """

    def __init__(self, graphs: Graphs, config: FusedConfig) -> None:
        self._graphs = graphs
        self._config = config
        self._scale = np.array([config.scale], np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything, ids included."""
        c = self._config
        self._tracklets: list[Tracklet] = []
        self._memory = AppearanceMemory(self._graphs, c.memory, c.memory_interval_s)
        self._others = RunningMean(_EXPECTED_OTHER_COST, _EXPECTED_WEIGHT)
        self._next_id = 1
        self._frame: int | None = None
        self._time_s = 0.0
        self._step_s = 1.0 / c.fps

    def step(
        self,
        frame_index: int,
        time_s: float,
        detections: Detections,
        features: ObjectFeatures | None,
    ) -> list[Tracklet]:
        """Take in one frame.

        Args:
            frame_index: Larger than that of the last call.
            time_s: Time of the frame in seconds.  Where it does not advance, the difference of the
                frame numbers counts, at `FusedConfig.fps`.
            detections: The frame's M detections.
            features: Their appearance, row by row; None where there is no detection.

        Returns:
            The confirmed tracklets that were matched in this frame, with their `detection` row.
        """
        c = self._config
        first = self._frame is None
        self._advance(frame_index, time_s)
        overlap = self._overlap_cost(detections)
        order, scores = _canonical_order(detections), detections.scores
        high = order[scores[order] >= c.high_score]
        low = order[(scores[order] >= c.low_score) & (scores[order] < c.high_score)]
        states = [t.state for t in self._tracklets]
        known = np.array([s is not State.UNCONFIRMED for s in states], np.bool_)
        tracked = np.array([s is State.TRACKED for s in states], np.bool_)

        left, high = self._match_appearance(np.flatnonzero(known), high, overlap, features)
        seen_last = left[tracked[left]]
        seen_last, _ = self._match(seen_last, low, overlap, c.overlap_limit)
        _, high = self._match(seen_last, high, overlap, c.overlap_limit)
        _, high = self._match(np.flatnonzero(~known), high, overlap, c.confirm_limit)

        boxes = xyxy_to_xyah(detections.boxes_xyxy)
        self._settle(detections, boxes)
        for row in high[scores[high] >= c.start_score].tolist():
            self._start(row, detections, boxes, confirmed=first)
        self._merge_duplicates()
        self._memory.update(self._tracklets, features, self._time_s)
        return [t for t in self._tracklets if t.state is State.TRACKED]

    @property
    def coasting(self) -> list[Tracklet]:
        """Tracklets that were missed in this frame and, for less than `coast_s`, before.

        Their filters say where they are now.  Only those matched three times or more count: what
        was seen for a moment only is likelier to be a false alarm than to be missed.
        """
        longest = self._config.coast_s + _EPSILON_S
        return [
            t
            for t in self._tracklets
            if t.state is State.LOST and t.matches >= 3 and self._time_s - t.last_s <= longest
        ]

    def _advance(self, frame_index: int, time_s: float) -> None:
        """Move all tracklets to the time of the frame."""
        c = self._config
        last_frame = frame_index - 1 if self._frame is None else self._frame
        elapsed_s = time_s - self._time_s
        if self._frame is None or elapsed_s <= 0:
            elapsed_s = max(1, frame_index - last_frame) / c.fps
        self._time_s = time_s if self._frame is None else self._time_s + elapsed_s
        # A slow run, whose every step is long, keeps its tracklets; a camera that comes back after
        # an hour begins anew.
        oldest_s = self._time_s - c.buffer_s - self._step_s - _EPSILON_S
        self._tracklets = [t for t in self._tracklets if t.last_s >= oldest_s]
        self._frame, self._step_s = frame_index, elapsed_s
        # After a long gap the filter's state says nothing any more; more steps only cost time.
        frames = min(round(elapsed_s * c.fps, 3), c.buffer_s * c.fps + 1)
        for tracklet in self._tracklets:
            tracklet.detection = -1
        lost = [t.state is State.LOST for t in self._tracklets]
        advance_filters([t.filter for t in self._tracklets], frames, lost)

    def _overlap_cost(self, detections: Detections) -> Cost:
        """(N, M) 1 - IoU of all predicted boxes and detections; infinite between classes."""
        predicted = boxes_of([t.filter for t in self._tracklets])
        cost = 1.0 - iou_matrix(predicted, detections.boxes_xyxy).astype(np.float64)
        own = np.array([t.class_id for t in self._tracklets], np.int64)
        cost[own[:, None] != detections.classes[None, :]] = np.inf
        return cost

    def _match(
        self, tracklets: IntArray, rows: IntArray, cost: Cost, limit: float
    ) -> tuple[IntArray, IntArray]:
        """Pair some tracklets with some detections by all their costs; give back the unmatched."""
        pairs, left, free = assign(cost[np.ix_(tracklets, rows)], limit)
        for row, column in pairs:
            self._tracklets[tracklets[row]].detection = int(rows[column])
        return tracklets[np.array(left, np.int64)], rows[np.array(free, np.int64)]

    def _match_appearance(
        self, tracklets: IntArray, rows: IntArray, overlap: Cost, features: ObjectFeatures | None
    ) -> tuple[IntArray, IntArray]:
        """Pair by appearance and overlap; give back the unmatched."""
        if features is None:
            return tracklets, rows
        tracklets, rows = self._match_clear(tracklets, rows, overlap)
        if not len(tracklets) or not len(rows):
            return tracklets, rows
        c = self._config
        members = [self._tracklets[k] for k in tracklets.tolist()]
        compared = select_rows(self._graphs, [features], rows)
        appearance = self._memory.costs(members, compared, c.similarity, self._scale)
        unit = c.other_cost / self._others.value if c.other_cost else 1.0
        part = np.ix_(tracklets, rows)
        cost = np.full_like(overlap, np.inf)
        cost[part] = c.appearance_weight * unit * appearance
        cost[part] += (1.0 - c.appearance_weight) * overlap[part]
        unmatched = self._match(tracklets, rows, cost, c.cost_limit)
        self._watch_others(members, rows, appearance)
        return unmatched

    def _match_clear(
        self, tracklets: IntArray, rows: IntArray, overlap: Cost
    ) -> tuple[IntArray, IntArray]:
        """Pair what is clear (see `FusedConfig`), uncompared; give back the unmatched."""
        c = self._config
        iou = 1.0 - overlap[np.ix_(tracklets, rows)]
        states = [self._tracklets[k].state for k in tracklets.tolist()]
        tracked = np.array([state is State.TRACKED for state in states], np.bool_)
        near = iou >= c.contested_overlap
        clear = near & (iou >= c.clear_overlap) & tracked[:, None]
        clear &= (near.sum(axis=1) == 1)[:, None] & (near.sum(axis=0) == 1)[None, :]
        which, columns = np.nonzero(clear)
        for k, row in zip(tracklets[which].tolist(), rows[columns].tolist(), strict=True):
            self._tracklets[k].detection = row
        return np.delete(tracklets, which), np.delete(rows, columns)

    def _watch_others(self, members: list[Tracklet], rows: IntArray, appearance: Cost) -> None:
        """Learn how alike different objects are, in this scene and to this backbone.

        Of a matched pair, the least cost of the detection with another tracklet is a sample: that
        one is surely another object.
        """
        detection = np.array([t.detection for t in members])
        owned = (detection[:, None] == rows[None, :]) & (detection >= 0)[:, None]
        least = np.where(owned, np.inf, appearance).min(axis=0)
        for sample in least[owned.any(axis=0) & np.isfinite(least)].tolist():
            self._others.add(sample)

    def _settle(self, detections: Detections, boxes_xyah: Cost) -> None:
        """Correct the matched tracklets by their detections; the others are lost or gone."""
        matched = [t for t in self._tracklets if t.detection >= 0]
        update_filters([t.filter for t in matched], boxes_xyah[[t.detection for t in matched]])
        kept = []
        for t in self._tracklets:
            if t.detection >= 0:
                t.state = State.TRACKED
                t.last_frame, t.last_s = self._frame or 0, self._time_s
                t.score = float(detections.scores[t.detection])
                t.matches += 1
            elif t.state is State.UNCONFIRMED:
                continue
            else:
                t.state = State.LOST
                if self._time_s - t.last_s > self._config.buffer_s + _EPSILON_S:
                    continue
            kept.append(t)
        self._tracklets = kept

    def _start(
        self, row: int, detections: Detections, boxes_xyah: Cost, *, confirmed: bool
    ) -> None:
        at_once = confirmed or self._config.confirm_at_once
        self._tracklets.append(
            Tracklet(
                id=self._next_id,
                state=State.TRACKED if at_once else State.UNCONFIRMED,
                filter=BoxFilter(boxes_xyah[row], self._config.aspect),
                class_id=int(detections.classes[row]),
                first_frame=self._frame or 0,
                last_frame=self._frame or 0,
                detection=row,
                last_s=self._time_s,
                score=float(detections.scores[row]),
                matches=1,
            )
        )
        self._next_id += 1

    def _merge_duplicates(self) -> None:
        """Of a tracked and a lost tracklet in one place, the older one stays."""
        tracked = [t for t in self._tracklets if t.state is State.TRACKED]
        lost = [t for t in self._tracklets if t.state is State.LOST]
        if not tracked or not lost:
            return
        boxes = [boxes_of([t.filter for t in some]) for some in (tracked, lost)]
        cost = 1.0 - iou_matrix(*boxes).astype(np.float64)
        gone = set()
        for row, column in zip(*np.nonzero(cost < self._config.duplicate_limit), strict=True):
            if tracked[row].class_id == lost[column].class_id:
                young = lost[column] if tracked[row].age > lost[column].age else tracked[row]
                gone.add(young.id)
        self._tracklets = [t for t in self._tracklets if t.id not in gone]


class RunningMean:
    """A mean that begins with an expectation worth so many samples."""

    def __init__(self, expected: float, weight: float) -> None:
        self._sum, self._count = expected * weight, weight

    @property
    def value(self) -> float:
        """The mean so far."""
        return self._sum / self._count

    def add(self, sample: float) -> None:
        """Count one more sample."""
        self._sum += sample
        self._count += 1.0


def _canonical_order(detections: Detections) -> IntArray:
    """Rows by falling score, then by place: the same objects in the same order, always."""
    boxes = detections.boxes_xyxy
    keys = (boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -detections.scores)
    order: IntArray = np.lexsort(keys)
    return order
