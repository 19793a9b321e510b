"""A bundle as a model repository of NVIDIA's Triton Inference Server.

Every graph becomes a model of Triton's ONNX Runtime backend: a folder with `config.pbtxt` and
`1/model.onnx`.  The backbone and a detector batch the requests of many cameras; graphs whose axes
count objects do not.  Graphs that follow one another without anything decided in between are joined
to ensembles, so that features of a frame stay on the server.

The format is that of Triton's "Model Configuration" and "Ensemble Models" pages, and of its
`model_config.proto`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError
from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.spec import DETECTOR_GRAPH, GraphSpec, TensorSpec
from ..runtime.writers.base import write_atomic

MOST_AT_ONCE = 8
"""Images that the server may put into one run: as many as engines are built for."""

QUEUE_DELAY_US = 2000
"""How long a request waits for others to share its run."""

TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
}

_BATCHED = ("backbone", DETECTOR_GRAPH)

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The backbone and a graph that takes its features.

    Attributes:
        name: Of the ensemble.
        graph: The second graph.
        features: Which input of it the backbone gives.
    """

    name: str
    graph: str
    features: str


ENSEMBLES = (
    Ensemble("boxes_of_frame", "box_features", "features"),
    Ensemble("points_of_frame", "point_features", "features"),
    Ensemble("xcorr_of_crops", "xcorr", "search"),
    Ensemble("dcf_of_crops", "dcf_response", "search"),
)


@dataclass(frozen=True, slots=True)
class TritonModel:
    """A model of the repository.

    Attributes:
        name: As clients ask for it.
        kind: `graph` or `ensemble`.
        batch: Most images that the server puts into one run; 0: it does not batch.
        inputs: What it takes.
        outputs: What it gives.
    """

    name: str
    kind: str
    batch: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def write_repository(bundle: Bundle, folder: Path, *, force: bool = False) -> list[TritonModel]:
    """Write all graphs of a bundle, and the ensembles of them, as models.

    Args:
        bundle: Its folder's name begins the models' names.
        folder: The repository; models of other bundles in it stay.
        force: Whether models of these names are replaced.

    Raises:
        ExportError: A model is there already, a tensor is of a type that Triton has not, or the
            folder cannot be written.
    """
    prefix = re.sub(r"[^A-Za-z0-9_]+", "_", bundle.path.absolute().name).strip("_") or "unitrack"
    graphs = bundle.spec.graphs
    texts: dict[str, str] = {}
    models: list[TritonModel] = []
    for name, graph in graphs.items():
        models.append(_model_of(f"{prefix}_{name}", graph))
        texts[models[-1].name] = _graph_config(models[-1], graph)
    for row in ENSEMBLES:
        if "backbone" in graphs and row.graph in graphs:
            models.append(_ensemble_of(prefix, row, graphs))
            texts[models[-1].name] = _ensemble_config(prefix, models[-1], row, graphs)
    there = [model.name for model in models if (folder / model.name).exists()]
    if there and not force:
        raise ExportError(f"{folder / there[0]} is there already: replace it with --force")
    try:
        for model in models:
            version = folder / model.name / "1"
            version.mkdir(parents=True, exist_ok=True)
            if model.kind == "graph":
                graph = graphs[model.name.removeprefix(f"{prefix}_")]
                # A server may be reading the one that is there.
                partial = version / "model.onnx.partial"
                shutil.copyfile(bundle.path / graph.file, partial)
                partial.replace(version / "model.onnx")
            # Last: a server that watches the folder loads a model whose configuration it finds.
            write_atomic(folder / model.name / "config.pbtxt", texts[model.name].encode())
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error.strerror}") from error
    return models


def _model_of(name: str, graph: GraphSpec) -> TritonModel:
    batched = graph.name in _BATCHED and all(
        isinstance(tensor.shape[0], str) for tensor in (*graph.inputs, *graph.outputs)
    )
    inputs, outputs = ([t.name for t in side] for side in (graph.inputs, graph.outputs))
    batch = MOST_AT_ONCE if batched else 0
    return TritonModel(name, "graph", batch, tuple(inputs), tuple(outputs))


def _graph_config(model: TritonModel, graph: GraphSpec) -> str:
    skipped = 1 if model.batch else 0
    lines = [
        f'name: "{model.name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {model.batch}",
        *_tensors("input", graph.inputs, skipped),
        *_tensors("output", graph.outputs, skipped),
    ]
    if model.batch:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}")
    return "\n".join(lines) + "\n"


def _ensemble_of(prefix: str, row: Ensemble, graphs: Mapping[str, GraphSpec]) -> TritonModel:
    given = [t.name for t in graphs[row.graph].inputs if t.name != row.features]
    outputs = [t.name for t in graphs[row.graph].outputs]
    frames = graphs["backbone"].inputs[0].name
    return TritonModel(
        f"{prefix}_{row.name}", "ensemble", 0, (frames, *given), ("backbone_features", *outputs)
    )


def _ensemble_config(
    prefix: str, model: TritonModel, row: Ensemble, graphs: Mapping[str, GraphSpec]
) -> str:
    """The two steps; Triton lets an ensemble without batching hold a model that batches, where the
    shapes with the batch are the same ("Ensemble Models": composing models)."""
    backbone, second = graphs["backbone"], graphs[row.graph]
    frames, features = backbone.inputs[0], backbone.outputs[0]
    taken = next(t for t in second.inputs if t.name == row.features)
    # As many images as the second graph takes features of: one frame, or the crops of a target.
    count = taken.shape[0]
    given = [t for t in second.inputs if t.name != row.features]
    inner = TensorSpec("backbone_features", features.dtype, (count, *taken.shape[1:]))
    inputs = [TensorSpec(frames.name, frames.dtype, (count, *frames.shape[1:])), *given]
    steps = (
        (f"{prefix}_backbone", {frames.name: frames.name}, {features.name: inner.name}),
        (
            f"{prefix}_{row.graph}",
            {row.features: inner.name, **{t.name: t.name for t in given}},
            {t.name: t.name for t in second.outputs},
        ),
    )
    lines = [
        f'name: "{model.name}"',
        'platform: "ensemble"',
        "max_batch_size: 0",
        *_tensors("input", inputs, 0),
        *_tensors("output", [inner, *second.outputs], 0),
        "ensemble_scheduling {",
    ]
    for name, takes, gives in steps:
        lines += ["  step {", f'    model_name: "{name}"', "    model_version: -1"]
        for what, pairs in (("input_map", takes), ("output_map", gives)):
            lines += [
                f'    {what} {{ key: "{key}" value: "{value}" }}' for key, value in pairs.items()
            ]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _tensors(side: str, tensors: Iterable[TensorSpec], skipped: int) -> list[str]:
    lines = []
    for tensor in tensors:
        if tensor.dtype not in TYPES:
            raise ExportError(
                f"tensor {tensor.name} is {tensor.dtype}, which Triton has not: it takes "
                f"{', '.join(TYPES)}"
            )
        dims = ", ".join(str(size) for size in _dims(tensor)[skipped:])
        lines += [
            f"{side} {{",
            f'  name: "{tensor.name}"',
            f"  data_type: {TYPES[tensor.dtype]}",
            f"  dims: [ {dims} ]",
            "}",
        ]
    return lines


def _dims(tensor: TensorSpec) -> Dims:
    """Sizes, -1 for those that vary."""
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
