"""Writes bundles and engines, with progress on standard error."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import BackendError, BundleError, ExportError, RequestError
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.registry import find_backend
from ...runtime.tables import TextTable
from .steps import progress_bar

if TYPE_CHECKING:
    from ...export.bundle_writer import ExportRequest
    from ...export.tensorrt.writer import EngineRequest
    from ...runtime.bundle.spec import EngineSpec


def build_with_progress(bundle: Bundle, request: EngineRequest) -> tuple[EngineSpec, ...]:
    """Build engines into a bundle.

    Returns:
        Those that were asked for; those that were there already and fit included.

    Raises:
        UnitrackError: See `export.tensorrt.writer.build_engines`.
    """
    from ...export.tensorrt.writer import build_engines

    with progress_bar(lambda: "finished engines are in the bundle") as progress:
        return build_engines(
            bundle,
            request,
            lambda label, done, of, phase: progress(
                "building engines", done, of, f"{label} {phase}"
            ),
        )


def engine_table(engines: Sequence[EngineSpec]) -> TextTable:
    """A row an engine, with the proof of its precision."""
    rows = [
        (
            engine.graph,
            engine.target,
            f"{engine.size_bytes / 1e6:.2f} MB",
            f"{engine.build_s:.2f} s",
            ", ".join(f"{count} {kind}" for kind, count in engine.products.items()) or "none",
        )
        for engine in engines
    ]
    return TextTable(("graph", "target", "size", "built in", "products computed in"), rows, left=2)


def export_with_progress(output: Path, request: ExportRequest) -> Bundle:
    """Export a backbone.

    Raises:
        ExportError: The export failed.
    """
    from rich.console import Console

    from ...export.bundle_writer import write_bundle

    doing = f"exporting {request.backbone}"
    with Console(stderr=True).status(doing) as status:
        return write_bundle(request, output, lambda step: status.update(f"{doing}: {step}"))


def check_exportable(backbone: str) -> None:
    """Find out before the work whether a backbone can be exported here.

    Raises:
        ExportError: Its name is unknown, or PyTorch is not installed.
    """
    from ...export.backbones.table import find_backbone

    # A wrong name should not cost the seconds that PyTorch takes to load.
    find_backbone(backbone)
    try:
        from ...export import bundle_writer  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"exporting needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]', or export on another machine and copy the folder"
        ) from error


def ensure_bundle(path: Path, backbone: str | None, layer: str = "layer3") -> None:
    """Export a bundle that is missing, where PyTorch is installed.

    Args:
        path: Where the bundle should be.
        backbone: Its name on the table; None where the user named a folder, which is never written.
        layer: Where the backbone is cut.

    Raises:
        BundleError: It is missing and PyTorch is not installed.
        ExportError: Unknown name, or the export failed.
    """
    if backbone is None or path.exists():
        return
    from ...export.backbones.table import find_backbone

    # A wrong name is an error before anything is announced.
    find_backbone(backbone)
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            f"bundle {path} does not exist, and PyTorch, which could write it, is not installed: "
            f"run `cli export --backbone {backbone}` on a machine with "
            "pip install 'unitrack-edge[export]' and copy the folder here"
        )
    where = "" if layer == "layer3" else f" up to {layer}"
    click.echo(f"{path} does not exist yet: exporting {backbone}{where} (once)", err=True)
    check_exportable(backbone)
    from ...export.bundle_writer import ExportRequest

    export_with_progress(path, ExportRequest(backbone, layer))


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
        from ...export.tensorrt.writer import EngineRequest

        build_with_progress(bundle, EngineRequest(variant, graphs=tuple(stale)))
        click.echo(f"built {len(stale)} engines in {path / 'engines'}", err=True)
