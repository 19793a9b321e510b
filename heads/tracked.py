"""What mot, mots and posetrack have in common: a detector's objects get identities."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ..records import (
    BoolArray,
    Detections,
    FloatArray,
    Frame,
    IntArray,
    Tracks,
    people_of,
)
from ..runtime.boxes import carried, clip_boxes, valid_rows
from ..runtime.head import Head
from ..runtime.inference.base import Array, Graphs
from ..runtime.preprocessing import FeatureMap, Letterbox
from .association.kalman import (
    FILTER_FPS,
    BoxFilter,
    boxes_of,
    moved_boxes,
    update_filters,
    xyxy_to_xyah,
)
from .association.tracklets import ObjectFeatures, State, Tracklet
from .config import TrackedConfig

if TYPE_CHECKING:
    from .association.fused_matching import Appearance, FusedAssociator, FusedConfig
    from .association.look_memory import Look, LookMemory
    from .association.matching import Associator
    from .camera.motion import CameraMotion
    from .correlation.following import Follower

Config = TypeVar("Config", bound=TrackedConfig)


@dataclass(frozen=True, slots=True)
class Shown:
    """The objects of the last frame with detections, which motion can carry on.

    Attributes:
        frame: That frame.
        tracklets: N of them: those that were matched, then those that were missed and are reported.
        matched: How many were matched.
        found: (N,) objects as the detector last saw them.
        boxes: (N, 4) float32 boxes of the motion filters at that time, in source pixels.
    """

    frame: Frame
    tracklets: Sequence[Tracklet]
    matched: int
    found: Detections
    boxes: FloatArray

    @property
    def ids(self) -> IntArray:
        """(N,)."""
        return np.array([t.id for t in self.tracklets], np.int64)


class TrackedHead(Head, Generic[Config]):
    """Tracks the objects of a detector; a task says what it keeps, describes and reports.

    Args:
        graphs: Runs the graphs of `graphs_used`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_detections = True
    may_shrink = True

    def __init__(self, graphs: Graphs, config: Config, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        self._lowest_confidence = config.lowest_confidence
        self._dropped: Counter[str] = Counter()
        self._class_names: Sequence[str] | None = None
        self._people: tuple[int, ...] = ()
        self._fps = fps
        self._last: Shown | None = None
        self._rows: IntArray | None = None
        self._paper: Associator | None = None
        self._fused: FusedAssociator | None = None
        self._looks = False
        self._camera: CameraMotion | None = None
        self._follower: Follower | None = None
        # One of the two is used, and only that one is imported.
        if config.preset == "unitrack":
            self._paper = self._paper_associator(fps)
        else:
            from .association.fused_matching import FusedAssociator
            from .association.similarity import GROUPS, compares_groups

            self._looks = config.looks_when_needed
            graph = self.graphs_used[-1]
            # Masks on a whole frame have more points than the graph for groups takes.
            if (graph == "rsm" or self._looks) and compares_groups(graphs, GROUPS[graph]):
                self.graphs_used = (*self.graphs_used, GROUPS[graph])
            make = self._look_memory if self._looks else None
            self._fused = FusedAssociator(graphs, self.fused_numbers(fps), make)
        self._start_camera()
        self._start_follower()
        self.needs_features = not self._looks

    def _paper_associator(self, fps: float) -> Associator:
        from .association.matching import AssociationConfig, Associator

        config = self._config
        numbers = AssociationConfig(
            appearance_weight=config.appearance_weight,
            cost_limit=config.cost_limit,
            overlap_limit=config.overlap_limit,
            duplicate_limit=config.duplicate_limit,
            buffer_frames=round(config.buffer * fps / 30.0),
            use_motion=config.use_motion,
            scale=config.rsm_scale,
            similarity=config.similarity,
            classes_apart=config.classes == "apart",
            **self._own_numbers(),
        )
        return Associator(self._graphs, numbers)

    def fused_numbers(self, fps: float) -> FusedConfig:
        """The numbers of preset `memory`."""
        from .association.fused_matching import FusedConfig

        config = self._config
        numbers = FusedConfig(
            high_score=config.confidence,
            low_score=config.lowest_confidence,
            start_score=config.start_confidence or 0.0,
            appearance_weight=config.appearance_weight,
            cost_limit=config.cost_limit,
            overlap_limit=config.overlap_limit,
            duplicate_limit=config.duplicate_limit,
            buffer_s=config.buffer / 30.0,
            memory=round(config.memory or 1),
            scale=config.rsm_scale,
            similarity=config.similarity,
            classes_apart=config.classes == "apart",
            fps=fps,
        )
        return replace(numbers, **self._own_fused_numbers())

    def _look_memory(self, numbers: FusedConfig) -> LookMemory:
        from .association.look_memory import DeviceLookMemory, LookMemory
        from .association.similarity import GROUPS

        kept = numbers.memory, numbers.memory_interval_s
        at_once = not set(GROUPS.values()).isdisjoint(self.graphs_used)
        make = DeviceLookMemory if at_once else LookMemory
        describes = self._describe_looks, self.graphs_used[0]
        return make(self._graphs, *kept, *describes, self._count_pixels)

    def _start_follower(self) -> None:
        """Remember nobody's looks, if tracks are followed by them."""
        if self._config.between == "appearance":
            from .correlation.following import Follower

            self._follower = Follower(self._graphs, self._count_pixels)

    def _count_pixels(self, pixels: int) -> None:
        self.backbone_pixels += pixels

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as in the authors' code."""
        return self._config.height, self._config.width

    def _start_camera(self) -> None:
        """Know nothing of the camera, if it may move."""
        way = self._config.follows_camera
        if way != "off":
            from .camera.motion import CameraMotion

            self._camera = CameraMotion(always=way == "flow")

    def warm_up(self) -> None:
        """See `Head`: objects of each proportions are compared, as many as one call looks at.

        A GPU plans its work for every new number of images (on an H200 with ONNX Runtime and
        ResNet-18 for a tenth of a second, twice).
        """
        if not self._looks:
            return
        from .association.appearance_memory import Comparison
        from .association.tiles import batches_for

        numbers = self.fused_numbers(self._fps)
        scale = self._graphs.place(np.array([numbers.scale], np.float32))
        frame = Frame(0, 0.0, np.full((160, 160, 3), 114, np.uint8))
        counts = batches_for(self._graphs, self.graphs_used[0])
        for count, size_hw in product(counts, ((128, 64), (64, 128), (128, 128))):
            memory, seen = self._look_memory(numbers), _alike(count, size_hw, frame.size_hw)
            tracklets = [
                Tracklet(row + 1, State.TRACKED, BoxFilter(box), 0, 0, 0, row)
                for row, box in enumerate(xyxy_to_xyah(seen.boxes_xyxy))
            ]
            rows, looks = np.arange(count), np.ones(count, np.int64)
            # What comes again has its place from the second time on, and is joined in the third.
            for time_s in range(4):
                new = self.looks(frame, seen)
                compared = [Comparison(tracklets, looks, rows)]
                memory.compare(compared, new, numbers.similarity, scale)
                memory.update(tracklets, new, float(time_s))
        self.backbone_pixels = 0

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._dropped.clear()
        self._start_camera()
        self._start_follower()
        self._last = None
        for associator in (self._paper, self._fused):
            if associator is not None:
                associator.reset()

    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """Give identities to the detections of the next frame.

        Args:
            frame: Its index is larger than that of the last one.
            features: Of the whole frame; not looked at, and may be None, where objects are looked
                at only when they are compared.
            detections: None: there is none.

        Raises:
            DetectionError: The detections are not of the kind that the task tracks.
        """
        given = Detections.empty() if detections is None else detections
        if given.class_names not in (None, self._class_names):
            self._class_names, self._people = given.class_names, people_of(given.class_names)
        seen = self._usable(given, frame.size_hw)
        appearance: Appearance | None = None
        if seen.scores.size:
            # First of all: a device has the image, or waits for this to go there with it.
            appearance = self.looks(frame, seen) if self._looks else self._describe(seen, features)
        camera, fused = self._camera, self._fused
        if camera is None or fused is None:
            return self.associate(frame, seen, appearance)
        self._follow_camera(frame, seen.boxes_xyxy, camera, fused)
        tracks = self.associate(frame, seen, appearance)
        if self._last is not None:
            count = self._last.matched
            boxes = self._last.found.boxes_xyxy[:count]
            turn = camera.judge(frame.time_s, self._last.ids[:count], boxes)
            if turn is not None:
                fused.redirect(*turn)
        return tracks

    def _follow_camera(
        self, frame: Frame, boxes: FloatArray, camera: CameraMotion, fused: FusedAssociator
    ) -> None:
        """Move the tracklets with a camera that moves; `boxes` (N, 4) are the frame's objects."""
        camera.watch(frame.image, boxes)
        motion = camera.take()
        if camera.moves:
            fused.follow_camera(motion, certain=camera.certain)

    def looks(self, frame: Frame, seen: Detections) -> list[Look]:
        """What the features of the tracked detections can be computed from, row by row."""
        from .association.look_memory import Look
        from .association.tiles import tile_of

        found = []
        for row, box in enumerate(seen.boxes_xyxy.tolist()):
            letterbox = tile_of(box, frame.size_hw)
            where = self._where(seen, row, letterbox)
            found.append(Look(frame.image, letterbox, where, bool(where.any())))
        return found

    def associate(self, frame: Frame, seen: Detections, appearance: Appearance | None) -> Tracks:
        """Give identities to detections whose appearance is known.

        Args:
            frame: Its image is not looked at, but where tracks are followed by appearance.
            seen: What the task tracks of the frame's detections.
            appearance: Row by row; None where there is none.
        """
        tracklets: list[Tracklet] = []
        if self._fused is not None:
            tracklets = self._fused.step(frame.index, frame.time_s, seen, appearance)
        elif self._paper is not None:
            tracklets = self._paper.step(
                frame.index, seen, cast("ObjectFeatures | None", appearance)
            )
        if len(tracklets) < seen.scores.size:
            left = np.ones(seen.scores.size, np.bool_)
            left[[t.detection for t in tracklets]] = False
            weak = left & (seen.scores < self._least_to_start[1])
            self._count_dropped("start", ~weak)
            self._count_dropped("unmatched", ~left | weak)
        coasting = self._fused is not None and self._fused.coasting
        missed = self._missed(frame.size_hw) if coasting else []
        tracks = self._present(frame, tracklets, seen, missed)
        if self._follower is not None and self._last is not None:
            last = self._last
            self._follower.remember(frame.image, last.ids.tolist(), last.boxes, last.matched)
        return tracks

    def _present(
        self,
        frame: Frame,
        tracklets: Sequence[Tracklet],
        seen: Detections,
        missed: Sequence[Tracklet],
    ) -> Tracks:
        """Remember and report the objects of a frame with detections."""
        self._last = shown = self._shown(frame, tracklets, seen, missed)
        ids, found, first = shown.ids, shown.found, shown.matched
        if first == len(shown.tracklets):
            return self._report(frame, ids, found, None)
        now = np.array([t.box for t in shown.tracklets[first:]], np.float32)
        moved, kept = carried(found[first:], shown.boxes[first:], now)
        ids = np.concatenate([ids[:first], ids[first:][kept]])
        predicted = np.arange(len(ids)) >= first
        return self._report(frame, ids, joined(found[:first], moved), predicted)

    def predict(self, frame: Frame) -> Tracks:
        """The tracks of the last frame with detections, where their motion takes them.

        Where they are followed by appearance, what is seen corrects that.
        """
        last = self._last
        if last is None:
            return super().predict(frame)
        now = self._moved(frame, last)
        inside = valid_rows(clip_boxes(now, frame.size_hw))
        moved, kept = carried(last.found[inside], last.boxes[inside], now[inside])
        return self._report(frame, last.ids[inside][kept], moved, np.ones(len(moved), np.bool_))

    def _moved(self, frame: Frame, last: Shown) -> FloatArray:
        """(N, 4) float32 boxes of the shown objects in a frame without detections."""
        if self._follower is not None and self._fused is not None:
            return self._followed(frame, last, self._follower, self._fused)
        elapsed = float(frame.index - last.frame.index)
        if self._fused is not None:
            elapsed_s = frame.time_s - last.frame.time_s
            elapsed = FILTER_FPS * (elapsed_s if elapsed_s > 0 else elapsed / self._fps)
        now = moved_boxes([t.filter for t in last.tracklets], elapsed)
        if self._camera is not None:
            self._camera.watch(frame.image, now)
            now = self._camera.moved(now)
        return now

    def _followed(
        self, frame: Frame, last: Shown, follower: Follower, fused: FusedAssociator
    ) -> FloatArray:
        """The same, by motion and appearance; the motion filters learn of what was seen."""
        filters = [t.filter for t in last.tracklets]
        if self._camera is not None:
            self._follow_camera(frame, boxes_of(filters), self._camera, fused)
        fused.carry(frame.index, frame.time_s)
        rows, centres = follower.find(frame.image, last.ids.tolist(), boxes_of(filters))
        update_filters([filters[row] for row in rows.tolist()], centres)
        return boxes_of(filters)

    def _missed(self, size_hw: tuple[int, int]) -> list[Tracklet]:
        """Tracklets without a match in this frame that are reported all the same.

        Only those wholly in the image: an object at its border is likelier to leave.
        """
        coasting = [] if self._fused is None else self._fused.coasting
        return [t for t in coasting if t.box[0] > 0 and t.box[2] < size_hw[1]]

    def _shown(
        self,
        frame: Frame,
        tracklets: Sequence[Tracklet],
        seen: Detections,
        missed: Sequence[Tracklet],
    ) -> Shown:
        """The objects of a frame; those missed are as they were seen last."""
        found, count = matched(tracklets, seen), len(tracklets)
        boxes = np.array([t.box for t in tracklets], np.float32).reshape(-1, 4)
        last = self._last
        if last is not None and missed:
            places = {t.id: row for row, t in enumerate(last.tracklets)}
            missed = [t for t in missed if t.id in places]
            rows = np.array([places[t.id] for t in missed], np.int64)
            boxes = np.concatenate([boxes, last.boxes[rows]])
            found, tracklets = joined(found, last.found[rows]), (*tracklets, *missed)
        return Shown(frame, tracklets, count, found, boxes)

    def matched_rows(self, ids: IntArray) -> IntArray:
        """See `Head`."""
        last, rows = self._last, self._rows
        every = () if last is None else last.tracklets[: last.matched]
        found = {t.id: t.detection if rows is None else int(rows[t.detection]) for t in every}
        return np.array([found.get(number, -1) for number in ids.tolist()], np.int64)

    def dropped(self) -> dict[str, int]:
        """How many detections and boxes are in no result, by reason."""
        return {reason: count for reason, count in self._dropped.items() if count}

    def drop_notes(self) -> list[str]:
        """A line a reason."""
        reasons = self._drop_reasons()
        lines = []
        for reason, count in self.dropped().items():
            noun, rest = reasons[reason].split(" ", 1)
            lines.append(f"{count} {_SINGULAR[noun] if count == 1 else noun} {rest}")
        if self._camera is not None and self._camera.unknown:
            lines.append(
                f"camera motion not seen in {self._camera.unknown} frames, and taken for none: too "
                "few corners that go one way"
            )
        return lines

    def _probable(self, seen: Detections, reason: str, good: BoolArray) -> BoolArray:
        """Which detections are good and of a high enough score; counts the others.

        Args:
            seen: N detections.
            reason: Why those are dropped that are not good.
            good: (N,) bool.
        """
        probable = seen.scores >= self._lowest_confidence
        self._count_dropped(reason, good)
        self._count_dropped("confidence", probable | ~good)
        return np.asarray(good & probable, np.bool_)

    def _count_dropped(self, reason: str, kept: BoolArray) -> None:
        """Count the rows that are not kept."""
        self._dropped[reason] += len(kept) - int(np.count_nonzero(kept))

    @property
    def _least_to_start(self) -> tuple[str, float]:
        """The parameter that decides from which score on a track starts, and the score."""
        start, compared = self._config.start_confidence or 0.0, self._config.confidence
        if self._fused is not None and compared > start:
            return "confidence", compared
        return "start-confidence", start

    def _drop_reasons(self) -> dict[str, str]:
        """What a line says after the number, by reason."""
        flag = f"--{self._config.task}-"
        option, least = self._least_to_start
        lowest = "confidence" if self._fused is None else "low-confidence"
        return {
            "outside": "detections not tracked: wholly outside the image, or without width or "
            "height",
            "confidence": f"detections not tracked: score below {flag}{lowest} "
            f"{self._lowest_confidence:g}",
            "start": f"detections not reported: score below {flag}{option} {least:g}, and on no "
            "track",
            "unmatched": "detections not reported: in no confirmed track (a new one needs a "
            "second match)",
        }

    @abstractmethod
    def _own_numbers(self) -> dict[str, Any]:
        """What the task's `AssociationConfig` has besides the shared parameters."""

    @abstractmethod
    def _own_fused_numbers(self) -> dict[str, Any]:
        """What the task's `FusedConfig` has besides the shared parameters."""

    @abstractmethod
    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        """The detections that are tracked; says in `_rows` which those are, None: all."""

    @abstractmethod
    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures | None:
        """Appearance of the tracked detections, at least one."""

    @abstractmethod
    def _where(self, seen: Detections, row: int, letterbox: Letterbox) -> npt.NDArray[np.generic]:
        """What of its tile a tracked detection is; all 0 where it has no point."""

    @abstractmethod
    def _describe_looks(
        self, features: Array, looks: Sequence[Look], places: Sequence[tuple[int, int]]
    ) -> ObjectFeatures:
        """Appearance of objects whose tiles are in one feature map.

        Args:
            features: (1, rows, cols, C).
            looks: N objects.
            places: Top and left of their tiles, in pixels.
        """

    @abstractmethod
    def _report(
        self, frame: Frame, ids: IntArray, found: Detections, predicted: BoolArray | None
    ) -> Tracks:
        """What is reported of N objects.

        Args:
            frame: Where they are.
            ids: (N,), of those that were matched oldest first.
            found: (N,).
            predicted: (N,) bool: put there by motion; None: none is.
        """


def _alike(count: int, size_hw: tuple[int, int], frame_hw: tuple[int, int]) -> Detections:
    """Objects of one size in the middle of a frame, with all that any task asks of one."""
    inner, outer = np.array(size_hw), np.array(frame_hw)
    (top, left), (bottom, right) = (outer - inner) // 2, (outer + inner) // 2
    box = np.array([left, top, right, bottom], np.float32)
    mask = np.zeros((1, *frame_hw), np.bool_)
    mask[:, top:bottom, left:right] = True
    joints = np.ones((count, 17, 3), np.float32)
    joints[..., :2] = np.linspace(box[:2], box[2:], 17)
    boxes, ones = np.tile(box, (count, 1)), np.ones(count, np.float32)
    masks = np.repeat(mask, count, axis=0)
    return Detections(boxes, ones, np.zeros(count, np.int64), masks, joints)


def matched(tracklets: Sequence[Tracklet], seen: Detections) -> Detections:
    """The N objects that tracklets were matched to, of the tracklets' classes."""
    found = seen[np.array([t.detection for t in tracklets], np.int64)]
    classes = np.array([t.class_id for t in tracklets], np.int64)
    return found if (classes == found.classes).all() else replace(found, classes=classes)


def joined(one: Detections, other: Detections) -> Detections:
    """The rows of both, which are of one kind."""
    if not (len(one) and len(other)):
        return one if len(one) else other
    masks = joints = None
    if one.masks is not None and other.masks is not None:
        masks = np.concatenate([one.masks, other.masks])
    if one.keypoints is not None and other.keypoints is not None:
        joints = np.concatenate([one.keypoints, other.keypoints])
    return Detections(
        np.concatenate([one.boxes_xyxy, other.boxes_xyxy]),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.classes, other.classes]),
        masks,
        joints,
        one.class_names,
    )


_SINGULAR = {"detections": "detection", "boxes": "box", "masks": "mask"}
