"""The int8 bundle: every graph of the float one, with another backbone."""

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
from ..runtime.bundle.spec import GraphSpec
from ..version import __version__
from .outcome import Calibration

REPORT_FILES = ("report.md", "report.json", "drift.png")


def write_int8_bundle(
    bundle: Bundle, result: Calibration, quantization: Mapping[str, Any], folder: Path
) -> Bundle:
    """Write a bundle that runs and checks like any other.

    Engines of the float bundle are left behind, since they hold the float backbone.

    Args:
        bundle: The float bundle.
        result: The int8 backbone.
        quantization: For `bundle.json`; plain data.
        folder: An empty folder.

    Raises:
        OSError: It cannot be written.
    """
    graphs = dict(bundle.spec.graphs)
    for name, graph in graphs.items():
        if name != "backbone":
            shutil.copyfile(bundle.path / graph.file, folder / graph.file)
    graphs["backbone"] = _write_backbone(result, graphs["backbone"], folder)
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


def _write_backbone(result: Calibration, graph: GraphSpec, folder: Path) -> GraphSpec:
    path = folder / graph.file
    onnx.save(result.model, path)
    return replace(
        graph,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        # How far the float graph was from PyTorch says nothing of this one; the report does.
        max_abs_error=None,
        fp32_nodes=tuple(
            layer.node
            for layer, fact in zip(result.layers, result.facts, strict=True)
            if fact.in_float
        ),
    )


def _versions() -> dict[str, str]:
    return {
        "calibrated_with": __version__,
        "calibrated_with_onnx": onnx.__version__,
        "calibrated_with_onnxruntime": onnxruntime.__version__,
        "calibrated_with_python": platform.python_version(),
    }
