"""What vos and pose have in common: the first frame's objects are propagated."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from ..errors import RequestError
from ..records import Detections, Frame
from ..runtime.head import NOTHING, FeatureRequest, Head
from ..runtime.inference.base import Graphs
from ..runtime.preprocessing import FeatureMap
from .config import PropagatedConfig
from .propagation.propagator import RECENT, Propagator, recent_at_once

Config = TypeVar("Config", bound=PropagatedConfig)


class Focused(Protocol):
    """Objects that are followed in regions."""

    @property
    def request(self) -> FeatureRequest:
        """What the next frame is looked at in."""


class PropagatedHead(Head, Generic[Config]):
    """Carries labels of the first frame on; a task says what the labels are.

    With focus, the backbone sees regions around the objects.

    Args:
        graphs: Runs the `propagate_*` graphs, and with focus `backbone`.
        config: Parameters.

    Raises:
        RequestError: More top-k than the bundle was exported for.
    """

    _focused: Focused | None = None
    graphs_used: tuple[str, ...] = ("propagate_global", "propagate_local", "propagate_labels")

    def __init__(self, graphs: Graphs, config: Config) -> None:
        most = graphs.spec.parameters["top_k"]
        if config.top_k > most:
            raise RequestError(
                f"--{config.task}-top-k {config.top_k}: more than the bundle keeps ({most}): "
                f"export one with `cli export --top-k {config.top_k}`"
            )
        self._graphs = graphs
        self._config = config
        # Bundles of fixed image sizes, and engines, take the sizes that they were made for.
        any_size = not graphs.spec.sizes_hw and graphs.limit("backbone", 0, 1) is None
        self._focuses = config.focus == "auto" and any_size
        self.needs_features = self.asks_ahead = not self._focuses
        if not self._focuses and 1 < recent_at_once(graphs) <= config.memory:
            self.graphs_used = (*self.graphs_used, RECENT)

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """The source's ratio with the configured short side; small sources are not enlarged."""
        short = min(source_hw)
        target = min(self._config.short_side or short, short)
        height, width = (max(8, round(side * target / short)) for side in source_hw)
        return height, width

    def request(
        self,
        frame: Frame,
        detections: Detections | None = None,
    ) -> FeatureRequest:
        """The regions around the objects; without focus, the whole frame."""
        if not self._focuses:
            return super().request(frame, detections)
        return NOTHING if self._focused is None else self._focused.request

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
