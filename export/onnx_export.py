"""Turns one graph into an ONNX file and compares it with PyTorch in ONNX Runtime."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxscript  # noqa: F401 PyTorch's exporter needs it: found missing here, not halfway
import torch

from ..errors import ExportError
from ..runtime.bundle.bundle import sha256_of
from ..runtime.bundle.spec import GraphSpec
from ..runtime.inference.base import to_host
from ..runtime.inference.onnxruntime import OnnxRuntimeEngine
from .graphs.precision import declared_float32
from .graphs.profiles import Range, profiled
from .graphs.table import GraphDefinition

OPSET = 18
"""Understood by every TensorRT from 10.3 on."""

TOLERANCE = {"fp32": 2e-3, "fp16": 2e-2}
"""Largest accepted difference between ONNX Runtime and PyTorch; outputs are of order 1."""


def export_graph(
    name: str,
    definition: GraphDefinition,
    ranges: Mapping[str, Range],
    folder: Path,
    *,
    precision: str,
    seed: int = 0,
    traces: dict[torch.nn.Module, onnx.ModelProto] | None = None,
) -> GraphSpec:
    """Write `<name>.onnx` and check it on two sets of sizes, one of which was not traced.

    Args:
        name: Of the graph.
        definition: Its row of the table.
        ranges: Smallest, expected and largest size of every dynamic dimension.
        folder: Where to write.
        precision: `fp32` or `fp16`: the bound of the check.
        seed: Of the check's inputs.
        traces: Modules that were traced before, added to: graphs that share one differ in nothing
            but the names and ranges of their dimensions.

    Returns:
        The graph's spec with sha256, profile shapes and measured error.

    Raises:
        ExportError: PyTorch cannot export it, or the results differ too much.
    """
    path = folder / f"{name}.onnx"
    dynamic = {s for t in definition.inputs for s in t.shape if isinstance(s, str)}
    generator = torch.Generator().manual_seed(seed)
    traced = check_sizes(name, sorted(dynamic), first=True)
    example = definition.example(traced, generator)
    known = {} if traces is None else traces
    if definition.module not in known:
        known[definition.module] = _trace(name, definition, example)
    model = known[definition.module]
    _name_axes(model, definition)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    outputs = tuple(profiled(tensor, ranges) for tensor in definition.outputs)
    spec = GraphSpec(
        name,
        path.name,
        sha256_of(path),
        path.stat().st_size,
        tuple(profiled(tensor, ranges) for tensor in definition.inputs),
        outputs,
        fp32_nodes=declared_float32(name, model, precision),
    )
    error = 0.0
    with OnnxRuntimeEngine(path, spec) as engine:
        for sizes in (traced, check_sizes(name, sorted(dynamic), first=False)):
            example = definition.example(sizes, generator)
            error = max(error, _compare(name, definition, engine, example))
    if not error <= TOLERANCE[precision]:
        raise ExportError(
            f"graph {name}: ONNX Runtime and PyTorch differ by {error:.2g}, expected at most "
            f"{TOLERANCE[precision]:.2g}; nothing was written"
        )
    return replace(spec, max_abs_error=error)


def check_sizes(name: str, dynamic: list[str], *, first: bool) -> dict[str, int]:
    """A small size for every dynamic dimension, consistent among those that hang together."""
    sizes = {
        "batch": 1 if name == "backbone" and first else 2,
        "height": 72 if first else 101,
        "width": 120 if first else 91,
        "rows": 9 if first else 13,
        "map_rows": 9 if first else 13,
        "cols": 15 if first else 12,
        "per_tile": 6 if first else 8,
        "window": 24 if first else 31,
        "labels": 3 if first else 2,
        "top_k": 10,
    }
    sizes["cells"] = sizes["rows"] * sizes["cols"]
    sizes["tiles"] = 4 if first else 3
    sizes["queries"] = sizes["tiles"] * sizes["per_tile"]
    others = [dim for dim in dynamic if dim not in sizes]
    sizes.update({dim: (3 if first else 5) + i for i, dim in enumerate(others)})
    return sizes


def _trace(
    name: str, definition: GraphDefinition, example: tuple[torch.Tensor, ...]
) -> onnx.ModelProto:
    shapes = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, s in enumerate(t.shape) if isinstance(s, str)}
        for t in definition.inputs
    )
    try:
        with _quiet(), _one_operator_table():
            program = torch.onnx.export(
                definition.module.eval(),
                example,
                dynamo=True,
                input_names=[tensor.name for tensor in definition.inputs],
                output_names=[tensor.name for tensor in definition.outputs],
                dynamic_shapes=shapes,
                opset_version=OPSET,
                verbose=False,
            )
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(
            f"graph {name}: PyTorch {torch.__version__} cannot export it: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    if program is None:
        raise ExportError(f"graph {name}: PyTorch {torch.__version__} exported nothing")
    model: onnx.ModelProto = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        # Source lines of the exporting machine have no place in a file that travels.
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _name_axes(model: onnx.ModelProto, definition: GraphDefinition) -> None:
    for values, specs in (
        (model.graph.input, definition.inputs),
        (model.graph.output, definition.outputs),
    ):
        for value, spec in zip(values, specs, strict=True):
            value.type.tensor_type.ClearField("shape")
            for size in spec.shape:
                axis = value.type.tensor_type.shape.dim.add()
                if isinstance(size, str):
                    axis.dim_param = size
                else:
                    axis.dim_value = size
    # Intermediate shapes carry the tracer's own symbols, which mean nothing to a reader.
    del model.graph.value_info[:]


def _compare(
    name: str,
    definition: GraphDefinition,
    engine: OnnxRuntimeEngine,
    example: tuple[torch.Tensor, ...],
) -> float:
    with torch.no_grad():
        result = definition.module(*example)
    expected = result if isinstance(result, tuple) else (result,)
    feeds: dict[str, npt.NDArray[Any]] = {
        tensor.name: value.numpy() for tensor, value in zip(definition.inputs, example, strict=True)
    }
    got = engine.run(feeds)
    worst = 0.0
    for tensor, want in zip(definition.outputs, expected, strict=True):
        found = to_host(got[tensor.name]).astype(np.float64)
        if found.shape != tuple(want.shape):
            raise ExportError(
                f"graph {name}, output {tensor.name}: ONNX Runtime gave shape {found.shape}, "
                f"PyTorch {tuple(want.shape)}"
            )
        worst = max(worst, float(np.abs(found - want.double().numpy()).max()))
    return worst


@contextlib.contextmanager
def _one_operator_table() -> Iterator[None]:
    """Have the exporter read the sources of its ONNX operators once, and not for every graph.

    That is a quarter of an export, and no argument of PyTorch's hands the table on. Where a version
    keeps it elsewhere, it is read every time; the graphs are the same.
    """
    try:
        exporter = importlib.import_module("torch.onnx._internal.exporter._registration")
        tables = exporter.ONNXRegistry
        own, read = tables.__dict__["from_torchlib"], tables.from_torchlib
    except (ImportError, AttributeError, KeyError):
        tables = None
    if tables is None:
        yield
        return
    tables.from_torchlib = staticmethod(functools.partial(_once, read))
    try:
        yield
    finally:
        tables.from_torchlib = own


@functools.cache
def _once(function: Callable[..., Any], **arguments: int) -> Any:
    return function(**arguments)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about absent packages off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
