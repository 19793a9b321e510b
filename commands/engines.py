"""Building engines with a progress bar and a table at its end, for `build`, `export`, `track`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
