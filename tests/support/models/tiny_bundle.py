"""A bundle of two small graphs, written without PyTorch in a few milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import BundleSpec, GraphSpec, TensorSpec

from ..tolerance import sum_error

MIX_INPUTS = (
    TensorSpec("points", "float32", ("rows", 3)),
    TensorSpec("weights", "float32", ("rows", "cols")),
    TensorSpec("offset", "int64", (1,)),
)
MIX_OUTPUTS = (
    TensorSpec("mixed", "float32", ("cols", 3)),
    TensorSpec("total", "float32", (1,)),
)
PICK_INPUTS = (
    TensorSpec("points", "float32", ("rows", 3)),
    TensorSpec("chosen", "int64", ("chosen",)),
)
PICK_OUTPUTS = (TensorSpec("picked", "float32", ("chosen", 3)),)


def mix(points, weights, offset):
    """What the graph `mix` computes."""
    return weights.T @ points, np.array([points.sum() + offset[0]], np.float32)


def mix_error(points, weights, offset):
    """How far float32 may be from `mix`, a row of a product and all of a sum."""
    by_row = sum_error(2 * len(points), (np.abs(weights).T @ np.abs(points)).max())
    return by_row, sum_error(2 * points.size + 2, np.abs(points).sum() + abs(offset[0]))


def mix_feeds(rows=4, cols=2, seed=0):
    """Inputs of the graph `mix`, in its order."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(rows, 3)).astype(np.float32)
    return points, rng.normal(size=(rows, cols)).astype(np.float32), np.array([seed], np.int64)


def write_tiny_bundle(folder: Path) -> Bundle:
    """Write the graphs `mix` and `pick`, which fails for rows that are not there."""
    onnx = pytest.importorskip("onnx", reason="the graph is written with onnx: extra 'export'")
    node = onnx.helper.make_node
    folder.mkdir(parents=True)
    mixing = [
        node("Transpose", ["weights"], ["turned"], perm=[1, 0]),
        node("MatMul", ["turned", "points"], ["mixed"]),
        node("ReduceSum", ["points"], ["sum"], keepdims=0),
        node("Cast", ["offset"], ["moved"], to=onnx.TensorProto.FLOAT),
        node("Add", ["sum", "moved"], ["total"]),
    ]
    picking = [node("Gather", ["points", "chosen"], ["picked"])]
    rows = (("mix", mixing, MIX_INPUTS, MIX_OUTPUTS), ("pick", picking, PICK_INPUTS, PICK_OUTPUTS))
    graphs = {name: _write_graph(onnx, folder, name, *rest) for name, *rest in rows}
    spec = BundleSpec(
        backbone="tiny",
        arch="none",
        layer="layer3",
        stride=8,
        channels=3,
        precision="fp32",
        opset=18,
        sizes_hw=((64, 96),),
        preprocessing={"color": "rgb"},
        weights={"url": None},
        graphs=graphs,
        versions={"unitrack_edge": "0"},
        parameters={"top_k": 10},
    )
    (folder / SPEC_FILE).write_text(json.dumps(spec.to_json()), encoding="utf-8")
    return Bundle.load(folder)


def _write_graph(onnx, folder, name, nodes, inputs, outputs) -> GraphSpec:
    def info(tensor):
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return onnx.helper.make_tensor_value_info(tensor.name, kind, tensor.shape)

    graph = onnx.helper.make_graph(
        nodes, name, [info(t) for t in inputs], [info(t) for t in outputs]
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return GraphSpec(name, path.name, sha256_of(path), path.stat().st_size, inputs, outputs, 0.0)
