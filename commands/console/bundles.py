"""Writing bundles and engines with progress on the terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import BackendError, BundleError, ExportError, RequestError
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.spec import EngineSpec
from ...runtime.inference.registry import find_backend

if TYPE_CHECKING:
    from rich.table import Table


def build_with_progress(
    bundle: Bundle,
    *,
    variant: str,
    targets: tuple[str, ...] = (),
    workspace_mib: int | None = None,
    sizes_hw: tuple[tuple[int, int], ...] = (),
    graphs: tuple[str, ...] = (),
    force: bool = False,
) -> tuple[EngineSpec, ...]:
    """Build engines into a bundle, with progress and the proof of precision on the terminal.

    Raises:
        UnitrackError: See `export.tensorrt.writer.build_engines`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from ...export.tensorrt.writer import EngineRequest, build_engines

    request = EngineRequest(variant, targets, sizes_hw, workspace_mib, graphs, force)
    console = Console()
    columns = (
        TextColumn("building {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[phase]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task("engines", phase="")

        def progress(label: str, done: int, total: int, phase: str) -> None:
            bar.update(row, description=label, completed=done, total=total, phase=phase)

        engines = build_engines(bundle, request, progress)
    console.print(_table(engines))
    console.print(f"engines are in {bundle.path / 'engines'}", highlight=False, soft_wrap=True)
    return engines


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
    from ...export.backbones.table import find_backbone

    # A wrong name should not cost the seconds that PyTorch takes to load.
    find_backbone(backbone)
    try:
        from ...export.bundle_writer import ExportRequest, error_table, write_bundle
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


def ensure_bundle(path: Path, backbone: str | None, layer: str = "layer3") -> None:
    """Export a missing bundle of the table, where PyTorch is there to do it.

    Args:
        path: Where the bundle should be.
        backbone: Its name on the table; None where the user named a folder, which is never written.
        layer: Where the backbone is cut.

    Raises:
        BundleError: It is missing and PyTorch is not there.
        ExportError: Unknown name, or the export failed.
    """
    if backbone is None or path.exists():
        return
    from ...export.backbones.table import find_backbone

    # A wrong name is told before anything is promised.
    find_backbone(backbone)
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            f"bundle {path} does not exist, and PyTorch, which could write it, is not installed: "
            f"run `cli export --backbone {backbone}` on a machine with "
            "pip install 'unitrack-edge[export]' and copy the folder here"
        )
    where = "" if layer == "layer3" else f" up to {layer}"
    click.echo(f"{path} does not exist yet: exporting {backbone}{where} (once)")
    export_bundle(backbone, path, layer=layer)


def rebuild_engines(path: Path, backend: str) -> None:
    """Build a bundle's engines that are missing or do not fit this machine.

    Raises:
        RequestError: The backend runs no engines.
        BackendError: Its variant of TensorRT or a GPU is missing.
        BuildError: Building failed.
    """
    from ...runtime.inference.tensorrt.compatibility import unusable_engines
    from ...runtime.inference.tensorrt.cuda import find_gpu
    from ...runtime.inference.tensorrt.library import load_library

    variant = find_backend(backend).variant
    if variant is None:
        raise RequestError(
            f"--rebuild with --backend {backend}: only tensorrt and tensorrt-rtx run engines"
        )
    library = load_library(variant)
    gpu = find_gpu()
    if gpu is None:
        raise BackendError(
            f"--rebuild: no GPU with a working driver was found, and {variant} engines run on one "
            "only (see `cli doctor`); use --backend cpu"
        )
    bundle = Bundle.load(path)
    stale = unusable_engines(bundle, library, gpu.target)
    if stale:
        build_with_progress(bundle, variant=variant, graphs=tuple(stale))


def _table(engines: Sequence[EngineSpec]) -> Table:
    from rich.table import Table

    table = Table("graph", "target", "size", "built in", "products computed in", box=None)
    for engine in engines:
        products = ", ".join(f"{count} {kind}" for kind, count in engine.products.items())
        table.add_row(
            engine.graph,
            engine.target,
            f"{engine.size_bytes / 1e6:.2f} MB",
            f"{engine.build_s:.2f} s",
            products or "none",
        )
    return table
