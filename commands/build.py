"""`cli build`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .console.report import Report, ReportOutput
from .options.shared import bundle_argument, engine_options, report_options, size_option


@click.command("build")
@bundle_argument
@engine_options(required=True)
@size_option(
    "Image size that the engines serve; repeatable, and fewer sizes need less memory.  "
    "[default: the bundle's]",
    multiple=True,
)
@click.option("--graph", "graphs", multiple=True, help="Build this graph only; repeatable.")
@click.option("--force", is_flag=True, help="Build again what is there already.")
@report_options
def command(
    bundle: Path,
    engine: str,
    targets: tuple[str, ...],
    workspace: int | None,
    sizes: tuple[tuple[int, int], ...],
    graphs: tuple[str, ...],
    force: bool,
    report_to: ReportOutput,
) -> None:
    """Build TensorRT engines from the ONNX graphs of BUNDLE, into BUNDLE.

    PyTorch is not needed. Engines that are there and still fit are not built again. The element
    types of all convolutions and matrix products are proven before anything is built; the table
    shows them.
    """
    from ..export.tensorrt.writer import EngineRequest
    from ..runtime.bundle.bundle import Bundle
    from .console.bundles import build_with_progress, engine_table

    loaded = Bundle.load(bundle)
    request = EngineRequest(engine, targets, sizes, workspace, graphs, force)
    engines = build_with_progress(loaded, request)
    report_to.show(
        Report(
            {"bundle": str(bundle), "engines": [asdict(one) for one in engines]},
            [engine_table(engines)],
            closing=[f"engines are in {bundle / 'engines'}"],
        )
    )
