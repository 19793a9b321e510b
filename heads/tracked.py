"""What mot, mots and posetrack have in common: a detector's objects get identities."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
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
from ..runtime.boxes import clip_boxes, valid_rows
from ..runtime.head import Head
from ..runtime.inference.base import Array, Graphs
from ..runtime.preprocessing import FeatureMap, Letterbox
from .association.kalman import boxes_of, moved_boxes
from .association.tracklets import ObjectFeatures, Tracklet
from .config import TrackedConfig

if TYPE_CHECKING:
    from .association.fused_matching import Appearance, FusedAssociator, FusedConfig
    from .association.look_memory import Look, LookMemory
    from .association.matching import Associator

Config = TypeVar("Config", bound=TrackedConfig)


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
        self._last: tuple[Frame, Sequence[Tracklet], Detections] | None = None
        self._paper: Associator | None = None
        self._fused: FusedAssociator | None = None
        self._looks = False
        # One of the two is used, and only that one is imported.
        if config.preset == "unitrack":
            self._paper = self._paper_associator(fps)
        else:
            from .association.fused_matching import FusedAssociator

            self._looks = config.looks_when_needed
            make = self._look_memory if self._looks else None
            self._fused = FusedAssociator(graphs, self.fused_numbers(fps), make)
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
        from .association.look_memory import LookMemory

        kept = numbers.memory, numbers.memory_interval_s
        return LookMemory(self._graphs, *kept, self._describe_looks, self._count_pixels)

    def _count_pixels(self, pixels: int) -> None:
        self.backbone_pixels += pixels

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as in the authors' code."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._dropped.clear()
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
        if not seen.scores.size:
            return self.associate(frame, seen, None)
        if self._looks:
            return self.associate(frame, seen, self.looks(frame, seen))
        return self.associate(frame, seen, self._describe(seen, features))

    def looks(self, frame: Frame, seen: Detections) -> list[Look]:
        """What the features of the tracked detections can be computed from, row by row."""
        from .association.look_memory import Look
        from .association.tiles import tile_of

        found = []
        for row, box in enumerate(seen.boxes_xyxy.tolist()):
            letterbox = tile_of(box, frame.size_hw)
            tile = letterbox.apply(letterbox.cut_out(frame.image))
            where = self._where(seen, row, letterbox)
            found.append(Look(tile, letterbox, where, bool(where.any())))
        return found

    def associate(self, frame: Frame, seen: Detections, appearance: Appearance | None) -> Tracks:
        """Give identities to detections whose appearance is known.

        Args:
            frame: Its image is not looked at.
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
            weak = left & (seen.scores < (self._config.start_confidence or 0.0))
            self._count_dropped("start", ~weak)
            self._count_dropped("unmatched", ~left | weak)
        self._last = frame, tracklets, seen
        return self._report(frame, tracklets, seen)

    def predict(self, frame: Frame) -> Tracks:
        """The tracks of the last frame with detections, where their motion takes them."""
        if self._last is None:
            return super().predict(frame)
        last, tracklets, seen = self._last
        elapsed = float(frame.index - last.index)
        if self._fused is not None and frame.time_s > last.time_s:
            elapsed = (frame.time_s - last.time_s) * self._fps
        filters = [t.filter for t in tracklets]
        before, now = boxes_of(filters), moved_boxes(filters, elapsed)
        shown = valid_rows(clip_boxes(now, frame.size_hw))
        ids, found = matched(tracklets, seen)
        tracks = self._moved(frame, ids[shown], found[shown], before[shown], now[shown])
        return replace(tracks, predicted=np.ones(len(tracks), np.bool_))

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

    def _drop_reasons(self) -> dict[str, str]:
        """What a line says after the number, by reason."""
        flag = f"--{self._config.task}-"
        lowest = "confidence" if self._fused is None else "low-confidence"
        return {
            "outside": "detections not tracked: wholly outside the image",
            "confidence": f"detections not tracked: score below {flag}{lowest} "
            f"{self._lowest_confidence:g}",
            "start": f"detections not reported: score below {flag}start-confidence "
            f"{self._config.start_confidence or 0.0:g}, and on no track",
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
        """The detections that are tracked."""

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
        """Appearance of objects whose tiles are in one image.

        Args:
            features: (1, rows, cols, C) of the image.
            looks: N objects.
            places: Top and left of their tiles in the image.
        """

    @abstractmethod
    def _moved(
        self, frame: Frame, ids: IntArray, found: Detections, before: FloatArray, now: FloatArray
    ) -> Tracks:
        """Tracks some frames after their last detections.

        Args:
            frame: The later one.
            ids: (N,).
            found: (N,) the last detections.
            before: (N, 4) float32 boxes of the motion filters then, in source pixels.
            now: (N, 4) where they are now, partly in the image.
        """

    @abstractmethod
    def _report(self, frame: Frame, tracklets: Sequence[Tracklet], seen: Detections) -> Tracks:
        """The matched tracklets, oldest first; each has its row of what was seen."""


def matched(tracklets: Sequence[Tracklet], seen: Detections) -> tuple[IntArray, Detections]:
    """Ids (N,) int64 of matched tracklets, and the N objects that they were matched to.

    The objects are of the tracklets' classes.
    """
    ids = np.array([t.id for t in tracklets], np.int64)
    found = seen[np.array([t.detection for t in tracklets], np.int64)]
    classes = np.array([t.class_id for t in tracklets], np.int64)
    return ids, found if (classes == found.classes).all() else replace(found, classes=classes)


_SINGULAR = {"detections": "detection", "boxes": "box", "masks": "mask"}


def moved_points(points_xy: FloatArray, before: FloatArray, now: FloatArray) -> FloatArray:
    """Points that move and grow with a box.

    Args:
        points_xy: (…, 2) x, y.
        before: (4,) the box they are in: left, top, right, bottom.
        now: (4,) where it goes.
    """
    scale = (now[2:] - now[:2]) / (before[2:] - before[:2])
    return np.asarray((points_xy - before[:2]) * scale + now[:2], np.float32)
