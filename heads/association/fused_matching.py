"""Association by appearance and place together, with a memory of features: preset `memory`.

A frame goes through these steps (docs/association.md has the reasons and the measurements):

1. *Predict* every tracklet by the time that really passed.
2. *Match what is clear*: a tracklet seen in the last frame and a detection of high score on each
   other, with nothing else near.  In a frame without contact nothing is compared by appearance.
3. *Match by appearance and place*: the other tracked and lost tracklets with the other detections
   of high score, group by group.  The cost is a mean of bounded terms, so none can veto the others.
4. *Match by overlap*: tracklets seen in the last frame, with what is unmatched and with the
   detections of low score, which are often objects that are half hidden.
5. *Confirm*: new tracklets need a second match.
6. *Start* tracklets from unmatched detections above a score of their own.
7. *Forget* tracklets lost for too long, and the younger of two that are in one place.
8. *Learn* the appearance of the matched.

Nothing depends on the order of a frame's detections, on where the origin of the coordinates is, or
on how frames are numbered.  Work is bounded: a crowd is matched more by place, less by appearance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...records import BoolArray, Detections, FloatArray, IntArray
from ...runtime.boxes import iou_matrix, iou_pairs
from ...runtime.inference.base import Graphs
from .appearance_memory import EPSILON_S, AppearanceMemory, Comparison, HostMemory, Memory
from .assignment import assign, class_costs
from .kalman import (
    EXPECTED_SURPRISE,
    FILTER_FPS,
    WALKING,
    AspectNoise,
    BoxFilter,
    Motion,
    boxes_of,
    move_filters,
    xyxy_to_xyah,
)
from .tracklets import ObjectFeatures, State, Tracklet, follow, vote

if TYPE_CHECKING:
    from .look_memory import Look

Appearance: TypeAlias = "ObjectFeatures | Sequence[Look]"
"""What there is of a frame's objects, row by row: features, or what they can be computed from."""

Cost = npt.NDArray[np.float64]

_CROWD_MARGINS = (0.5, 0.3, 0.1)
"""By how much the best must lead, one after the other, where too much is left to compare."""

_CROWD_LOOKS = 3
"""Where all looks are too much, lost tracklets are compared by so many at most, others by one."""

_CROWD_SHARE = 0.75
"""Where all looks are too much, this share of what may be compared in a frame is aimed at."""

_EXPECTED_OTHER_COST = 0.6
"""What the most alike other object costs, before any was seen (both backbones: 0.5 to 0.75)."""

_EXPECTED_WEIGHT = 10.0
"""How many samples that expectation is worth."""

_SMALL_STEP = 0.03
"""A step of so many heights counts half for the direction: boxes jitter by as much."""


@dataclass(frozen=True, slots=True)
class FusedConfig:
    """The numbers of one task.

    Attributes:
        high_score: Detections from here on are matched by appearance.
        low_score: Those from here to `high_score` are matched by overlap alone; others not at all.
        start_score: A new tracklet starts from here on.
        start_overlap: But not where it overlaps another object of the frame by more (IoU).
        direction_weight: What it costs at most to turn, and is worth at most not to.
        direction_s: Time over which the direction of a tracklet is measured, in seconds.
        appearance_weight: w of `w·appearance + (1 - w)·(1 - IoU)`.
        other_cost: Appearance costs are scaled so that the most alike other object costs this much
            on average; 0: no scaling.
        cost_limit: Of the match by appearance and overlap.
        overlap_limit: On 1 - IoU, of the match by overlap.
        confirm_limit: On 1 - IoU, of new tracklets.
        confirm_at_once: Whether new tracklets count without a second match.
        duplicate_limit: A tracked and a lost tracklet nearer than this (1 - IoU) are one.
        buffer_s: How long a lost tracklet is remembered, in seconds.
        coast_s: How long a lost tracklet is still given as `coasting`, in seconds. Where frames in
            between had no detections, one miss is bridged however long these frames lasted.
        memory: Features a tracklet.
        memory_interval_s: Time between two of them, in seconds.
        clear_overlap: A tracklet seen in the last frame and a detection of at least this IoU are
            matched at once, without appearance, where no other object comes near; above 1:
            appearance always counts.
        clear_margin: By how much the IoU of either with anything else must be less.
        most_pairs: How many pairs of a remembered look and a detection are compared in a frame.
        reach: How far an object's centre moves in no time, in its longer sides: boxes jump.
        reach_per_s: How far it moves in a second, in its longer sides.
        scale: s of `softmax(s T Dᵀ)`.
        similarity: Key of `similarity.SIMILARITIES`.
        classes_apart: Whether only detections of its class may join a tracklet.
        fps: Of the source, in frames per second: counts where its clock stands still.
        aspect: Noise of the aspect ratio.
        least_change: How fast velocities change at least, see `Motion.advance`; 1, JDE's noise, is
            the most.
        change_rate: Of what a frame's boxes say, that power is made good where they are less steady
            than believed (0: nothing is learnt).
        calm_rate: As much where they are steadier: a camera that jerked will again.
    """

    high_score: float = 0.5
    low_score: float = 0.1
    start_score: float = 0.6
    start_overlap: float = 0.45
    direction_weight: float = 0.05
    direction_s: float = 0.12
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
    clear_margin: float = 0.7
    most_pairs: int = 200
    reach: float = 1.0
    reach_per_s: float = 4.0
    scale: float = 100.0
    similarity: str = "rsm"
    classes_apart: bool = False
    fps: float = 25.0
    aspect: AspectNoise = WALKING
    least_change: float = 0.25
    change_rate: float = 0.5
    calm_rate: float = 0.1


