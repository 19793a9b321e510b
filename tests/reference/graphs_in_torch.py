"""The heads' graphs as the PyTorch modules they come from.

Nothing is exported, so a test that needs no backbone costs no export.  Feeds are checked as every
engine checks them.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from unitrack_edge.export.graphs.table import GraphDefinition, Sizes, head_graphs
from unitrack_edge.runtime.bundle.spec import BundleSpec, GraphSpec
from unitrack_edge.runtime.inference.base import Graphs
from unitrack_edge.runtime.inference.runner import check_feeds


@functools.cache
def _graphs(channels: int, top_k: int, dtype: str) -> dict[str, GraphDefinition]:
    return head_graphs(Sizes(channels, 8, (), top_k, dtype))


class TorchRunner(Graphs):
    """`run`, `spec` and `calls` of the heads' graphs.

    Args:
        channels: C of the feature map.
        top_k: Keys kept by propagation.
        dtype: Of feature maps and points.
    """

    def __init__(self, channels: int = 16, top_k: int = 10, dtype: str = "float32") -> None:
        self._table = _graphs(channels, top_k, dtype)
        specs = {
            name: GraphSpec(name, "", "", 0, row.inputs, row.outputs)
            for name, row in self._table.items()
        }
        self.spec = BundleSpec(
            "none", "none", "layer3", 8, channels, "fp32", 18, (), {}, {}, specs, {},
            {"top_k": top_k},
        )  # fmt: skip
        self.calls: list[str] = []

    def run(self, graph: str, *feeds: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run one graph; inputs and outputs in the order of its spec."""
        self.calls.append(graph)
        check_feeds(self.spec.graphs[graph], feeds)
        tensors = [torch.from_numpy(np.array(feed)) for feed in feeds]
        with torch.no_grad():
            result = self._table[graph].module(*tensors)
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(output.numpy() for output in outputs)
