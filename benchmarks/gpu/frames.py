"""A frame of each task, from a 1080p image to the answer on the host, for every way to do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...heads.association.matching import AssociationConfig, Associator
from ...heads.config import MotConfig
from ...heads.propagation.label_maps import best_labels, downsample_labels
from ...records import Frame, UInt8Array
from ...runtime.inference.base import Array, Graphs
from ...runtime.preprocessing import Letterbox
from ..eager import EagerBackbone, EagerGraphs, roi_align
from ..speed.mot import STRIDE, OurMot, Side, WatchedGraphs, cost_of_objects
from ..style import as_array
from ..timing import Stages
from .timing import DeviceStopwatch

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two ways to do the same may differ.

    Attributes:
        features: Largest difference of a coordinate of a unit point.
        costs: Of a cost, up to `speed.mot.COMPARED_COST`.
        labels: Smallest share of pixels that get the same label.
    """

    features: float
    costs: float
    labels: float


EXACT = Tolerance(features=1e-3, costs=1e-3, labels=0.999)
"""Between float32 and float32 on a CPU."""

HALF = Tolerance(features=0.01, costs=0.02, labels=0.995)
"""Where float16 takes part, or a GPU's shortened float32 (TF32): five to ten times what a float16
bundle differs by on the CPU."""


class DeviceGraphs(WatchedGraphs):
    """Passes everything on to a runner, times it, and leaves the cost where it was computed."""

    _newest: tuple[Array, ...] = ()

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph; its time counts as stage `rsm`."""
        with self._watch.stage("rsm"):
            outputs = self._graphs.run(graph, *feeds)
        if graph == "rsm":
            self._newest = outputs[0], *feeds
        return outputs

    def place(self, array: Array) -> Array:
        """As the runner does."""
        return self._graphs.place(array)

    def limit(self, graph: str, input_index: int, axis: int) -> int | None:
        """As the runner does."""
        return self._graphs.limit(graph, input_index, axis)

    def filled(self, count: int) -> int:
        """As the runner does."""
        return self._graphs.filled(count)

    def values_at_once(self) -> int:
        """As the runner does."""
        return self._graphs.values_at_once()

    def fetch_cost(self) -> None:
        """Bring the last cost to the host, outside the times."""
        if self._newest:
            self.cost = cost_of_objects(*self._newest)


class TorchMot(Side):
    """PyTorch, features kept on its device."""

    def __init__(self, backbone: EagerBackbone) -> None:
        super().__init__(EagerGraphs(backbone.style))
        self._backbone = backbone

    def describe(self, frame: Frame, boxes_xyxy: Float32) -> Array:
        """See `Side`."""
        letterbox = Letterbox.fit(frame.size_hw, self.network_hw)
        with self.watch.stage("letterbox"):
            image = letterbox.apply(frame.image)
        with self.watch.stage("backbone"):
            features = self._backbone(image)
        with self.watch.stage("boxes"):
            boxes = letterbox.to_network(boxes_xyxy)
            return as_array(roi_align(features, boxes, stride=STRIDE, output_hw=self.output_hw))


def graph_mot(runner: Graphs, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
    """The bundle's graphs, measured by a watch that waits for the device."""
    return _measured(OurMot(runner), runner, watch, size_hw)


def torch_mot(backbone: EagerBackbone, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
    """PyTorch, measured by a watch that waits for the device."""
    return _measured(TorchMot(backbone), EagerGraphs(backbone.style), watch, size_hw)


def _measured(side: Side, graphs: Graphs, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
    side.config = MotConfig(preset="unitrack", height=size_hw[0], width=size_hw[1])
    side.watch = watch
    side.graphs = DeviceGraphs(graphs, watch)
    side.associator = Associator(side.graphs, AssociationConfig(scale=side.config.rsm_scale))
    return side


class Propagating(Protocol):
    """What carries labels on: the runtime's `Propagator`, or the baseline's."""

    def start(self, features: Any, labels: Float32) -> None:
        """The first frame."""

    def step(self, features: Any) -> Float32:
        """Labels (cells, L) of the next frame, on the host."""


@dataclass(frozen=True, slots=True)
class VosParts:
    """One way to do VOS.

    Attributes:
        features: Of a network image (height, width, 3) uint8, where they were computed.
        points: The same as (cells, C) on the host.
        propagator: Made for a grid of rows and columns.
    """

    features: Callable[[UInt8Array], Any]
    points: Callable[[Any], Float32]
    propagator: Callable[[int, int], Propagating]


class VosSide:
    """Mask propagation through a video.

    Args:
        parts: How.
        watch: Where the times go.
        size_hw: Of the network's image.
        frame: The first frame.
        mask: (H, W) uint8, its map.

    Attributes:
        points: (cells, C) features of the last frame.
        labels: (H, W) of the last frame at the source's size.
    """

    def __init__(
        self,
        parts: VosParts,
        watch: DeviceStopwatch,
        size_hw: tuple[int, int],
        frame: Frame,
        mask: UInt8Array,
    ) -> None:
        self._parts = parts
        self._watch = watch
        self._letterbox = Letterbox.fit(frame.size_hw, size_hw)
        self._grid = -(-size_hw[0] // STRIDE), -(-size_hw[1] // STRIDE)
        self._propagator = parts.propagator(*self._grid)
        ids = np.unique(mask[mask > 0])
        first = downsample_labels(mask, ids, self._letterbox, self._grid)
        features = parts.features(self._letterbox.apply(frame.image))
        self._propagator.start(features, first.reshape(self._grid[0] * self._grid[1], -1))
        self.points: Float32 = np.zeros((0, 0), np.float32)
        self.labels: UInt8Array = np.zeros((0, 0), np.uint8)

    def step(self, frame: Frame) -> Stages:
        """One frame."""
        with self._watch.stage("letterbox"):
            image = self._letterbox.apply(frame.image)
        with self._watch.stage("backbone"):
            features = self._parts.features(image)
        with self._watch.stage("propagation"):
            scores = self._propagator.step(features)
        with self._watch.stage("labels"):
            self.labels = best_labels(scores.reshape(*self._grid, -1), self._letterbox)
        stages = self._watch.take()
        self.points = self._parts.points(features)
        return stages


class VosAgreement:
    """The worst difference between two sides over all compared frames."""

    def __init__(self) -> None:
        self.feature_error = 0.0
        self.labels_equal = 1.0

    def add(self, reference: VosSide, side: VosSide) -> None:
        """Compare the frame that both have just done."""
        error = float(np.abs(reference.points - side.points).max())
        self.feature_error = max(self.feature_error, error)
        same = float((reference.labels == side.labels).mean())
        self.labels_equal = min(self.labels_equal, same)

    def describe(self) -> str:
        """One line."""
        return f"features within {self.feature_error:.1e}, {self.labels_equal:.3%} of pixels alike"
