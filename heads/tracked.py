"""What mot, mots and posetrack have in common: an observer's objects get identities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np

from ..records import Frame, IntArray, Observations, Tracks
from ..runtime.head import Head
from ..runtime.inference.runner import GraphRunner
from ..runtime.preprocessing import FeatureMap
from .association.matching import AssociationConfig, Associator
from .association.tracklets import ObjectFeatures, Tracklet
from .config import TrackedConfig

Config = TypeVar("Config", bound=TrackedConfig)


class TrackedHead(Head, Generic[Config]):
    """Tracks the objects of an observer; a task says what it keeps, describes and reports.

    Args:
        graphs: Runs the graphs of `graphs_used`.
        config: Parameters.
        fps: Of the source, for the buffer.
    """

    needs_observations = True

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
        """One size for all sources, as the authors have it."""
        return self._config.height, self._config.width

    def reset(self) -> None:
        """Forget all tracks; ids start again from 1."""
        self._associator.reset()

    def step(
        self, frame: Frame, features: FeatureMap, observations: Observations | None = None
    ) -> Tracks:
        """Give identities to what was seen in the next frame.

        Raises:
            ObservationError: The observations are not of the kind that the task tracks.
        """
        seen = self._usable(observations or Observations.empty(), frame.size_hw)
        appearance = self._describe(seen, features) if len(seen) else None
        tracklets = self._associator.step(frame.index, seen, appearance)
        ids = np.array([t.id for t in tracklets], np.int64)
        found = seen[np.array([t.detection for t in tracklets], np.int64)]
        return self._report(frame.index, ids, found, tracklets)

    @abstractmethod
    def _own_numbers(self) -> dict[str, Any]:
        """What the task's association has other than by default, besides the shared parameters."""

    @abstractmethod
    def _usable(self, seen: Observations, size_hw: tuple[int, int]) -> Observations:
        """The observations that are tracked."""

    @abstractmethod
    def _describe(self, seen: Observations, features: FeatureMap) -> ObjectFeatures | None:
        """Appearance of the tracked observations, at least one."""

    @abstractmethod
    def _report(
        self, frame_index: int, ids: IntArray, found: Observations, tracklets: list[Tracklet]
    ) -> Tracks:
        """The matched tracklets, oldest first, with the observation of each."""
