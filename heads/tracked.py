"""What mot, mots and posetrack have in common: a detector's objects get identities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ..records import Detections, Frame, IntArray, Tracks
from ..runtime.head import Head
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from .association.matching import AssociationConfig, Associator
from .association.tracklets import ObjectFeatures, Tracklet
from .config import TrackedConfig

if TYPE_CHECKING:
    from .association.fused_matching import FusedAssociator, FusedConfig

Config = TypeVar("Config", bound=TrackedConfig)


class TrackedHead(Head, Generic[Config]):
    """Tracks the objects of a detector; a task says what it keeps, describes and reports.

    Args:
        graphs: Runs the graphs of `graphs_used`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_detections = True

    def __init__(self, graphs: Graphs, config: Config, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        self._lowest_confidence = config.lowest_confidence
        self._paper = Associator(graphs, self._paper_numbers(fps))
        self._fused: FusedAssociator | None = None
        if config.preset != "unitrack":
            from .association.fused_matching import FusedAssociator

            self._fused = FusedAssociator(graphs, self.fused_numbers(fps))

    def _paper_numbers(self, fps: float) -> AssociationConfig:
        config = self._config
        return AssociationConfig(
            appearance_weight=config.appearance_weight,
            cost_limit=config.cost_limit,
            overlap_limit=config.overlap_limit,
            duplicate_limit=config.duplicate_limit,
            buffer_frames=round(config.buffer * fps / 30.0),
            use_motion=config.use_motion,
            scale=config.rsm_scale,
            similarity=config.similarity,
            **self._own_numbers(),
        )

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
            fps=fps,
        )
        return replace(numbers, **self._own_fused_numbers())

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as in the authors' code."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._paper.reset()
        if self._fused is not None:
            self._fused.reset()

    def step(
        self, frame: Frame, features: FeatureMap, detections: Detections | None = None
    ) -> Tracks:
        """Give identities to the detections of the next frame.

        Raises:
            DetectionError: The detections are not of the kind that the task tracks.
        """
        given = Detections.empty() if detections is None else detections
        seen = self._usable(given, frame.size_hw)
        appearance = self._describe(seen, features) if seen.scores.size else None
        return self.associate(frame, seen, appearance)

    def associate(
        self, frame: Frame, seen: Detections, appearance: ObjectFeatures | None
    ) -> Tracks:
        """Give identities to detections whose appearance is known.

        Args:
            frame: Its image is not looked at.
            seen: What the task tracks of the frame's detections.
            appearance: Row by row; None where there is none.
        """
        if self._fused is not None:
            tracklets = self._fused.step(frame.index, frame.time_s, seen, appearance)
        else:
            tracklets = self._paper.step(frame.index, seen, appearance)
        return self._report(frame, tracklets, seen)

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
    def _report(self, frame: Frame, tracklets: Sequence[Tracklet], seen: Detections) -> Tracks:
        """The matched tracklets, oldest first; each has its row of what was seen."""


def matched(tracklets: Sequence[Tracklet], seen: Detections) -> tuple[IntArray, Detections]:
    """Ids (N,) int64 of matched tracklets, and the N objects that they were matched to."""
    ids = np.array([t.id for t in tracklets], np.int64)
    return ids, seen[np.array([t.detection for t in tracklets], np.int64)]
