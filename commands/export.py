"""`cli export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..errors import ExportError, RequestError
from ..runtime.inference.tensorrt.library import VARIANTS
from ..runtime.paths import default_bundle, model_file
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


@click.command("export")
@click.option("--backbone", help="Name of the backbone; `cli backbones` lists them.")
@click.option(
    "--detector",
    help="Name of a detector, pose or mask model in place of a backbone; `cli models` lists them. "
    "Writes one ONNX file that `cli track --detector`, --pose-model or --mask-model take.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
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
    default=10,
    show_default=True,
    help="Maximum number of keys that mask propagation keeps per cell.",
)
@engine_options(required=False)
@output_option(
    "Folder of the bundle, or the ONNX file of a detector.  [default: bundles/BACKBONE, "
    "bundles/detectors/DETECTOR.onnx]"
)
@force_option
@report_options
def command(
    backbone: str | None,
    detector: str | None,
    weights: Path | None,
    layer: str,
    sizes: tuple[tuple[int, int], ...],
    precision: str,
    top_k: int,
    engine: str | None,
    targets: tuple[str, ...],
    workspace: int | None,
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
    if detector is not None and backbone is None:
        if engine is not None:
            raise RequestError("--engine builds bundles of backbones: leave it out of --detector")
        if len(sizes) > 1:
            raise RequestError("--detector takes one --size; without it, any size is taken")
        size_hw = sizes[0] if sizes else None
        report_to.show(export_detector(detector, output, weights, size_hw, precision, force))
        return
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
    report_to.show(Report(data, tables, closing=closing))


def export_detector(
    name: str,
    output: Path | None,
    weights: Path | None,
    size_hw: tuple[int, int] | None,
    precision: str,
    force: bool,
) -> Report:
    """Write the graph of a detector, pose or mask model.

    Returns:
        What it takes and gives.

    Raises:
        ExportError: The file is there already, or the model cannot be had or converted.
    """
    from ..export.detectors.exporter import ModelOptions, export_model

    path = output or model_file(name)
    if path.exists() and not force:
        raise ExportError(f"{path} is there already: replace it with --force")
    spec = export_model(name, path, weights, ModelOptions(size_hw, precision=precision))
    rows = [
        (side, tensor.name, tensor.describe())
        for side, tensors in (("takes", spec.inputs), ("gives", spec.outputs))
        for tensor in tensors
    ]
    tables = [TextTable(("", "tensor", "type and shape"), rows, left=3)]
    closing = [f"detector written: {path} ({spec.size_bytes / 1e6:.1f} MB)"]
    return Report({"file": str(path), **asdict(spec)}, tables, closing=closing)
