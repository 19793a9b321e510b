"""The int8 bundle: every graph of the float one, with another backbone or detector."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from ..runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from ..runtime.bundle.spec import INT8_GRAPHS, BundleSpec, GraphSpec
from ..version import __version__
from .layers import products_in_float
from .outcome import Calibration

REPORT_FILES = ("report.md", "report.json", "drift.png")


def int8_graph(spec: BundleSpec) -> GraphSpec:
    """The graph of a backbone's or detector's bundle that is made int8."""
    return next(graph for name, graph in spec.graphs.items() if name in INT8_GRAPHS)


def write_int8_bundle(
    bundle: Bundle, result: Calibration, quantization: Mapping[str, Any], folder: Path
) -> Bundle:
    """Write a bundle that runs and checks like any other.

    Engines of the float bundle are left behind, since they hold the float graph.

    Args:
        bundle: The float bundle.
        result: The int8 graph.
        quantization: For `bundle.json`; plain data.
        folder: An empty folder.

    Raises:
        OSError: It cannot be written.
    """
    graphs = dict(bundle.spec.graphs)
    own = int8_graph(bundle.spec)
    for name, graph in graphs.items():
        if name != own.name:
            shutil.copyfile(bundle.path / graph.file, folder / graph.file)
    graphs[own.name] = _write_graph(result, own, folder)
    spec = replace(
        bundle.spec,
        precision="int8",
        graphs=graphs,
        quantization=dict(quantization),
        engines=(),
        versions={**bundle.spec.versions, **_versions()},
    )
    text = json.dumps(spec.to_json(), indent=1, default=str)
    (folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")
    return Bundle.load(folder)


def _write_graph(result: Calibration, graph: GraphSpec, folder: Path) -> GraphSpec:
    path = folder / graph.file
    onnx.save(result.model, path)
    return replace(
        graph,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        # How far the float graph was from its original says nothing of this one; the report does.
        max_abs_error=None,
        fp32_nodes=products_in_float(
            result.model,
            [
                layer.node
                for layer, fact in zip(result.layers, result.facts, strict=True)
                if not fact.in_float
            ],
        ),
    )


def _versions() -> dict[str, str]:
    return {
        "calibrated_with": __version__,
        "calibrated_with_onnx": onnx.__version__,
        "calibrated_with_onnxruntime": onnxruntime.__version__,
        "calibrated_with_python": platform.python_version(),
    }
