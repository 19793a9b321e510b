"""Bundles of detectors, pose and mask models: their graphs with decoding inside, compared with the
file that they are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ...errors import ExportError, RequestError
from ...records import UInt8Array
from ...runtime.bundle.bundle import SPEC_FILE, Bundle
from ...runtime.bundle.spec import DETECTOR_GRAPH, BundleSpec, GraphSpec
from ...runtime.bundle.staging import check_replaceable, move_into_place, partial_folder
from ...runtime.detectors.decoded import METADATA_KEY, DetectorFacts
from ...runtime.detectors.image import find_normalisation
from ...runtime.detectors.layouts.base import Candidates
from ...runtime.detectors.layouts.chosen import OWN_LAYOUT
from ...runtime.detectors.recognition import ModelSettings, Recognised, feeds_of, read_model
from ...runtime.inference.base import to_host
from ...runtime.inference.onnxruntime import OnnxRuntimeEngine
from ...runtime.paths import is_file, model_name
from ...version import __version__
from .decoding import decoded_graph
from .exporter import ModelOptions, model_content, needs_conversion, read_spec
from .onnx_graph import OPSET
from .person import PersonLayout, person_error, person_graph, person_layouts, with_profile
from .table import find_model

LARGEST_ERROR = 1e-3
"""Between a float32 graph and NumPy's decoding of the file: in scores, and in boxes as a share of
the image's longer side."""


@dataclass(frozen=True, slots=True)
class DetectorRequest:
    """What is to be written.

    Attributes:
        detector: A name of the table of models, or the path of an ONNX file.
        weights: File to take in place of a named model's official one.
        settings: Layout, normalisation, names and size, where the file does not say them.
        precision: Of the network, `fp32` or `fp16`.
        force: Whether a bundle that is there already is replaced.
    """

    detector: str
    weights: Path | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    precision: str = "fp32"
    force: bool = False

    @property
    def name(self) -> str:
        """Of the detector: the name, or the file's without its suffix."""
        return model_name(self.detector) or Path(self.detector).stem


def write_detector_bundle(request: DetectorRequest, output: Path) -> Bundle:
    """Write a model's graphs and `bundle.json`, in one step that happens or does not.

    Args:
        request: What to write.
        output: The bundle's folder; its parents are made.

    Raises:
        RequestError: No such name, or settings that a model of crops does not have.
        ExportError: The file cannot be had or converted, the graph disagrees with it, or a folder
            is in the way. Nothing is left behind.
        DetectionError: The file is of no known layout, or a setting does not fit it.
        BackendError: ONNX Runtime cannot load it.
    """
    check_replaceable(output, ExportError, force=request.force)
    content, origin = _network(request)
    with partial_folder(output, ExportError) as folder:
        source = folder / "network.onnx"
        source.write_bytes(content)
        layouts = person_layouts(source)
        if layouts:
            graphs, spec = _of_persons(request, content, layouts, folder)
        else:
            graph, error, spec = _written(request, content, source, folder)
            found = replace(read_spec(graph, graph.read_bytes()), max_abs_error=error)
            graphs = {DETECTOR_GRAPH: found}
        source.unlink()
        spec = replace(spec, weights=origin, graphs=graphs)
        (folder / SPEC_FILE).write_text(json.dumps(spec.to_json(), indent=1) + "\n", "utf-8")
        move_into_place(folder, output)
    return Bundle.load(output)


def _network(request: DetectorRequest) -> tuple[bytes, dict[str, Any]]:
    """An ONNX file's bytes, and where they came from."""
    if model_name(request.detector) is not None:
        row, size_hw = find_model(request.detector), request.settings.size_hw
        options = ModelOptions()
        if needs_conversion(row.name) and "boxes" in row.gives:
            options = ModelOptions(size_hw, precision=request.precision)
        content = model_content(row.name, request.weights, options)
        origin = {"file": row.file, "licence": row.weights_licence}
    else:
        path = Path(request.detector)
        if not is_file(path):
            raise ExportError(
                f"--detector {path}: expected a name that `cli models` lists, or an ONNX file that "
                "is there"
            )
        content, origin = path.read_bytes(), {"file": path.name}
    return content, {**origin, "sha256": hashlib.sha256(content).hexdigest()}