class FusedAssociator:
    """Tracklets of one video.

    Args:
        graphs: Runs `select` and the graph of the similarity.
        config: The task's numbers.
        make_memory: Makes what takes the appearance that `step` is given; None: of features.
    """

    def __init__(
        self,
        graphs: Graphs,
        config: FusedConfig,
        make_memory: Callable[[FusedConfig], Memory[Any]] | None = None,
    ) -> None:
        self._config = config
        kind = AppearanceMemory if graphs.on_device else HostMemory
        self._make_memory: Callable[[FusedConfig], Memory[Any]] = make_memory or (
            lambda numbers: kind(graphs, numbers.memory, numbers.memory_interval_s)
        )
        self._scale = graphs.place(np.array([config.scale], np.float32))
        self.reset()

    def reset(self) -> None:
        """Forget everything, ids included."""
        c = self._config
        self._tracklets: list[Tracklet] = []
        self._boxes: Cost = np.zeros((0, 4))
        self._motion = Motion([])
        self._predicted: FloatArray = np.zeros((0, 4), np.float32)
        self.coasting: list[Tracklet] = []
        self._memory: Memory[Any] = self._make_memory(c)
        self._others = RunningMean(_EXPECTED_OTHER_COST, _EXPECTED_WEIGHT)
        self._change = c.least_change
        self._next_id = 1
        self._frame: int | None = None
        self._time_s = 0.0
        self._step_s = 1.0 / c.fps
        self._carried_s = 0.0

    def step(
        self,
        frame_index: int,
        time_s: float,
        detections: Detections,
        features: Appearance | None,
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
        sparse = self._carried_s > 0 or (self._frame is not None and frame_index - self._frame > 1)
        self._step_s = self._carried_s + self._advance(frame_index, time_s, forget=True)
        self._carried_s = 0.0
        self._boxes = xyxy_to_xyah(detections.boxes_xyxy)
        # Of a crowd, few pairs can be at all, and the others are not looked at.
        near = self._within_reach()
        overlap = self._overlap_cost(detections, *near)
        place = np.full((len(self._tracklets), len(self._boxes)), np.inf)
        place[near] = overlap + self._direction_cost(*near)
        order = _canonical_order(detections)
        scores = detections.scores[order]
        high = order[scores >= c.high_score]
        low = order[(scores >= c.low_score) & (scores < c.high_score)]
        states = [t.state for t in self._tracklets]
        known = np.array([s is not State.UNCONFIRMED for s in states], np.bool_)
        tracked = np.array([s is State.TRACKED for s in states], np.bool_)

        left = np.flatnonzero(known)
        if features is not None:
            left, high, compared, looks = self._match_clear(known, tracked, high, near, overlap)
            left, high = self._match_appearance(left, high, place, features, compared, looks)
        seen_last = left[tracked[left]]
        seen_last, _ = self._match_place(seen_last, low, place, c.overlap_limit)
        _, high = self._match_place(seen_last, high, place, c.overlap_limit)
        _, high = self._match_place(np.flatnonzero(~known), high, place, c.confirm_limit)

        kept = self._settle(detections)
        for row in self._newcomers(high, detections):
            self._start(row, detections, confirmed=first)
        new = boxes_of([t.filter for t in self._tracklets[len(kept) :]])
        boxes = np.concatenate([self._motion.boxes()[kept], new])
        for tracklet, box in zip(self._tracklets, boxes, strict=True):
            tracklet.box = box
        self._merge_duplicates(boxes)
        self.coasting = self._missed_for_a_moment(max(c.coast_s, self._step_s * sparse))
        matched = [t for t in self._tracklets if t.state is State.TRACKED]
        self._memory.update(self._tracklets, features, self._time_s)
        return matched

    def carry(self, frame_index: int, time_s: float) -> None:
        """Move all tracklets to a frame without detections; arguments as of `step`."""
        self._carried_s += self._advance(frame_index, time_s, forget=False)

    def follow_camera(self, motion: Cost, *, certain: bool = True) -> None:
        """Move all tracklets to where a camera's motion has put them; before `step`.

        Args:
            motion: (2, 3) similarity from the last frame's pixels to those of the next.
            certain: Whether that is all that the camera did; otherwise anything may be elsewhere.
        """
        if not certain:
            self._change = 1.0
        move_filters([t.filter for t in self._tracklets], motion)
        for t in self._tracklets:
            times, *places = zip(*t.path, strict=True)
            x, y = motion @ np.array([*places, [1.0] * len(times)])
            t.path = list(zip(times, x.tolist(), y.tolist(), strict=True))

    def redirect(self, field: Cost, ids: IntArray, velocities: Cost) -> None:
        """Give all tracklets other velocities, in source pixels a second; after `step`.

        Args:
            field: (2, 3): what `field @ (x, y, 1)` adds to that of a tracklet there.
            ids: (N,) of tracklets that have others.
            velocities: (N, 2) theirs.
        """
        known = dict(zip(ids.tolist(), velocities / FILTER_FPS, strict=True))
        for t in self._tracklets:
            mean = t.filter.mean
            added = field @ np.array([mean[0], mean[1], 1.0]) / FILTER_FPS
            mean[4:6] = known.get(t.id, mean[4:6] + added)

    def _missed_for_a_moment(self, longest_s: float) -> list[Tracklet]:
        """Only those matched three times or more: what was seen once is likelier no object."""
        oldest_s = self._time_s - longest_s - EPSILON_S
        return [
            t
            for t in self._tracklets
            if t.state is State.LOST and t.matches >= 3 and t.last_s >= oldest_s
        ]

    def _advance(self, frame_index: int, time_s: float, *, forget: bool) -> float:
        """Move all tracklets to the time of the frame.

        Args:
            frame_index: See `step`.
            time_s: Likewise.
            forget: Whether those lost for too long go.

        Returns:
            Seconds since the last frame.
        """
        c = self._config
        last_frame = frame_index - 1 if self._frame is None else self._frame
        elapsed_s = time_s - self._time_s
        if self._frame is None or elapsed_s <= 0:
            elapsed_s = max(1, frame_index - last_frame) / c.fps
        self._time_s = time_s if self._frame is None else self._time_s + elapsed_s
        # A slow run, whose every step is long, keeps its tracklets; a camera that comes back after
        # an hour begins anew.
        oldest_s = self._time_s - c.buffer_s - self._step_s - EPSILON_S
        self._tracklets = [t for t in self._tracklets if not forget or t.last_s >= oldest_s]
        self._frame = frame_index
        # After a long gap the filter's state says nothing any more; more steps only cost time.
        frames = min(round(elapsed_s * FILTER_FPS, 3), c.buffer_s * FILTER_FPS + 1)
        for tracklet in self._tracklets:
            tracklet.detection = -1
        lost = [t.state is State.LOST for t in self._tracklets]
        filters = [t.filter for t in self._tracklets]
        if not self._motion.moves(filters):
            self._motion = Motion(filters)
        self._motion.advance(frames, lost, self._change)
        self._predicted = self._motion.boxes()
        return elapsed_s

    def _overlap_cost(self, detections: Detections, rows: IntArray, columns: IntArray) -> Cost:
        """(P,) 1 - IoU of predicted boxes and detections, of pairs within reach.

        Between classes infinite where they are kept apart; otherwise another class costs more.

        Args:
            detections: M of them.
            rows: Of each pair, the tracklet.
            columns: The detection.
        """
        iou = iou_pairs(self._predicted[rows], detections.boxes_xyxy[columns])
        cost: Cost = 1.0 - iou.astype(np.float64)
        own = np.array([t.class_id for t in self._tracklets], np.int64)[rows]
        classes = detections.classes[columns]
        if not np.array_equal(own, classes):
            cost += class_costs(own, classes, apart=self._config.classes_apart)
        return cost

    def _within_reach(self) -> tuple[IntArray, IntArray]:
        """Tracklets, rising, and detections: pairs where one can have come to the other's place."""
        c = self._config
        missing_s = self._time_s - np.array([t.last_s for t in self._tracklets])
        left_top = self._predicted[:, :2]
        sides = self._predicted[:, 2:] - left_top
        reach = (c.reach + c.reach_per_s * missing_s) * sides.max(axis=1, initial=0)
        x, y = (left_top + sides / 2).T
        # Sorted by their x, those within reach along x follow one another.
        order = self._boxes[:, 0].argsort()
        to_x, to_y = self._boxes[order, :2].T
        begins = to_x.searchsorted(x - reach)
        counts = to_x.searchsorted(x + reach, side="right") - begins
        rows = np.arange(len(x)).repeat(counts)
        places = np.arange(len(rows)) + (begins + counts - counts.cumsum()).repeat(counts)
        near = np.abs(to_y[places] - y[rows]) <= reach[rows]
        return rows[near], order[places[near]]

    def _direction_cost(self, rows: IntArray, columns: IntArray) -> Cost:
        """What pairs cost more, or less, for the way that the tracklet would go.

        From `-direction_weight` (straight on) to `direction_weight` (back).  Steps that are short
        for the object's size say little, and count little.

        Args:
            rows: Of each pair, the tracklet.
            columns: The detection.
        """
        ways = np.array([t.path[0] + t.path[-1] for t in self._tracklets])
        _, from_x, from_y, _, x, y = ways.reshape(-1, 6).T
        heights = self._predicted[:, 3] - self._predicted[:, 1]
        small = _SMALL_STEP * heights.astype(np.float64)
        before_x, before_y = _unit(x - from_x, y - from_y, small)
        to_x, to_y = self._boxes[columns, :2].T
        after_x, after_y = _unit(to_x - x[rows], to_y - y[rows], small[rows])
        on = before_x[rows] * after_x + before_y[rows] * after_y
        return -self._config.direction_weight * on

    def _match_place(
        self, tracklets: IntArray, rows: IntArray, place: Cost, limit: float
    ) -> tuple[IntArray, IntArray]:
        """Pair some tracklets with some detections by their place; give back the unmatched."""
        if not len(tracklets) or not len(rows):
            return tracklets, rows
        return self._match(tracklets, rows, place[tracklets[:, None], rows], limit)

    def _match(
        self, tracklets: IntArray, rows: IntArray, cost: Cost, limit: float
    ) -> tuple[IntArray, IntArray]:
        """Pair N tracklets with M detections by their (N, M) costs; give back the unmatched."""
        pairs, left, free = assign(cost, limit)
        for row, column in pairs:
            self._tracklets[tracklets[row]].detection = int(rows[column])
        return tracklets[np.array(left, np.int64)], rows[np.array(free, np.int64)]

    def _match_appearance(
        self,
        tracklets: IntArray,
        rows: IntArray,
        place: Cost,
        features: Appearance,
        compared: Groups,
        looks: IntArray,
    ) -> tuple[IntArray, IntArray]:
        """Pair by appearance and place; give back the unmatched.

        Args:
            tracklets: N that are not matched yet.
            rows: M detections that are not.
            place: What all pairs cost for their place.
            features: Of all detections.
            compared: Which of the N and of the M are compared.
            looks: (N,) by how many of its newest features each is.
        """
        if not len(tracklets) or not len(rows):
            return tracklets, rows
        c = self._config
        unit = c.other_cost / self._others.value if c.other_cost else 1.0
        by_place = _weighted(1.0 - c.appearance_weight, place[tracklets[:, None], rows])
        sure = by_place + c.appearance_weight * unit <= c.cost_limit
        appearance = self._appearance(tracklets, rows, features, compared, looks, sure)
        cost = _weighted(c.appearance_weight * unit, appearance) + by_place
        unmatched = self._match(tracklets, rows, cost, c.cost_limit)
        self._watch_others([self._tracklets[k] for k in tracklets.tolist()], rows, appearance)
        return unmatched

    def _appearance(
        self,
        tracklets: IntArray,
        rows: IntArray,
        features: Appearance,
        compared: Groups,
        looks: IntArray,
        sure: BoolArray,
    ) -> Cost:
        """(N, M) appearance costs; infinite where a pair is not compared.

        Those two that have nobody else and belong together however they look, as `sure` says, cost
        0 and are not compared.
        """
        c = self._config
        appearance = np.full((len(tracklets), len(rows)), np.inf)
        # What a frame may cost is divided among the groups; the newest looks come first.
        most = c.memory * c.most_pairs // max(1, compared.pairs(looks).sum())
        looks = np.minimum(looks, max(1, most))
        number, row, column = compared.twos()
        known = sure[row, column]
        appearance[row[known], column[known]] = 0.0
        open_ = np.ones(len(compared), np.bool_)
        open_[number[known]] = False
        spent = np.cumsum(compared.pairs(looks) * open_)
        chosen: list[tuple[IntArray, IntArray]] = []
        for place in open_.nonzero()[0].tolist():
            which, columns = compared[place]
            if spent[place] > c.most_pairs:
                # A crowd of strangers: place alone decides.
                appearance[which[:, None], columns] = self._others.value
            else:
                chosen.append((which, columns))
        comparisons = [
            Comparison(
                [self._tracklets[k] for k in tracklets[which].tolist()], looks[which], rows[columns]
            )
            for which, columns in chosen
        ]
        found = self._memory.compare(comparisons, features, c.similarity, self._scale)
        for (which, columns), costs in zip(chosen, found, strict=True):
            appearance[which[:, None], columns] = costs
        return appearance

    def _match_clear(
        self,
        known: BoolArray,
        tracked: BoolArray,
        rows: IntArray,
        near: tuple[IntArray, IntArray],
        overlap: Cost,
    ) -> tuple[IntArray, IntArray, Groups, IntArray]:
        """Pair what is clear, uncompared; give back the unmatched, and how those are compared.

        In a crowd, where too much would be left to compare, those seen in the last frame are
        compared by their newest look alone and lost ones by few, and then less is needed to be
        clear.

        Args:
            known: Which tracklets may be paired.
            tracked: Which were seen in the last frame.
            rows: Of the detections that may be.
            near: Tracklets and detections, pair by pair.
            overlap: What each of these costs.

        Returns:
            N tracklets and M detections, who may be whom of them, and (N,) how many of its newest
            looks each tracklet is compared by.
        """
        c = self._config
        places = np.full(len(self._boxes), -1)
        places[rows] = np.arange(len(rows))
        which, columns = near[0], places[near[1]]
        can_be = known[which] & (columns >= 0) & (overlap < np.inf)
        which, columns, iou = which[can_be], columns[can_be], 1.0 - overlap[can_be]
        looks = np.array([len(t.memory) for t in self._tracklets], np.int64)
        fewer = np.minimum(looks, np.where(tracked, 1, _CROWD_LOOKS))
        may = (iou >= c.clear_overlap) & tracked[which]
        lead = iou - np.maximum(best_others(which, iou), best_others(columns, iou))
        fewer_each = fewer[which]
        for margin in (c.clear_margin, *_CROWD_MARGINS):
            clear = may & (lead >= margin)
            stay, open_ = known.copy(), np.ones(len(rows), np.bool_)
            stay[which[clear]], open_[columns[clear]] = False, False
            rest = stay[which] & open_[columns]
            if margin != _CROWD_MARGINS[-1] and fewer_each[rest].sum() > c.most_pairs:
                # Groups hold these pairs and more.
                continue
            left, free = stay.cumsum() - 1, open_.cumsum() - 1
            compared = groups(left[which[rest]], free[columns[rest]])
            by = looks[stay]
            if compared.pairs(by).sum() <= c.most_pairs:
                break
            by = fewer[stay]
            if compared.pairs(by).sum() <= _CROWD_SHARE * c.most_pairs:
                break
        pairs = which[clear].tolist(), rows[columns[clear]].tolist()
        for k, row in zip(*pairs, strict=True):
            self._tracklets[k].detection = row
        return stay.nonzero()[0], rows[open_], compared, by

    def _watch_others(self, members: list[Tracklet], rows: IntArray, appearance: Cost) -> None:
        """Learn how alike different objects are, in this scene and to this backbone.

        Of a matched pair, the least cost of the detection with another tracklet is a sample: that
        one is surely another object.
        """
        detection = np.array([t.detection for t in members])
        owned = detection[:, None] == rows
        least = np.where(owned, np.inf, appearance).min(axis=0)
        for sample in least[owned.any(axis=0) & np.isfinite(least)].tolist():
            self._others.add(sample)

    def _settle(self, detections: Detections) -> list[int]:
        """Correct the matched tracklets by their detections; the others are lost or gone.

        Returns:
            Which stay, of those that were moved to this frame.
        """
        found = np.array([t.detection for t in self._tracklets], np.int64)
        (matched,) = (found >= 0).nonzero()
        surprises = self._motion.update(matched.tolist(), self._boxes[found[matched]])
        frame, now_s = self._frame or 0, self._time_s
        oldest_s = now_s - self._config.direction_s + EPSILON_S
        seen = list(
            zip(
                detections.scores.tolist(),
                detections.classes.tolist(),
                self._boxes[:, :2].tolist(),
                strict=True,
            )
        )
        tracked, unconfirmed = State.TRACKED, State.UNCONFIRMED
        kept = []
        for row, t in enumerate(self._tracklets):
            if t.detection >= 0:
                t.score, label, centre = seen[t.detection]
                t.state = tracked
                t.last_frame, t.last_s = frame, now_s
                t.matches += 1
                vote(t, label)
                follow(t, centre, now_s, oldest_s)
            elif t.state is unconfirmed:
                continue
            else:
                t.state = State.LOST
                if self._time_s - t.last_s > self._config.buffer_s + EPSILON_S:
                    continue
            kept.append(row)
        if len(kept) < len(self._tracklets):
            self._tracklets = [self._tracklets[row] for row in kept]
        self._watch_change(surprises)
        return kept

    def _watch_change(self, surprises: Cost) -> None:
        """Learn how unsteadily boxes move here.

        Of the scene, not of one object: all are unsteady where the camera is, but a box that is
        half hidden stops or turns although its object walks on, and that must not be believed.
        """
        c = self._config
        if len(surprises):
            ordered, middle = sorted(surprises.tolist()), (len(surprises) - 1) / 2
            median = (ordered[floor(middle)] + ordered[ceil(middle)]) / 2
            seen = max(median, 1e-3) / EXPECTED_SURPRISE
            rate = c.change_rate if seen > 1.0 else c.calm_rate
            self._change = min(max(self._change * seen**rate, c.least_change), 1.0)

    def _newcomers(self, rows: IntArray, detections: Detections) -> list[int]:
        """Of unmatched detections, in order, those that begin a tracklet.

        One that lies on a matched detection or on a better newcomer is likelier to be the same
        object a second time than another one close by.
        """
        c = self._config
        new = rows[detections.scores[rows] >= c.start_score]
        if not len(new):
            return []
        taken = [t.detection for t in self._tracklets if t.detection >= 0]
        others = np.array([*taken, *new.tolist()], np.int64)
        boxes, classes = detections.boxes_xyxy, detections.classes
        twice = iou_matrix(boxes[new], boxes[others]) > c.start_overlap
        twice &= classes[new][:, None] == classes[others]
        free = ~twice[:, : len(taken)].any(axis=1)
        found: list[int] = []
        for place in np.flatnonzero(free).tolist():
            if not twice[place, [len(taken) + earlier for earlier in found]].any():
                found.append(place)
        return new[found].tolist() if found else []

    def _start(self, row: int, detections: Detections, *, confirmed: bool) -> None:
        at_once = confirmed or self._config.confirm_at_once
        label = int(detections.classes[row])
        tracklet = Tracklet(
            id=self._next_id,
            state=State.TRACKED if at_once else State.UNCONFIRMED,
            filter=BoxFilter(self._boxes[row], self._config.aspect),
            class_id=label,
            first_frame=self._frame or 0,
            last_frame=self._frame or 0,
            detection=row,
            last_s=self._time_s,
            score=float(detections.scores[row]),
            matches=1,
            votes={label: 1},
        )
        follow(tracklet, self._boxes[row, :2].tolist(), self._time_s, self._time_s)
        self._tracklets.append(tracklet)
        self._next_id += 1

    def _merge_duplicates(self, boxes: FloatArray) -> None:
        """Of a tracked and a lost tracklet in one place, the older one stays.

        Args:
            boxes: (N, 4) of all tracklets.
        """
        states = [t.state for t in self._tracklets]
        tracked = [k for k, state in enumerate(states) if state is State.TRACKED]
        lost = [k for k, state in enumerate(states) if state is State.LOST]
        if not tracked or not lost:
            return
        cost = 1.0 - iou_matrix(boxes[tracked], boxes[lost]).astype(np.float64)
        gone = set()
        for row, column in zip(*np.nonzero(cost < self._config.duplicate_limit), strict=True):
            one, other = self._tracklets[tracked[row]], self._tracklets[lost[column]]
            if not self._config.classes_apart or one.class_id == other.class_id:
                gone.add((other if one.age > other.age else one).id)
        if gone:
            self._tracklets = [t for t in self._tracklets if t.id not in gone]


def _weighted(weight: float, costs: Cost) -> Cost:
    """Costs times a weight; what is impossible stays impossible, also where the weight is 0."""
    return weight * costs if weight > 0 else np.where(costs < np.inf, 0.0, np.inf)


def _unit(x: Cost, y: Cost, small: Cost) -> tuple[Cost, Cost]:
    """Vectors of length 1, or of half as much where they are as short as `small`."""
    length = np.sqrt(x * x + y * y) + small
    return x / length, y / length


def best_others(lines: IntArray, values: Cost) -> Cost:
    """(P,) of each value the largest other one in its line, at least 0.

    Args:
        lines: (P,) number of the line that each value is in.
        values: (P,).
    """
    best = np.zeros(lines.max(initial=-1) + 1)
    second = best.copy()
    np.maximum.at(best, lines, values)
    found = best[lines]
    # One of the largest in each line, which has another one as large where there are more.
    holders = np.full(len(best), -1)
    (largest,) = (values == found).nonzero()
    holders[lines[largest]] = largest
    holders = holders[holders >= 0]
    rest = values.copy()
    rest[holders] = 0.0
    np.maximum.at(second, lines, rest)
    found[holders] = second[lines[holders]]
    return found


@dataclass(frozen=True, slots=True)
class Groups:
    """G groups of rows and columns: no row of one is linked to a column of another.

    Attributes:
        rows: Group by group the numbers of its rows, rising; groups in the order of their first.
        columns: As `rows`.
        starts: (2, G) where each begins in `rows` and in `columns`.
        sizes: (2, G) how many it has of them.
    """

    rows: IntArray
    columns: IntArray
    starts: IntArray
    sizes: IntArray

    def __len__(self) -> int:
        return len(self.sizes[0])

    def __getitem__(self, number: int) -> tuple[IntArray, IntArray]:
        (row, column), (rows, columns) = self.starts[:, number], self.sizes[:, number]
        return self.rows[row : row + rows], self.columns[column : column + columns]

    def pairs(self, looks: IntArray) -> IntArray:
        """(G,) how many pairs of a look and a column each has, by so many looks of each row."""
        pairs: IntArray = np.add.reduceat(looks[self.rows], self.starts[0]) * self.sizes[1]
        return pairs

    def twos(self) -> tuple[IntArray, IntArray, IntArray]:
        """Those that are a row and a column: their numbers, the row and the column of each."""
        (numbers,) = (self.sizes == 1).all(axis=0).nonzero()
        row, column = self.starts[:, numbers]
        return numbers, self.rows[row], self.columns[column]


def groups(rows: IntArray, columns: IntArray) -> Groups:
    """Rows and columns that hang together.

    Args:
        rows: (P,) of every link, its row.
        columns: (P,) its column.
    """
    none = rows.max(initial=-1) + 1
    # Everything gets the least row that it can be reached from, step by step.
    labels = np.full(none + 1, none)
    labels[rows] = rows
    while True:
        of_columns = np.full(columns.max(initial=-1) + 1, none)
        np.minimum.at(of_columns, columns, labels[rows])
        least = labels.copy()
        np.minimum.at(least, rows, of_columns[columns])
        least = least[least]
        if (least == labels).all():
            break
        labels = least
    # Every group has the number of its first row.
    numbers = np.append((labels[:-1] == np.arange(none)).nonzero()[0], none)
    sides = labels[:-1], of_columns
    orders = [side.argsort(kind="stable") for side in sides]
    ends = np.array(
        [side[order].searchsorted(numbers) for side, order in zip(sides, orders, strict=True)]
    )
    starts = ends[:, :-1]
    members, others = (order[:end] for order, end in zip(orders, ends[:, -1], strict=True))
    return Groups(members, others, starts, ends[:, 1:] - starts)


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
