"""`cli export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..errors import RequestError
from ..runtime.inference.tensorrt.library import VARIANTS
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
@click.option("--backbone", required=True, help="Name of the backbone; `cli backbones` lists them.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint to use instead of the official one.",
)
@layer_option()
@size_option("Image size; repeatable.  [default: any]", multiple=True)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the backbone and the features.",
)
@click.option(
    "--top-k",
    default=10,
    show_default=True,
    help="Most keys that mask propagation can keep per cell.",
)
@engine_options(required=False)
@output_option("Folder of the bundle.  [default: bundles/BACKBONE]")
@force_option
@report_options
def command(
    backbone: str,
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
    """Export a backbone and the tracking graphs to ONNX, as a bundle.

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
    if engine is not None:
        # A missing library is an error before the minutes that an export may take.
        load_library(engine)
    check_exportable(backbone)
    from ..export.bundle_writer import ExportRequest, error_table
    from ..export.tensorrt.writer import EngineRequest

    output = output or Path("bundles") / backbone
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
