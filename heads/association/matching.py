"""Association (paper, section 2.4): detections of a frame join the tracklets so far.

The steps are JDE's: appearance and motion first, overlap for the unmatched, unconfirmed tracklets
last.  MOT, MOTS and PoseTrack differ in the numbers of `AssociationConfig` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...records import Detections
from ...runtime.boxes import iou_matrix
from ...runtime.inference.base import Graphs
from .assignment import assign, class_costs
from .kalman import (
    GATE_FOUR,
    GATE_TWO,
    BoxFilter,
    advance_filters,
    boxes_of,
    gating_distances,
    update_filters,
    xyxy_to_xyah,
)
from .similarity import SIMILARITIES
from .tracklets import FeatureBank, ObjectFeatures, State, Tracklet, vote

Cost = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AssociationConfig:
    """The numbers of one task.

    Attributes:
        appearance_weight: λ of `λ·cost + (1-λ)·mahalanobis²`.
        gate: Whether pairs beyond the χ² gate are impossible.
        position_only: Whether motion looks at the centre only.
        cost_limit: Of the first assignment.
        overlap_limit: On 1 - IoU, of the second assignment.
        confirm_limit: On 1 - IoU, of unconfirmed tracklets.
        duplicate_limit: A tracked and a lost tracklet nearer than this (1 - IoU) are one.
        buffer_frames: How long a lost tracklet is remembered.
        confirm_at_once: Whether new tracklets count without a second match.
        use_motion: False compares representations alone: no motion term, no gate, no overlap.
        scale: s of `softmax(s T Dᵀ)`.
        similarity: Key of `similarity.SIMILARITIES`.
        classes_apart: Whether only detections of its class may join a tracklet.
    """

    appearance_weight: float = 0.98
    gate: bool = True
    position_only: bool = False
    cost_limit: float = 0.7
    overlap_limit: float = 0.5
    confirm_limit: float = 0.7
    duplicate_limit: float = 0.15
    buffer_frames: int = 30
    confirm_at_once: bool = False
    use_motion: bool = True
    scale: float = 100.0
    similarity: str = "rsm"
    classes_apart: bool = False


class Associator:
    """Tracklets of one video.

    Args:
        graphs: Runs `rsm` and `select`.
        config: The task's numbers.
    """

    def __init__(self, graphs: Graphs, config: AssociationConfig) -> None:
        self._graphs = graphs
        self._config = config
        self._scale = graphs.place(np.array([config.scale], np.float32))
        self.reset()

    def reset(self) -> None:
        """Forget everything, ids included."""
        self._tracklets: list[Tracklet] = []
        self._bank = FeatureBank(self._graphs)
        self._next_id = 1
        self._frame: int | None = None
        self._elapsed = 1

    def step(
        self, frame_index: int, detections: Detections, features: ObjectFeatures | None
    ) -> list[Tracklet]:
        """Process one frame.

        Args:
            frame_index: Larger than that of the last call; motion advances by the difference, and
                tracklets last matched before the buffer began are dropped.
            detections: The frame's M detections.
            features: Their appearance, row by row; None where there is no detection.

        Returns:
            The confirmed tracklets that were matched in this frame, with their `detection` row.
        """
        first = self._frame is None
        elapsed = 1 if self._frame is None else max(1, frame_index - self._frame)
        self._frame = frame_index
        self._forget(frame_index)
        self._elapsed = elapsed
        self._predict(elapsed)
        boxes = xyxy_to_xyah(detections.boxes_xyxy)
        unmatched = list(range(len(boxes)))
        known = [t for t in self._tracklets if t.state is not State.UNCONFIRMED]
        unconfirmed = [t for t in self._tracklets if t.state is State.UNCONFIRMED]

        cost = self._appearance_cost(known, detections, features, boxes)
        known, unmatched = self._match(known, unmatched, cost, self._config.cost_limit, boxes)
        if self._config.use_motion:
            tracked = [t for t in known if t.state is State.TRACKED]
            cost = self._overlap_cost(tracked, detections, unmatched)
            limit = self._config.overlap_limit
            _, unmatched = self._match(tracked, unmatched, cost, limit, boxes)
            cost = self._overlap_cost(unconfirmed, detections, unmatched)
            limit = self._config.confirm_limit
            _, unmatched = self._match(unconfirmed, unmatched, cost, limit, boxes)
        self._retire(frame_index, detections)
        for row in unmatched:
            self._begin(row, detections, boxes, confirmed=first)
        filters = [t.filter for t in self._tracklets]
        for tracklet, box in zip(self._tracklets, boxes_of(filters), strict=True):
            tracklet.box = box
        self._merge_duplicates()
        matched = [t for t in self._tracklets if t.state is State.TRACKED and t.detection >= 0]
        self._bank.update(self._tracklets, features)
        return matched

    def _forget(self, frame_index: int) -> None:
        """Drop what outlived the buffer while no frame came at all.

        Without gaps `_retire` has done so: what it kept in the last step is at most the buffer and
        that step's own length old. A slow run, whose every step is long, thus keeps its tracks; a
        camera that comes back after an hour begins anew.
        """
        oldest = frame_index - self._config.buffer_frames - self._elapsed
        self._tracklets = [t for t in self._tracklets if t.last_frame >= oldest]

    def _predict(self, elapsed: int) -> None:
        # After a long gap the filter's state says nothing any more; more steps only cost time.
        steps = min(elapsed, self._config.buffer_frames + 1)
        for tracklet in self._tracklets:
            tracklet.detection = -1
        lost = [t.state is State.LOST for t in self._tracklets]
        advance_filters([t.filter for t in self._tracklets], steps, lost)

    def _appearance_cost(
        self,
        tracklets: Sequence[Tracklet],
        detections: Detections,
        features: ObjectFeatures | None,
        boxes_xyah: npt.NDArray[np.float64],
    ) -> Cost:
        cost = np.full((len(tracklets), len(boxes_xyah)), np.inf)
        bank = self._bank.features
        if bank is None or features is None or not cost.size:
            return cost
        costs = SIMILARITIES[self._config.similarity]
        similar = costs(self._graphs, bank, features, self._scale).astype(np.float64)
        similar[:, ~features.mask.any(axis=1)] = np.inf
        for row, tracklet in enumerate(tracklets):
            if tracklet.row >= 0:
                cost[row] = similar[tracklet.row]
        if self._config.use_motion:
            cost = self._fuse_motion(cost, tracklets, boxes_xyah)
        return self._with_classes(cost, tracklets, detections)

    def _overlap_cost(
        self, tracklets: Sequence[Tracklet], detections: Detections, rows: Sequence[int]
    ) -> Cost:
        if not tracklets or not rows:
            return np.zeros((len(tracklets), len(rows)))
        chosen = detections[np.array(rows, np.int64)]
        boxes = boxes_of([t.filter for t in tracklets])
        cost = 1.0 - iou_matrix(boxes, chosen.boxes_xyxy).astype(np.float64)
        return self._with_classes(cost, tracklets, chosen)

    def _with_classes(
        self, cost: Cost, tracklets: Sequence[Tracklet], detections: Detections
    ) -> Cost:
        own = np.array([t.class_id for t in tracklets], np.int64)[:, None]
        return cost + class_costs(own, detections.classes, apart=self._config.classes_apart)

    def _fuse_motion(
        self, cost: Cost, tracklets: Sequence[Tracklet], boxes_xyah: npt.NDArray[np.float64]
    ) -> Cost:
        only = self._config.position_only
        distance = gating_distances([t.filter for t in tracklets], boxes_xyah, position_only=only)
        weight = self._config.appearance_weight
        # Impossible stays impossible, also where appearance has no weight (0 times infinity).
        fused: Cost = np.where(np.isinf(cost), np.inf, (1.0 - weight) * distance)
        fused += weight * np.where(np.isinf(cost), 0.0, cost)
        if self._config.gate:
            fused[distance > (GATE_TWO if only else GATE_FOUR)] = np.inf
        return fused

    def _match(
        self,
        tracklets: Sequence[Tracklet],
        rows: Sequence[int],
        cost: Cost,
        limit: float,
        boxes_xyah: npt.NDArray[np.float64],
    ) -> tuple[list[Tracklet], list[int]]:
        """Pair tracklets with detections `rows` (the columns of `cost`).

        Returns:
            The unmatched tracklets and the unmatched rows.
        """
        pairs, unmatched_rows, unmatched_columns = assign(cost, limit)
        for which, column in pairs:
            tracklet, row = tracklets[which], rows[column]
            tracklet.detection = row
            tracklet.state = State.TRACKED
        matched = [tracklets[which].filter for which, _ in pairs]
        update_filters(matched, boxes_xyah[[rows[column] for _, column in pairs]])
        unmatched = [tracklets[which] for which in unmatched_rows]
        return unmatched, [rows[column] for column in unmatched_columns]

    def _retire(self, frame_index: int, detections: Detections) -> None:
        """Update the state of every tracklet after this frame, matched or not."""
        kept = []
        for tracklet in self._tracklets:
            if tracklet.detection >= 0:
                tracklet.last_frame = frame_index
                vote(tracklet, int(detections.classes[tracklet.detection]))
            elif tracklet.state is State.UNCONFIRMED:
                continue
            else:
                tracklet.state = State.LOST
                if frame_index - tracklet.last_frame > self._config.buffer_frames:
                    continue
            kept.append(tracklet)
        self._tracklets = kept

    def _begin(
        self,
        row: int,
        detections: Detections,
        boxes_xyah: npt.NDArray[np.float64],
        *,
        confirmed: bool,
    ) -> None:
        # Without overlap matching an unconfirmed tracklet could never be confirmed.
        at_once = confirmed or self._config.confirm_at_once or not self._config.use_motion
        frame = self._frame or 0
        label = int(detections.classes[row])
        self._tracklets.append(
            Tracklet(
                id=self._next_id,
                state=State.TRACKED if at_once else State.UNCONFIRMED,
                filter=BoxFilter(boxes_xyah[row]),
                class_id=label,
                first_frame=frame,
                last_frame=frame,
                detection=row,
                votes={label: 1},
            )
        )
        self._next_id += 1

    def _merge_duplicates(self) -> None:
        """Of a tracked and a lost tracklet in one place, the older one stays."""
        tracked = [t for t in self._tracklets if t.state is State.TRACKED]
        lost = [t for t in self._tracklets if t.state is State.LOST]
        if not tracked or not lost:
            return
        boxes = np.array([t.box for t in (*tracked, *lost)])
        cost = 1.0 - iou_matrix(boxes[: len(tracked)], boxes[len(tracked) :]).astype(np.float64)
        if self._config.classes_apart:
            one, other = (np.array([t.class_id for t in ts], np.int64) for ts in (tracked, lost))
            cost += class_costs(one[:, None], other, apart=True)
        near = cost < self._config.duplicate_limit
        gone = set()
        for row, column in zip(*np.nonzero(near), strict=True):
            young = lost[column] if tracked[row].age > lost[column].age else tracked[row]
            gone.add(young.id)
        self._tracklets = [t for t in self._tracklets if t.id not in gone]
