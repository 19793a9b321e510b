"""What vos and pose have in common: the first frame's objects are propagated."""

from __future__ import annotations

from typing import Generic, TypeVar

from ..errors import DetectionError
from ..runtime.head import Head
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from .config import PropagatedConfig
from .propagation.propagator import RECENT, Propagator, recent_at_once

Config = TypeVar("Config", bound=PropagatedConfig)


class PropagatedHead(Head, Generic[Config]):
    """Carries labels of the first frame on; a task says what the labels are.

    Args:
        graphs: Runs the `propagate_*` graphs.
        config: Parameters.

    Raises:
        DetectionError: More top-k than the bundle was exported for.
    """

    graphs_used: tuple[str, ...] = ("propagate_global", "propagate_local", "propagate_labels")

    def __init__(self, graphs: Graphs, config: Config) -> None:
        most = graphs.spec.parameters["top_k"]
        if config.top_k > most:
            raise DetectionError(
                f"{config.task}: top-k {config.top_k} is more than the bundle keeps ({most}): "
                f"export one with `cli export --top-k {config.top_k}`"
            )
        self._graphs = graphs
        self._config = config
        if 1 < recent_at_once(graphs) <= config.memory:
            self.graphs_used = (*self.graphs_used, RECENT)

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """The source's ratio with the configured short side; small sources are not enlarged."""
        short = min(source_hw)
        target = min(self._config.short_side or short, short)
        height, width = (max(8, round(side * target / short)) for side in source_hw)
        return height, width

    def _propagator(self, features: FeatureMap) -> Propagator:
        """An empty memory for feature grids of this size."""
        rows, cols = features.grid_hw
        config = self._config
        return Propagator(
            self._graphs,
            rows,
            cols,
            top_k=config.top_k,
            temperature=config.temperature,
            radius=config.radius,
            memory=config.memory,
            first_radius=config.first_radius or None,
        )
