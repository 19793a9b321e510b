"""How far the graphs of a bundle are from a reference, and how far they may be.

Numbers only: what the reference is (PyTorch, or another bundle) is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BackendError
from ...heads.propagation.label_maps import LABEL_MAP
from ...runtime.inference.base import Graphs, to_host
from .feeds import TEMPERATURE, Feeds

Float64 = npt.NDArray[np.float64]
Outputs = dict[str, Float64]

MATCHED_BELOW = 0.8
"""Costs are compared up to here.  None above 0.7 is ever matched, and what is far above depends on
how a vanishing reconstruction is rounded: the floor of its norm makes float16 say 1 where float32
says 0.9."""


@dataclass(frozen=True, slots=True)
class GraphBounds:
    """What a graph may differ by; None: as it comes.

    Errors are absolute for tensors whose values are within [-1, 1], and relative to the largest
    value otherwise.

    Attributes:
        max_error: Of any element.
        mean_error: Over a tensor.
        lowest_cosine: Of any feature point; of a tensor as a whole where it holds no points.
        cosine: The same, averaged.
        mean_rounding: Error of feature points, averaged, in multiples of what rounding every
            layer's result costs the reference.
        worst_rounding: Of any feature point, in multiples of what that costs this point, or the
            average one where it costs more.
    """

    max_error: float | None = None
    mean_error: float | None = None
    lowest_cosine: float | None = None
    cosine: float | None = None
    mean_rounding: float | None = None
    worst_rounding: float | None = None


@dataclass(frozen=True, slots=True)
class TaskBounds:
    """What a whole task may differ by, in frames that start from the same state.

    Attributes:
        costs: Largest difference of two costs that could be matched.
        labels: Least IoU of label scores, over all cells, frames and objects.
        responses: Largest difference of two responses, relative to the frame's largest.
    """

    costs: float
    labels: float
    responses: float


FULL = GraphBounds(max_error=2e-3, mean_error=1e-4, lowest_cosine=0.9999)
HALF = GraphBounds(max_error=2e-2, mean_error=2e-3, lowest_cosine=0.999)

HALF_BACKBONE = GraphBounds(
    mean_error=1.5e-3, cosine=0.9997, lowest_cosine=0.995, mean_rounding=2.0, worst_rounding=4.0
)
"""How far float16 leads away depends on the network, six times as far in EfficientNet-Lite0 as in
ResNet-18, and on the point: where the image shows next to nothing, terms cancel, and dividing by
the short sum that is left makes its rounding long.  No fixed cosine fits all of that.  PyTorch
tells what is due: the same network, every layer's result rounded to float16
(`TorchGraphs.rounded`).  Over six sequences and two networks, ONNX Runtime's mean error is 0.83 to
0.89 of that, no point's more than 1.5 times; bfloat16's is 6.8 to 8.4 times.  Twice and four times
leave room for sums that are kept in float16 or cut differently.  The fixed bounds are for
references that cannot tell: another bundle."""

INT8_BACKBONE = GraphBounds(cosine=0.98)

SINGLE = GraphBounds(max_error=1e-4, mean_error=1e-5, lowest_cosine=0.9999)
"""Of graphs that compute in float32 whatever the bundle's precision.  Fed the same values, ONNX
Runtime on a CPU and on an H200 is within 1e-6 of PyTorch; a similarity whose scale is wrong by a
tenth differs by 8e-4 where costs are low enough to decide anything."""

LABELS = GraphBounds(mean_error=1e-3)
"""Of a label map: pixels between two labels may get either, and these are few."""

GRAPH_BOUNDS: dict[str, tuple[GraphBounds, GraphBounds, GraphBounds]] = {
    "fp32": (FULL, FULL, SINGLE),
    "fp16": (HALF_BACKBONE, HALF, SINGLE),
    "int8": (INT8_BACKBONE, FULL, SINGLE),
}
"""By a bundle's precision: of the backbone, of the graphs of `FEATURES`, and of every other one but
`label_map`."""

FEATURES = frozenset({"box_features", "point_features", "select"})
"""Graphs whose outputs are features in the bundle's precision."""