def _written(
    request: DetectorRequest, content: bytes, source: Path, folder: Path
) -> tuple[Path, float, BundleSpec]:
    """The graph's file, its difference to the network's, and `bundle.json` without graphs."""
    name = f"--detector {request.detector}"
    with OnnxRuntimeEngine(source) as engine:
        known = read_model(engine, engine.metadata, request.settings, name)
        joints = "coco17" if "keypoints" in known.finds else ""
        facts = replace(known.facts, name=request.name, joints=joints)
        size_hw = known.image.size_hw or request.settings.size_hw or known.stored_hw
        path = folder / f"{DETECTOR_GRAPH}.onnx"
        if known.layout == OWN_LAYOUT:
            path.write_bytes(content)
            return path, 0.0, _bundle_spec(request, known, facts, size_hw)
        if size_hw is None:
            raise ExportError(f"{name} leaves the size of its image open: add --size HxW")
        network, metadata = onnx.load_model_from_string(content), {METADATA_KEY: facts.to_json()}
        graph = decoded_graph(network, known, size_hw, metadata, request.precision)
        path.write_bytes(graph.SerializeToString())
        error = _largest_error(engine, known, path, size_hw)
    _check_error(request, error)
    return path, error, _bundle_spec(request, known, facts, size_hw)


def _of_persons(
    request: DetectorRequest, content: bytes, layouts: Sequence[PersonLayout], folder: Path
) -> tuple[dict[str, GraphSpec], BundleSpec]:
    """Graphs of a pose or mask model, and `bundle.json` without them."""
    if request.settings != ModelSettings():
        raise RequestError(
            f"--detector {request.detector} looks at crops of persons: --size, --detector-names, "
            "-layout and -normalise are of detectors, leave them out"
        )
    network, graphs = onnx.load_model_from_string(content), {}
    for layout in layouts:
        path = folder / f"{layout.graph}.onnx"
        graph = person_graph(network, layout, request.precision)
        path.write_bytes(graph.SerializeToString())
        error = person_error(path, layout)
        _check_error(request, error)
        found = with_profile(read_spec(path, path.read_bytes()), layout.crops)
        graphs[layout.graph] = replace(found, max_abs_error=error)
    spec = BundleSpec(
        backbone=request.name,
        arch=layouts[0].name,
        layer="",
        stride=1,
        channels=0,
        precision=request.precision,
        opset=OPSET,
        sizes_hw=(layouts[0].crops.size_hw,),
        preprocessing={"input": "uint8 BGR crops (N, height, width, 3)"},
        weights={},
        graphs={},
        versions=_versions(),
    )
    return graphs, spec


def _check_error(request: DetectorRequest, error: float) -> None:
    if error > LARGEST_ERROR and request.precision == "fp32":
        raise ExportError(
            f"--detector {request.detector}: with decoding inside, the graph differs from the file "
            f"by {error:.1e}, expected at most {LARGEST_ERROR:.0e}"
        )


def _versions() -> dict[str, str]:
    return {
        "unitrack_edge": __version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _bundle_spec(
    request: DetectorRequest,
    known: Recognised,
    facts: DetectorFacts,
    size_hw: tuple[int, int] | None,
) -> BundleSpec:
    return BundleSpec(
        backbone=request.name,
        arch=known.layout.name,
        layer="",
        stride=facts.multiple,
        channels=0,
        precision=request.precision,
        opset=OPSET,
        sizes_hw=() if size_hw is None else (size_hw,),
        preprocessing={"input": "uint8 BGR (1, height, width, 3)", "inside": known.rule.normalise},
        weights={},
        graphs={},
        versions=_versions(),
        detector=asdict(facts),
    )


def _largest_error(
    engine: OnnxRuntimeEngine, known: Recognised, path: Path, size_hw: tuple[int, int]
) -> float:
    """Of every row of the graph, the difference to the closest row of its file, at most."""
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    expected = _decoded_by_numpy(engine, known, image)
    with OnnxRuntimeEngine(path) as decoded:
        outputs = decoded.run({"image": image[None]})
    boxes, scores, classes = (to_host(outputs[n]) for n in ("boxes", "scores", "classes"))
    side, error = max(size_hw), 0.0
    for box, score, label in zip(boxes, scores, classes, strict=True):
        rows = expected.classes == label
        if score <= 0:
            continue
        apart = np.abs(expected.boxes_xyxy[rows] - box).max(axis=1, initial=0) / side
        apart = np.maximum(apart, np.abs(expected.scores[rows] - score))
        error = max(error, float(apart.min(initial=np.inf)))
    return error


def _decoded_by_numpy(
    engine: OnnxRuntimeEngine, known: Recognised, image: UInt8Array
) -> Candidates:
    size_hw = (image.shape[0], image.shape[1])
    feeds = feeds_of(engine.spec, known.image, size_hw) or {}
    how = find_normalisation(known.rule.normalise)
    given = engine.run({**feeds, known.image.name: known.image.feed(image, how)})
    outputs: dict[str, npt.NDArray[Any]] = known.outputs(given, engine.spec)
    return known.layout.decode(outputs, size_hw)
