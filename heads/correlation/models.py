"""What a single-object tracker remembers of its target: a template, or a filter that learns."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...errors import BundleError
from ...runtime.bundle.spec import GraphSpec
from ...runtime.inference.base import Array, Graphs, to_host
from ..config import SotConfig
from .geometry import gaussian_label

Float32 = npt.NDArray[np.float32]


class TargetModel(Protocol):
    """The appearance of one target.

    Attributes:
        graphs_used: The graphs that it runs.
        learns: Whether `learn` wants every frame, and not only the first.
        grid: Cells of a crop's side.
        origin: Row and column of a response that speak for a target that did not move.
    """

    grid: int
    origin: int

    @property
    def graphs_used(self) -> tuple[str, ...]: ...
    @property
    def learns(self) -> bool: ...

    def start(self, crop: Array) -> None:
        """Learn from the first frame: (1, G, G, C) features with the target in the middle."""

    def respond(self, search: Array) -> Float32:
        """(S, G, G, C) features of crops → (S, R, R); about 1 where the target surely is."""

    def learn(self, crop: Array) -> None:
        """Learn from a later frame, with the target in the middle."""


class TemplateModel:
    """XCORR: the middle of the first crop, correlated with every later one; it never changes.

    Its response is the mean cosine of the template's cells with the cells they lie on, under the
    Hann window.

    Args:
        graphs: Runs `xcorr`.
    """

    graphs_used = ("xcorr",)
    learns = False

    def __init__(self, graphs: Graphs) -> None:
        spec = graph_spec(graphs, "xcorr")
        self._graphs = graphs
        self.grid = fixed_size(spec.inputs[0].shape[1])
        self._inner = self.grid + 1 - fixed_size(spec.outputs[0].shape[1])
        # The template's own corner: what lies there again has not moved.
        self.origin = self.grid // 2 - self._inner // 2
        self._first: Array | None = None

    def start(self, crop: Array) -> None:
        """Keep the first crop."""
        self._first = crop

    def respond(self, search: Array) -> Float32:
        """(S, R, R) with R = G - inner + 1."""
        if self._first is None:
            raise RuntimeError("respond before start")
        (response,) = self._graphs.run("xcorr", search, self._first)
        mean: Float32 = to_host(response) / np.float32(self._inner**2)
        return mean

    def learn(self, crop: Array) -> None:
        """Nothing: the template stays."""


class FilterModel:
    """DCF: a correlation filter in closed form, averaged over time.

    Args:
        graphs: Runs `dcf_update` and `dcf_response`.
        config: Parameters.
    """

    graphs_used = ("dcf_update", "dcf_response")

    def __init__(self, graphs: Graphs, config: SotConfig) -> None:
        update = graph_spec(graphs, "dcf_update")
        graph_spec(graphs, "dcf_response")
        crop, template, alpha, *_ = (tensor.shape for tensor in update.inputs)
        self._graphs = graphs
        self.learns = config.learning_rate > 0
        self.grid = fixed_size(crop[1])
        # `respond` lays responses out with no motion in the middle.
        self.origin = self.grid // 2
        self._label = gaussian_label(self.grid, self.grid / (1 + config.padding) * config.sigma)
        self._regularisation = np.array([config.regularisation], np.float32)
        self._rate = np.array([config.learning_rate], np.float32)
        self._nothing = (
            np.zeros([fixed_size(size) for size in template], np.float32),
            np.zeros([fixed_size(size) for size in alpha], np.float32),
        )
        self._learned: tuple[Array, Array] = self._nothing

    def start(self, crop: Array) -> None:
        """The filter of the first crop alone."""
        self._learned = self._nothing
        self._update(crop, np.ones(1, np.float32))

    def respond(self, search: Array) -> Float32:
        """(S, G, G); 1 is the height of the peak that the filter was taught."""
        (response,) = self._graphs.run("dcf_response", search, *self._learned)
        shifted: Float32 = np.fft.fftshift(to_host(response), axes=(1, 2))
        return shifted

    def learn(self, crop: Array) -> None:
        """Move the averages towards this crop."""
        self._update(crop, self._rate)

    def _update(self, crop: Array, rate: Float32) -> None:
        template, alpha = self._graphs.run(
            "dcf_update", crop, *self._learned, self._label, rate, self._regularisation
        )
        self._learned = template, alpha


def make_model(graphs: Graphs, config: SotConfig) -> TargetModel:
    """The model that a configuration asks for.

    Raises:
        BundleError: The bundle has no graph for it.
    """
    return TemplateModel(graphs) if config.head == "xcorr" else FilterModel(graphs, config)


def graph_spec(graphs: Graphs, name: str) -> GraphSpec:
    """A graph's spec.

    Raises:
        BundleError: The bundle was written before there was such a graph.
    """
    spec = graphs.spec.graphs.get(name)
    if spec is None:
        raise BundleError(
            f"the bundle of {graphs.spec.backbone} has no graph {name}, which sot needs: "
            f"write it again with `cli export --backbone {graphs.spec.backbone} --force`"
        )
    return spec


def fixed_size(size: int | str) -> int:
    """A dimension that the exporter fixed.

    Raises:
        BundleError: It is dynamic.
    """
    if isinstance(size, str):
        raise BundleError(f"the bundle's sot graphs leave the size {size} open, expected a number")
    return size
