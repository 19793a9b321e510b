"""`cli export`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..errors import ExportError, RequestError
from ..runtime.bundle import Bundle
from ..runtime.tensorrt_library import FLAVOURS, load_library
from .engines import build_with_progress
from .options import engine_options


def read_sizes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """HxW, as in 608x1088; anything else is wrong usage."""
    sizes = []
    for value in values:
        match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value)
        if match is None:
            raise click.BadParameter(
                f"{value!r}: expected HEIGHTxWIDTH such as 608x1088", ctx, parameter
            )
        sizes.append((int(match[1]), int(match[2])))
    return tuple(sizes)


@click.command("export")
@click.option("--backbone", required=True, help="Name of the backbone; `cli backbones` lists them.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint to use instead of the official one.",
)
@click.option(
    "--layer",
    type=click.Choice(["layer3", "layer4"]),
    default="layer3",
    show_default=True,
    help="Where a ResNet is cut.",
)
@click.option(
    "--size",
    "sizes",
    callback=read_sizes,
    multiple=True,
    metavar="HxW",
    help="Image size; repeatable.  [default: any]",
)
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
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the bundle.  [default: bundles/BACKBONE]",
)
@engine_options(required=False)
@click.option("--force", is_flag=True, help="Replace a bundle that is already there.")
def command(
    backbone: str,
    weights: Path | None,
    layer: str,
    sizes: tuple[tuple[int, int], ...],
    precision: str,
    top_k: int,
    output: Path | None,
    engine: str | None,
    targets: tuple[str, ...],
    workspace: int | None,
    force: bool,
) -> None:
    """Export a backbone and the tracking graphs to ONNX, as a bundle.

    Every graph is run in ONNX Runtime and compared with PyTorch; the table shows by how much they
    differ at most. An interrupted export leaves nothing behind. With --engine, TensorRT engines are
    built as well, as `cli build` does it for a bundle that is there already.
    """
    if engine is None and (targets or workspace is not None):
        raise RequestError(
            f"--target and --workspace belong to --engine: add --engine {'|'.join(FLAVOURS)}"
        )
    if engine is not None:
        # What is not installed should be said before the minutes that an export may take.
        load_library(engine)
    output = output or Path("bundles") / backbone
    bundle = export_bundle(
        backbone,
        output,
        weights=weights,
        layer=layer,
        sizes_hw=sizes,
        precision=precision,
        top_k=top_k,
        force=force,
    )
    if engine is not None:
        build_with_progress(bundle, flavour=engine, targets=targets, workspace_mib=workspace)


def export_bundle(
    backbone: str,
    output: Path,
    *,
    weights: Path | None = None,
    layer: str = "layer3",
    sizes_hw: tuple[tuple[int, int], ...] = (),
    precision: str = "fp32",
    top_k: int = 10,
    force: bool = False,
) -> Bundle:
    """Export with progress and the table of errors on the terminal.

    Raises:
        ExportError: PyTorch is not installed, or the export failed.
    """
    from ..export.backbones import find_backbone

    # A wrong name should not cost the seconds that PyTorch takes to load.
    find_backbone(backbone)
    try:
        from ..export.bundle_writer import ExportRequest, error_table, write_bundle
    except ImportError as error:
        raise ExportError(
            f"exporting needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]', or export on another machine and copy the folder"
        ) from error
    from rich.console import Console
    from rich.table import Table

    console = Console()
    request = ExportRequest(backbone, layer, weights, sizes_hw, precision, top_k, force)
    with console.status(f"exporting {backbone}") as status:
        bundle = write_bundle(
            request, output, lambda step: status.update(f"exporting {backbone}: {step}")
        )
    table = Table("graph", "size", "max error vs PyTorch", box=None, pad_edge=False)
    for row in error_table(bundle.spec):
        table.add_row(*row)
    console.print(table)
    console.print(f"bundle written: {output}", highlight=False, soft_wrap=True)
    return bundle
