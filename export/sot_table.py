"""Rows of the table of graphs for single-object tracking."""

from __future__ import annotations

from torch import nn

from ..runtime.specs import TensorSpec
from .sot_graphs import GRID, DcfResponse, DcfUpdate, XCorr, inner_cells

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
