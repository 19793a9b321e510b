"""`cli export`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import RequestError
from ..runtime.inference.tensorrt.library import VARIANTS, load_library
from .console.bundles import build_with_progress, export_bundle
from .options.shared import engine_options, read_sizes


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
            f"--target and --workspace belong to --engine: add --engine {'|'.join(VARIANTS)}"
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
        build_with_progress(bundle, variant=engine, targets=targets, workspace_mib=workspace)
