"""What mot, mots and posetrack have in common: a detector's objects get identities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np

from ..records import Detections, Frame, IntArray, Tracks
from ..runtime.head import Head
from ..runtime.inference.runner import GraphRunner
from ..runtime.preprocessing import FeatureMap
from .association.matching import AssociationConfig, Associator
from .association.tracklets import ObjectFeatures, Tracklet
from .config import TrackedConfig

Config = TypeVar("Config", bound=TrackedConfig)


class TrackedHead(Head, Generic[Config]):
    """Tracks the objects of a detector; a task says what it keeps, describes and reports.

    Args:
        graphs: Runs the graphs of `graphs_used`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_detections = True

    def __init__(self, graphs: GraphRunner, config: Config, fps: float = 30.0) -> None:
        self._graphs = graphs
        self._config = config
        numbers = AssociationConfig(
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
        self._associator = Associator(graphs, numbers)

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """One size for all sources, as in the authors' code."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._associator.reset()

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
        tracklets = self._associator.step(frame.index, seen, appearance)
        ids = np.array([t.id for t in tracklets], np.int64)
        found = seen[np.array([t.detection for t in tracklets], np.int64)]
        return self._report(frame.index, ids, found, tracklets)

    @abstractmethod
    def _own_numbers(self) -> dict[str, Any]:
        """What the task's association has other than by default, besides the shared parameters."""

    @abstractmethod
    def _usable(self, seen: Detections, size_hw: tuple[int, int]) -> Detections:
        """The detections that are tracked."""

    @abstractmethod
    def _describe(self, seen: Detections, features: FeatureMap) -> ObjectFeatures | None:
        """Appearance of the tracked detections, at least one."""

    @abstractmethod
    def _report(
        self, frame_index: int, ids: IntArray, found: Detections, tracklets: list[Tracklet]
    ) -> Tracks:
        """The matched tracklets, oldest first, with the detection of each."""
