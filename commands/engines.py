"""Building engines with a progress bar and a table at its end, for `build`, `export`, `track`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BackendError, RequestError
from ..runtime.backends import find_backend
from ..runtime.bundle import Bundle
from ..runtime.specs import EngineSpec

if TYPE_CHECKING:
    from rich.table import Table


def build_with_progress(
    bundle: Bundle,
    *,
    flavour: str,
    targets: tuple[str, ...] = (),
    workspace_mib: int | None = None,
    sizes_hw: tuple[tuple[int, int], ...] = (),
    graphs: tuple[str, ...] = (),
    force: bool = False,
) -> tuple[EngineSpec, ...]:
    """Build engines into a bundle, with progress and the proof of precision on the terminal.

    Raises:
        UnitrackError: See `export.engine_writer.build_engines`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from ..export.engine_writer import EngineRequest, build_engines

    request = EngineRequest(flavour, targets, sizes_hw, workspace_mib, graphs, force)
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


def rebuild_engines(path: Path, backend: str) -> None:
    """Build a bundle's engines that are missing or do not fit this machine.

    Raises:
        RequestError: The backend runs no engines.
        BackendError: Its flavour of TensorRT or a GPU is missing.
        BuildError: Building failed.
    """
    from ..runtime.device import find_gpu
    from ..runtime.engine_choice import unusable_engines
    from ..runtime.tensorrt_library import load_library

    flavour = find_backend(backend).flavour
    if flavour is None:
        raise RequestError(
            f"--rebuild with --backend {backend}: only tensorrt and tensorrt-rtx run engines"
        )
    library = load_library(flavour)
    gpu = find_gpu()
    if gpu is None:
        raise BackendError(
            f"--rebuild: no GPU with a working driver was found, and {flavour} engines run on one "
            "only (see `cli doctor`); use --backend cpu"
        )
    bundle = Bundle.load(path)
    stale = unusable_engines(bundle, library, gpu.target)
    if stale:
        build_with_progress(bundle, flavour=flavour, graphs=tuple(stale))


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
