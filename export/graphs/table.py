"""The graphs of a bundle: one row each with its tensors, sizes and example inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...runtime.bundle.spec import TensorSpec
from . import appearance as graphs
from .correlation import GRID, DcfResponse, DcfUpdate, XCorr, inner_cells
from .letterbox import LetterboxImage
from .profiles import Sizes
from .propagation import (
    RECENT,
    LabelMap,
    PropagateGlobal,
    PropagateLabels,
    PropagateLocal,
    PropagateRecent,
)
from .rsm import Rsm, RsmGroups

FP32_PRODUCTS = {
    "rsm_masks": "as rsm",
    "rsm_groups": "as rsm",
    "rsm_mask_groups": "as rsm",
    "rsm": "affinities, Gram matrices and norms: differences of 0.001 decide matches at scale 100",
    "propagate_global": "affinities, divided by a temperature of 0.05",
    "propagate_local": "affinities, divided by a temperature of 0.05",
    "propagate_recent": "as propagate_local",
    "propagate_labels": "ten products a cell, after the softmax",
    "label_map": "interpolation of shares that may be nearly equal",
    "xcorr": "sums of up to 50,000 products, beyond the resolution of float16",
    "dcf_update": "a division by a power spectrum of wide range",
    "dcf_response": "a spectrum of wide range and its inverse transform",
}
"""Graphs whose convolutions and matrix products stay in float32 in every bundle, and why."""


@dataclass(frozen=True, slots=True)
class GraphDefinition:
    """One row of the table.

    Attributes:
        module: What is exported.
        inputs: Names, dtypes and shapes; dynamic sizes by the names of `Sizes.ranges`.
        outputs: Likewise.
        example: Makes inputs for tracing and for the check against PyTorch, from a size for each
            dynamic dimension and a random generator.
    """

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: Callable[[Mapping[str, int], torch.Generator], tuple[Tensor, ...]]


def head_graphs(sizes: Sizes) -> dict[str, GraphDefinition]:
    """Every graph but the backbone, by name."""
    c, k, f = sizes.channels, sizes.top_k, sizes.dtype
    feature_map = ("features", f, (1, "map_rows", "cols", c))
    query = ("query", f, (1, "rows", "cols", c))
    keys = ("keys", f, (1, "rows", "cols", c))
    labels = ("labels", "float32", ("cells", "labels"))
    best = ("best", "float32", ("queries", k))
    best_labels = ("best_labels", "float32", ("queries", k, "labels"))
    tiles = (
        ("query_index", "int64", ("tiles", "per_tile")),
        ("window_index", "int64", ("tiles", "window")),
        ("bias", "float32", ("tiles", "per_tile", "window")),
    )
    recent = range(1, RECENT + 1)
    merged = _specs(
        ("merged", "float32", ("queries", k)),
        ("merged_labels", "float32", ("queries", k, "labels")),
    )
    rsm, groups = Rsm(), RsmGroups()
    rows: dict[str, Row] = {
        "letterbox": (
            LetterboxImage(),
            _specs(
                ("frame", "uint8", ("frame_height", "frame_width", 3)),
                ("row_index", "int64", ("image_height", "row_taps")),
                ("row_share", "float32", ("image_height", "row_taps")),
                ("column_index", "int64", ("image_width", "column_taps")),
                ("column_share", "float32", ("image_width", "column_taps")),
            ),
            _specs(("image", "uint8", (1, "image_height", "image_width", 3))),
        ),
        "box_features": (
            graphs.BoxFeatures(),
            _specs(
                feature_map,
                ("weights_y", "float32", ("boxes", "out_h", "map_rows")),
                ("weights_x", "float32", ("boxes", "out_w", "cols")),
            ),
            _specs(("points", f, ("boxes", "box_points", c))),
        ),
        "point_features": (
            graphs.PointFeatures(),
            _specs(
                feature_map,
                ("index", "int64", ("objects", "points", 4)),
                ("weight", "float32", ("objects", "points", 4)),
            ),
            _specs(("points", f, ("objects", "points", c))),
        ),
        "select": (
            graphs.SelectObjects(),
            _specs(
                ("old", f, ("old", "points", c)),
                ("new", f, ("new", "points", c)),
                ("chosen", "int64", ("chosen",)),
            ),
            _specs(("selected", f, ("chosen", "points", c))),
        ),
        "rsm": _rsm_row(rsm, "", c, f),
        "rsm_masks": _rsm_row(rsm, "mask_", c, f),
        "rsm_groups": _groups_row(groups, "compared", c, f),
        "rsm_mask_groups": _groups_row(groups, "mask_compared", c, f),
        "propagate_global": (
            PropagateGlobal(k),
            _specs(query, keys, labels, ("query_index", "int64", ("queries",)), best, best_labels),
            merged,
        ),
        "propagate_local": (
            PropagateLocal(k),
            _specs(query, keys, labels, *tiles, best, best_labels),
            merged,
        ),
        "propagate_recent": (
            PropagateRecent(k),
            _specs(
                query,
                *((f"keys_{number}", *keys[1:]) for number in recent),
                *((f"labels_{number}", *labels[1:]) for number in recent),
                *tiles,
                best,
                best_labels,
            ),
            merged,
        ),
        "propagate_labels": (
            PropagateLabels(),
            _specs(
                best,
                best_labels,
                ("order", "int64", ("ordered",)),
                ("temperature", "float32", (1,)),
                ("top_k", "int64", (1,)),
            ),
            _specs(("propagated", "float32", ("ordered", "labels"))),
        ),
        "label_map": (
            LabelMap(),
            _specs(
                ("scores", "float32", ("cells", "shown_labels")),
                ("row_share", "float32", ("frame_height", "rows")),
                ("column_share", "float32", ("frame_width", "cols")),
            ),
            _specs(("label_map", "uint8", ("frame_height", "frame_width"))),
        ),
        **sot_rows(c, f),
    }
    return {
        name: GraphDefinition(module, inputs, outputs, _example(inputs))
        for name, (module, inputs, outputs) in rows.items()
    }


def _rsm_row(module: Rsm, prefix: str, channels: int, dtype: str) -> Row:
    """`rsm`; the same module serves boxes and masks, whose numbers and sizes differ widely."""
    tracks, track_points = f"{prefix}tracks", f"{prefix}track_points"
    detections, detection_points = f"{prefix}detections", f"{prefix}detection_points"
    of_points = ("float32", (tracks, detections, detection_points))
    return (
        module,
        _specs(
            ("tracks", dtype, (tracks, track_points, channels)),
            ("track_mask", "float32", (tracks, track_points)),
            ("detections", dtype, (detections, detection_points, channels)),
            ("detection_mask", "float32", (detections, detection_points)),
            ("scale", "float32", (1,)),
        ),
        _specs(
            ("cost", "float32", (tracks, detections)),
            ("track_similarity", "float32", (tracks, detections)),
            ("level", *of_points),
            ("dot", *of_points),
            ("square", *of_points),
        ),
    )


def _groups_row(module: RsmGroups, count: str, channels: int, dtype: str) -> Row:
    """`rsm_groups`; the same module serves boxes and masks."""
    points = f"{count}_points"
    return (
        module,
        _specs(
            ("old", dtype, ("old", points, channels)),
            ("new", dtype, ("new", points, channels)),
            *(
                (f"{side}_{name}", kind, (count, *more))
                for side in ("track", "detection")
                for name, kind, more in (
                    ("rows", "int64", ()),
                    ("mask", "float32", (points,)),
                    ("groups", "float32", ()),
                )
            ),
            ("scale", "float32", (1,)),
        ),
        _specs(("cost", "float32", (count, count))),
    )


def backbone_graph(module: nn.Module, sizes: Sizes) -> GraphDefinition:
    """The row of the backbone; its image size is fixed where exactly one was asked for."""
    height: int | str = "height"
    width: int | str = "width"
    rows: int | str = "rows"
    cols: int | str = "cols"
    if len(sizes.sizes_hw) == 1:
        height, width = sizes.sizes_hw[0]
        rows, cols = -(-height // sizes.stride), -(-width // sizes.stride)
    inputs = _specs(("frames", "uint8", ("batch", height, width, 3)))
    outputs = _specs(("features", sizes.dtype, ("batch", rows, cols, sizes.channels)))
    return GraphDefinition(module, inputs, outputs, _example(inputs))


def _specs(*rows: tuple[str, str, tuple[int | str, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(*row) for row in rows)


# How far an index input may reach, as the dimensions whose product it stays below.
_INDEX_BELOW = {
    "row_index": ("frame_height",),
    "column_index": ("frame_width",),
    "index": ("map_rows", "cols"),
    "chosen": ("old",),
    "track_rows": ("old",),
    "detection_rows": ("old",),
    "query_index": ("rows", "cols"),
    "window_index": ("rows", "cols"),
    "order": ("queries",),
}


_SHARED_OUT = ("weights_y", "weights_x", "weight", "labels", "best_labels", "scores")


def _example(
    specs: tuple[TensorSpec, ...],
) -> Callable[[Mapping[str, int], torch.Generator], tuple[Tensor, ...]]:
    def make(sizes: Mapping[str, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(_tensor(spec, sizes, generator) for spec in specs)

    return make


def _tensor(spec: TensorSpec, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
    shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
    if spec.name == "temperature":
        return torch.tensor([0.05])
    if spec.name in ("rate", "regularisation"):
        return torch.tensor([0.25])
    if spec.name == "scale":
        return torch.tensor([100.0])
    if spec.name == "top_k":
        return torch.tensor([7])
    if spec.name in _INDEX_BELOW:
        bound = 1
        for size in _INDEX_BELOW[spec.name]:
            bound *= sizes[size]
        return torch.randint(0, bound, shape, generator=generator)
    if spec.dtype == "uint8":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    if spec.name.endswith("_groups"):
        return torch.randint(0, 3, shape, generator=generator).float()
    if spec.name.endswith("_mask"):
        # The first point of every object exists, so that the check also sees full objects.
        mask = (torch.rand(shape, generator=generator) < 0.8).float()
        mask[:, 0] = 1.0
        return mask
    if spec.name.endswith("_share"):
        # Sums of these are exact in any order, so that nothing depends on it how they are rounded.
        return torch.randint(0, 3, shape, generator=generator) / 16.0
    if spec.name == "best":
        return torch.rand(shape, generator=generator).sort(dim=1, descending=True).values * 0.1
    if spec.name.startswith("labels_") or spec.name in _SHARED_OUT:
        return torch.rand(shape, generator=generator)
    if spec.name == "bias":
        hidden = torch.rand(shape, generator=generator) < 0.5
        return torch.where(hidden, graphs.MASKED, 0.0)
    points = torch.randn(shape, generator=generator)
    return graphs.normalise_points(points).to(getattr(torch, spec.dtype))


Row = tuple[nn.Module, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""A graph with its inputs and outputs."""