TASK_BOUNDS = {
    "fp32": TaskBounds(costs=0.001, labels=0.999, responses=0.001),
    "fp16": TaskBounds(costs=0.02, labels=0.97, responses=0.02),
    "int8": TaskBounds(costs=0.25, labels=0.80, responses=0.25),
}
"""By a bundle's precision; measured on six sequences with two backbones: float32 within 5e-6,
float16 within 0.005 (costs, responses) and 0.008 (labels)."""


@dataclass(frozen=True, slots=True)
class GraphParity:
    """How far one graph is from the reference, over all sizes.

    Attributes:
        backend: What ran it.
        graph: Its name.
        tensor: The output with the largest error.
        max_error: Of that tensor's worst element; see `GraphBounds` for the unit.
        mean_error: The largest of the tensors' mean errors.
        cosine: The lowest of the tensors' mean cosines.
        lowest_cosine: The lowest cosine of any feature point, or of a tensor without points.
        sizes: At how many sizes it was compared.
        mean_rounding: See `GraphBounds`, at the worst size; None: the reference cannot tell.
        worst_rounding: Likewise.
    """

    backend: str
    graph: str
    tensor: str
    max_error: float
    mean_error: float
    cosine: float
    lowest_cosine: float
    sizes: int
    mean_rounding: float | None = None
    worst_rounding: float | None = None

    def excess(self, bounds: GraphBounds) -> str | None:
        """What is beyond a bound, in words; None where nothing is."""
        for name in (field.name for field in fields(bounds)):
            bound, value = getattr(bounds, name), getattr(self, name)
            if bound is None or value is None:
                continue
            above = not name.endswith("cosine")
            # Written so that NaN is beyond every bound.
            if not (value <= bound if above else value >= bound):
                sign = "at most" if above else "at least"
                return f"{name.replace('_', ' ')} {value:.3g}, expected {sign} {bound:g}"
        return None

    def to_json(self) -> dict[str, Any]:
        """As plain data; what is not finite becomes None."""
        return finite(asdict(self))


