"""`cli export`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ExportError, RequestError
from ..runtime.inference.tensorrt.library import VARIANTS
from ..runtime.paths import default_bundle, default_model, model_name
from ..runtime.tables import TextTable
from .console.report import Report, ReportOutput
from .options.shared import (
    engine_options,
    force_option,
    layer_option,
    output_option,
    report_options,
    size_option,
)

if TYPE_CHECKING:
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.bundle.spec import GraphSpec
    from ..runtime.detectors.recognition import ModelSettings


@click.command("export")
@click.option("--backbone", help="Name of the backbone; `cli backbones` lists them.")
@click.option(
    "--detector",
    metavar="NAME|FILE.onnx",
    help="A detector in place of a backbone: a name that `cli models` lists, or an ONNX file whose "
    "layout is recognised. Writes a bundle with normalisation and decoding in the graph, for `cli "
    "track` and `cli build`. Pose and mask models, which look at crops of persons, likewise.",
)
@click.option(
    "--detector-names",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the names of the detector's classes; as of `cli track`.",
)
@click.option(
    "--detector-layout", metavar="NAME", help="Layout of its outputs.  [default: recognised]"
)
@click.option(
    "--detector-normalise",
    metavar="NAME",
    help="What it takes, such as rgb-1 or bgr-255.  [default: its layout's]",
)
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to use instead of the published one.",
)
@layer_option()
@size_option("Image size; repeatable.  [default: any]", multiple=True)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Precision of the backbone and the features.",
)
@click.option(
    "--top-k",
    type=click.IntRange(1, 256),
    default=10,
    show_default=True,
    help="Maximum number of keys that mask propagation keeps per cell.",
)
@engine_options(required=False)
@click.option(
    "--triton",
    "triton",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write the bundle's graphs as models of a Triton repository. Alone with --output, of "
    "the bundle that is there.",
)
@output_option("Folder of the bundle.  [default: bundles/BACKBONE, bundles/detectors/DETECTOR]")
@force_option
@report_options
def command(
    backbone: str | None,
    detector: str | None,
    detector_names: Path | None,
    detector_layout: str | None,
    detector_normalise: str | None,
    weights: Path | None,
    layer: str,
    sizes: tuple[tuple[int, int], ...],
    precision: str,
    top_k: int,
    engine: str | None,
    targets: tuple[str, ...],
    workspace: int | None,
    triton: Path | None,
    output: Path | None,
    force: bool,
    report_to: ReportOutput,
) -> None:
    """Export a backbone and the tracking graphs, or a detector, to ONNX.

    Every graph is run in ONNX Runtime and compared with PyTorch; the table shows by how much they
    differ at most. An interrupted export leaves nothing behind. With --engine, TensorRT engines are
    built as well, as `cli build` does it for a bundle that is there already.
    """
    from ..runtime.inference.tensorrt.library import load_library
    from .console.bundles import (
        build_with_progress,
        check_exportable,
        engine_table,
        export_with_progress,
    )

    if engine is None and (targets or workspace is not None):
        raise RequestError(
            f"--target and --workspace belong to --engine: add --engine {'|'.join(VARIANTS)}"
        )
    if triton is not None and backbone is None and detector is None and output is not None:
        from ..runtime.bundle.bundle import Bundle as Loaded

        report_to.show(with_repository(Report({}), Loaded.load(output), triton, force))
        return
    if detector is not None and backbone is None:
        if len(sizes) > 1:
            raise RequestError("--detector takes one --size; without it, its own or any")
        size_hw = sizes[0] if sizes else None
        from ..runtime.detectors.recognition import ModelSettings

        settings = ModelSettings(
            names=detector_names,
            layout=detector_layout,
            normalise=detector_normalise,
            size_hw=size_hw,
        )
        folder = output or default_model(model_name(detector) or Path(detector).stem)
        bundle = export_detector(detector, folder, weights, settings, precision, force)
        report = detector_report(bundle)
        if engine is not None:
            from ..export.tensorrt.writer import EngineRequest

            wanted = EngineRequest(engine, targets, workspace_mib=workspace)
            engines = build_with_progress(bundle, wanted)
            report.data["engines"] = [asdict(one) for one in engines]
            report = replace(report, tables=[*report.tables, engine_table(engines)])
        report_to.show(with_repository(report, bundle, triton, force))
        return
    if (detector_names, detector_layout, detector_normalise) != (None, None, None):
        raise RequestError("--detector-names, -layout and -normalise belong to --detector")
    if backbone is None or detector is not None:
        raise RequestError(
            f"got {'neither' if backbone is None else 'both'} of --backbone NAME and --detector "
            "NAME, expected one of them"
        )
    if engine is not None:
        # A missing library is an error before the minutes that an export may take.
        load_library(engine)
    check_exportable(backbone, weights)
    from ..export.bundle_writer import ExportRequest, error_table
    from ..export.tensorrt.writer import EngineRequest

    output = output or default_bundle(backbone)
    request = ExportRequest(backbone, layer, weights, sizes, precision, top_k, force)
    bundle = export_with_progress(output, request)
    head = ("graph", "size", "max error vs PyTorch")
    tables = [TextTable(head, error_table(bundle.spec))]
    closing = [f"bundle written: {output}"]
    data = {"bundle": str(output), **bundle.spec.to_json()}
    if engine is not None:
        wanted = EngineRequest(engine, targets, workspace_mib=workspace)
        engines = build_with_progress(bundle, wanted)
        tables.append(engine_table(engines))
        closing.append(f"engines are in {output / 'engines'}")
        data["engines"] = [asdict(one) for one in engines]
    report_to.show(with_repository(Report(data, tables, closing=closing), bundle, triton, force))


def with_repository(report: Report, bundle: Bundle, folder: Path | None, force: bool) -> Report:
    """The report, and below it the models of a Triton repository, which are written now.

    Args:
        report: Of what was done before.
        bundle: Whose graphs.
        folder: Of the repository; None: none is asked for.
        force: Whether models that are there are replaced.

    Raises:
        ExportError: See `export.triton.write_repository`.
    """
    if folder is None:
        return report
    from ..export.triton import write_repository

    models = write_repository(bundle, folder, force=force)
    head = ("model", "", "images a run", "takes", "gives")
    rows = [
        (m.name, m.kind, str(m.batch or "-"), ", ".join(m.inputs), ", ".join(m.outputs))
        for m in models
    ]
    return replace(
        report,
        data={**report.data, "triton": [asdict(model) for model in models]},
        tables=[*report.tables, TextTable(head, rows, left=5)],
        closing=[*report.closing, f"Triton repository: tritonserver --model-repository {folder}"],
    )


def export_detector(
    detector: str,
    output: Path,
    weights: Path | None,
    settings: ModelSettings,
    precision: str,
    force: bool,
) -> Bundle:
    """Write a detector's bundle.

    Raises:
        ExportError: The file cannot be had or converted, or a package is not installed.
        DetectionError: It is of no known layout, or a setting does not fit it.
    """
    try:
        from ..export.detectors.bundle import DetectorRequest, write_detector_bundle
    except ImportError as error:
        raise ExportError(
            f"a detector's bundle needs {error.name}, which is not installed: pip install "
            "'unitrack-edge[export]', or export it on another machine and copy the folder"
        ) from error
    from .console.steps import interruptible, not_written

    request = DetectorRequest(detector, weights, settings, precision, force)
    with interruptible(lambda: not_written(output)):
        return write_detector_bundle(request, output)


def detector_report(bundle: Bundle) -> Report:
    """What a model's graphs take and give, and how far they are from its file."""
    graphs = bundle.spec.graphs.values()
    error = max(graph.max_abs_error or 0 for graph in graphs)
    closing = [
        f"{bundle.spec.arch} with decoding inside, {bundle.spec.precision}: differs from its file "
        f"by {error:.1e} at most",
        f"bundle written: {bundle.path}",
    ]
    data = {"bundle": str(bundle.path), **bundle.spec.to_json()}
    return Report(data, [tensor_table(graph) for graph in graphs], closing=closing)


def tensor_table(graph: GraphSpec) -> TextTable:
    """Inputs and outputs of a graph."""
    rows = [
        (side, tensor.name, tensor.describe())
        for side, tensors in (("takes", graph.inputs), ("gives", graph.outputs))
        for tensor in tensors
    ]
    return TextTable(("", "tensor", "type and shape"), rows, left=3)