def sot_rows(channels: int, dtype: str) -> dict[str, Row]:
    """`xcorr`, `dcf_update` and `dcf_response`.

    Args:
        channels: C of the feature map.
        dtype: Of feature maps.
    """
    inner = inner_cells()
    reached = GRID - inner + 1
    half_spectrum = (GRID, GRID // 2 + 1)
    search = TensorSpec("search", dtype, ("scales", GRID, GRID, channels))
    template = TensorSpec("template", "float32", (inner * inner, channels))
    alpha = TensorSpec("alpha", "float32", half_spectrum)
    return {
        "xcorr": (
            XCorr(),
            (search, TensorSpec("first", dtype, (1, GRID, GRID, channels))),
            (TensorSpec("response", "float32", ("scales", reached, reached)),),
        ),
        "dcf_update": (
            DcfUpdate(),
            (
                TensorSpec("crop", dtype, (1, GRID, GRID, channels)),
                template,
                alpha,
                TensorSpec("label", "float32", half_spectrum),
                TensorSpec("rate", "float32", (1,)),
                TensorSpec("regularisation", "float32", (1,)),
            ),
            (
                TensorSpec("new_template", "float32", template.shape),
                TensorSpec("new_alpha", "float32", half_spectrum),
            ),
        ),
        "dcf_response": (
            DcfResponse(),
            (search, template, alpha),
            (TensorSpec("response", "float32", ("scales", GRID, GRID)),),
        ),
    }
