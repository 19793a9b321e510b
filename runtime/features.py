"""The backbone on frames: one pass, however many heads look at the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BundleError
from ..records import Frame
from .engine import Array
from .graph_runner import GraphRunner
from .letterbox import Letterbox


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """φ of one frame.

    Attributes:
        array: (1, rows, cols, C) unit points, where the backend computed them.
        letterbox: From source pixels to the network's image.
        stride: Network pixels per cell.
    """

    array: Array
    letterbox: Letterbox
    stride: int

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[1], self.array.shape[2]


class FeatureExtractor:
    """Letterboxes frames and runs the backbone.

    Args:
        graphs: Runs `backbone`.
    """

    def __init__(self, graphs: GraphRunner) -> None:
        self._graphs = graphs
        self._stride = graphs.spec.stride

    def prepare(self, frame: Frame, network_hw: tuple[int, int]) -> tuple[Array, Letterbox]:
        """The network's image (1, height, width, 3) uint8 of a frame, and how it was made."""
        letterbox = Letterbox.fit(frame.size_hw, network_hw)
        image = letterbox.apply(frame.image)
        return np.ascontiguousarray(image)[None], letterbox

    def extract(self, image: Array, letterbox: Letterbox) -> FeatureMap:
        """Features of a prepared image."""
        (features,) = self._graphs.run("backbone", image)
        return FeatureMap(features, letterbox, self._stride)


def network_size(
    spec_sizes: tuple[tuple[int, int], ...], wanted_hw: tuple[int, int], source_hw: tuple[int, int]
) -> tuple[int, int]:
    """The image size to use, given what a bundle takes.

    Args:
        spec_sizes: `BundleSpec.sizes_hw`; empty: any size.
        wanted_hw: What the head asks for.
        source_hw: Of the source's frames.

    Returns:
        `wanted_hw` where the bundle takes it; otherwise, of the bundle's sizes, the one in which
        the picture is largest without exceeding what was wanted by more than is needed.

    Raises:
        BundleError: No size fits.
    """
    if not spec_sizes or wanted_hw in spec_sizes:
        return wanted_hw
    if min(source_hw) < 1:
        raise BundleError(f"no image size of the bundle fits a source of {source_hw}")

    def misfit(size: tuple[int, int]) -> tuple[float, int]:
        wanted = Letterbox.fit(source_hw, wanted_hw).inner_hw
        given = Letterbox.fit(source_hw, size).inner_hw
        return abs(np.log(given[0] / wanted[0])), size[0] * size[1]

    return min(spec_sizes, key=misfit)
