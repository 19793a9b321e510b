"""`cli build`."""

from __future__ import annotations

from pathlib import Path

import click

from .options.shared import engine_options, read_sizes


@click.command("build")
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options(required=True)
@click.option(
    "--size",
    "sizes",
    callback=read_sizes,
    multiple=True,
    metavar="HxW",
    help="Image size that the engines serve; repeatable, and fewer sizes need less memory.  "
    "[default: the bundle's]",
)
@click.option("--graph", "graphs", multiple=True, help="Build this graph only; repeatable.")
@click.option("--force", is_flag=True, help="Build again what is there already.")
def command(
    bundle: Path,
    engine: str,
    targets: tuple[str, ...],
    workspace: int | None,
    sizes: tuple[tuple[int, int], ...],
    graphs: tuple[str, ...],
    force: bool,
) -> None:
    """Build TensorRT engines from the ONNX graphs of BUNDLE, into BUNDLE.

    PyTorch is not needed. What is there and still fits is not built again. The element types of all
    convolutions and matrix products are proven before anything is built; the table shows them.
    """
    from ..runtime.bundle.bundle import Bundle
    from .console.bundles import build_with_progress

    build_with_progress(
        Bundle.load(bundle),
        variant=engine,
        targets=targets,
        workspace_mib=workspace,
        sizes_hw=sizes,
        graphs=graphs,
        force=force,
    )