def finite(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with None for floats that JSON has no text for."""
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in data.items()}


def bounds_of(precision: str, graph: str) -> GraphBounds:
    """What a graph of a bundle of some precision may differ by."""
    if graph == LABEL_MAP:
        return LABELS
    backbone, features, others = GRAPH_BOUNDS[precision]
    return backbone if graph == "backbone" else features if graph in FEATURES else others


Rounded = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""(B, h, w, C) features of images, every layer's result rounded to the precision that is judged."""

_LEAST_ROUNDING = 2.0**-11
"""Of a feature point: that of the result itself to float16."""


def compare_graph(
    graph: str,
    reference: Graphs,
    runner: Graphs,
    backend: str,
    feeds: Sequence[Feeds],
    rounded: Rounded | None = None,
) -> GraphParity:
    """Run one graph on both sides and measure how far they are apart.

    Args:
        graph: Its name.
        reference: What is right.
        runner: What is judged.
        backend: What to call it.
        feeds: Inputs at one or more sizes; converted to the dtypes that either side takes.
        rounded: Of the backbone, where the precision that is judged rounds and the reference can
            tell how much that costs.

    Raises:
        BackendError: A side fails, or gives another shape.
    """
    found: list[tuple[str, float, float, Float64]] = []
    roundings: list[tuple[float, float]] = []
    for inputs in feeds:
        given = [_as_given(value, runner, reference, graph, i) for i, value in enumerate(inputs)]
        want, got = (_outputs(side, graph, given) for side in (reference, runner))
        found += [_differ(graph, name, want[name], value) for name, value in got.items()]
        if rounded is not None:
            due = np.asarray(rounded(given[0]), np.float64)
            roundings.append(_in_roundings(want["features"], got["features"], due))
    # NaN is the worst there is, and the largest of numbers among which it is would not say so.
    tensor = max(found, key=lambda row: np.inf if np.isnan(row[1]) else row[1])
    return GraphParity(
        backend,
        graph,
        tensor[0],
        tensor[1],
        float(np.max([row[2] for row in found])),
        float(np.min([row[3].mean() for row in found])),
        float(np.min([row[3].min() for row in found])),
        len(feeds),
        *(float(np.max(one)) for one in zip(*roundings, strict=True)),
    )


def _in_roundings(want: Float64, got: Float64, due: Float64) -> tuple[float, float]:
    """Error of feature points in multiples of that which is due: mean, and of the worst point."""
    error, cost = (np.linalg.norm(side - want, axis=-1) for side in (got, due))
    mean = max(float(cost.mean()), _LEAST_ROUNDING)
    return float(error.mean()) / mean, float((error / np.maximum(cost, mean)).max())


def _as_given(
    value: npt.NDArray[Any], runner: Graphs, reference: Graphs, graph: str, place: int
) -> npt.NDArray[Any]:
    """An input as the coarser side sees it: how it was rounded is not the graph's doing."""
    dtypes = {side.spec.graphs[graph].inputs[place].dtype for side in (runner, reference)}
    return value.astype(np.float16) if "float16" in dtypes else value


def _outputs(side: Graphs, graph: str, inputs: Sequence[npt.NDArray[Any]]) -> Outputs:
    spec = side.spec.graphs[graph]
    feeds = [
        value.astype(tensor.dtype, copy=False)
        for value, tensor in zip(inputs, spec.inputs, strict=True)
    ]
    arrays = side.run(graph, *feeds)
    outputs = {
        tensor.name: np.asarray(to_host(array), np.float64)
        for tensor, array in zip(spec.outputs, arrays, strict=True)
    }
    return _COMPARED[graph](outputs) if graph in _COMPARED else outputs


def _differ(
    graph: str, name: str, want: Float64, got: Float64
) -> tuple[str, float, float, Float64]:
    """Name, largest error, mean error and cosines of one output."""
    if want.shape != got.shape:
        raise BackendError(
            f"graph {graph}, output {name}: got shape {got.shape}, expected {want.shape}"
        )
    error = np.abs(got - want) / max(1.0, float(np.abs(want).max(initial=0.0)))
    points = want.ndim >= 3 and name in _POINTS
    rows = [array.reshape(-1, array.shape[-1] if points else array.size) for array in (want, got)]
    return name, float(error.max(initial=0.0)), float(error.mean()), _cosines(*rows)


_POINTS = frozenset({"features", "points", "selected"})
"""Outputs whose last axis is that of feature points."""


def _cosines(want: Float64, got: Float64) -> Float64:
    """(N,) cosines of rows; rows that are the same have 1 even where they are zero."""
    product = (want * got).sum(axis=1)
    lengths = np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1)
    cosine: Float64 = np.where((want == got).all(axis=1), 1.0, product / np.maximum(lengths, 1e-12))
    return cosine


def _matchable(outputs: Outputs) -> Outputs:
    """RSM where it can decide anything."""
    return {"cost": np.minimum(outputs["cost"], MATCHED_BELOW)}


def _propagated(outputs: Outputs) -> Outputs:
    """Candidates and what they would propagate: equal candidates may come in either order."""
    best, labels = outputs["merged"], outputs["merged_labels"]
    share = np.exp((best - best.max(axis=1, keepdims=True)) / TEMPERATURE)
    share /= share.sum(axis=1, keepdims=True)
    return {"merged": best, "merged_labels": (share[..., None] * labels).sum(axis=1)}


_COMPARED: Mapping[str, Callable[[Outputs], Outputs]] = {
    "rsm": _matchable,
    "rsm_masks": _matchable,
    "rsm_groups": _matchable,
    "rsm_mask_groups": _matchable,
    "propagate_global": _propagated,
    "propagate_local": _propagated,
    "propagate_recent": _propagated,
}
"""Graphs whose outputs are compared as something that follows from them."""
