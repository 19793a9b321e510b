"""`cli backbones`."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from ..export.backbones.table import BACKBONES


@click.command("backbones")
def command() -> None:
    """List the backbones that `cli export --backbone NAME` takes.

    "manual" sources cannot be downloaded by a program: `cli export` says where to get the file,
    and takes it with --weights.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "architecture", "weights", "licence of the weights", "trained"):
        table.add_column(column, no_wrap=True)
    for row in BACKBONES.values():
        table.add_row(row.name, row.arch, row.source, row.licence, row.note)
    console = Console()
    if not console.is_terminal:
        # A pipe has no width: nothing is cut off.
        console = Console(width=160)
    console.print(table)
