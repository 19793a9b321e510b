"""Writes a bundle: all graphs, checked, and `bundle.json`, in one step that happens or does not."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch

from ..errors import ExportError, RequestError
from ..runtime.bundle.bundle import SPEC_FILE, Bundle
from ..runtime.bundle.spec import BundleSpec, GraphSpec
from ..runtime.bundle.staging import check_replaceable, move_into_place, partial_folder
from ..version import __version__
from .backbones.table import LAYERS, Backbone, find_backbone
from .backbones.weights import WeightsInfo, build_backbone
from .graphs.appearance import BackboneGraph
from .graphs.profiles import Sizes
from .graphs.table import GraphDefinition, backbone_graph, head_graphs
from .onnx_export import OPSET, export_graph

PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What the user asked for.

    Attributes:
        backbone: Name on the table of backbones.
        layer: `layer3` or `layer4`.
        weights: A checkpoint to use in place of the table's own source, or None.
        sizes_hw: Image sizes (height, width); empty: any. One size is fixed into the graph.
        precision: `fp32` or `fp16`.
        top_k: Keys that propagation keeps per cell at most.
        force: Whether a bundle that is already there is replaced.
    """

    backbone: str
    layer: str = "layer3"
    weights: Path | None = None
    sizes_hw: tuple[tuple[int, int], ...] = ()
    precision: str = "fp32"
    top_k: int = 10
    force: bool = False


Progress = Callable[[str], None]
"""Called with the name of each graph before it is exported."""


def write_bundle(
    request: ExportRequest, output: Path, progress: Progress = lambda _: None
) -> Bundle:
    """Export a backbone and the graphs of all heads.

    Args:
        request: What to export.
        output: The bundle's folder; its parents are made.
        progress: Called with the name of each graph before it is exported.

    Returns:
        The finished bundle.

    Raises:
        RequestError: No such backbone, layer, precision, top-k or size.
        ExportError: Unusable weights, a graph that disagrees with PyTorch, or a
            folder in the way. Nothing is left behind.
    """
    _check_request(request)
    check_replaceable(output, ExportError, force=request.force)
    row = find_backbone(request.backbone)
    progress("weights")
    network, info = build_backbone(request.backbone, request.layer, request.weights)
    channels = _channels(network)
    sizes = Sizes(
        channels,
        8,
        request.sizes_hw,
        request.top_k,
        "float32" if request.precision == "fp32" else "float16",
    )
    half = request.precision == "fp16"
    module = BackboneGraph(network, row.mean, row.std, color=row.color, half=half)
    table = {"backbone": backbone_graph(module, sizes), **head_graphs(sizes)}
    with partial_folder(output, ExportError) as folder:
        graphs = _write_graphs(table, sizes, folder, request, progress)
        spec = BundleSpec(
            backbone=row.name,
            arch=row.arch,
            layer=request.layer,
            stride=8,
            channels=channels,
            precision=request.precision,
            opset=OPSET,
            sizes_hw=request.sizes_hw,
            preprocessing=_preprocessing(row),
            weights=_weights(info),
            graphs=graphs,
            versions=_versions(),
            parameters={"top_k": request.top_k},
        )
        text = json.dumps(spec.to_json(), indent=1, default=str)
        (folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")
        move_into_place(folder, output)
    return Bundle.load(output)


def _check_request(request: ExportRequest) -> None:
    if request.layer not in LAYERS:
        raise RequestError(f"--layer {request.layer}: choose one of {', '.join(LAYERS)}")
    if request.precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise RequestError(f"--precision {request.precision}: choose one of {known}")
    if not 1 <= request.top_k <= 256:
        raise RequestError(f"--top-k {request.top_k}: expected 1 to 256")
    for height, width in request.sizes_hw:
        if not (32 <= height <= 8192 and 32 <= width <= 8192):
            raise RequestError(f"--size {height}x{width}: expected 32 to 8192 pixels a side")


def _channels(network: torch.nn.Module) -> int:
    with torch.no_grad():
        return int(network(torch.zeros(1, 3, 64, 64)).shape[1])


def _write_graphs(
    table: dict[str, GraphDefinition],
    sizes: Sizes,
    folder: Path,
    request: ExportRequest,
    progress: Progress,
) -> dict[str, GraphSpec]:
    graphs = {}
    traces: dict[torch.nn.Module, onnx.ModelProto] = {}
    for name, definition in table.items():
        progress(name)
        graphs[name] = export_graph(
            name,
            definition,
            sizes.ranges(),
            folder,
            precision=request.precision,
            traces=traces,
        )
    return graphs


def _weights(info: WeightsInfo) -> dict[str, str | None]:
    # The bundle travels: a path of this machine means nothing elsewhere, the name and hash do.
    data = asdict(info)
    path = data.pop("path")
    return {"file": None if path is None else Path(path).name, **data}


def _preprocessing(row: Backbone) -> dict[str, object]:
    return {
        "input": "uint8 BGR (batch, height, width, 3)",
        "color": row.color,
        "mean": list(row.mean),
        "std": list(row.std),
    }


def _versions() -> dict[str, str]:
    return {
        "unitrack_edge": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def error_table(spec: BundleSpec) -> list[tuple[str, str, str]]:
    """Rows (graph, size, largest error against PyTorch) for the terminal."""
    return [
        (name, f"{graph.size_bytes / 1e6:.2f} MB", f"{graph.max_abs_error:.1e}")
        for name, graph in spec.graphs.items()
    ]
