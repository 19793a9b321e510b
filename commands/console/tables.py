"""Prints tables, on terminals and into pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ...evaluation.runner.report import TextTable


def wide_console() -> Console:
    """Standard output; a pipe has no width, so nothing is folded there."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def print_table(console: Console, table: TextTable) -> None:
    """Print a table without borders, numbers to the right."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for column, title in enumerate(table.head):
        left = column < table.left
        shown.add_column(Text(title), justify="left" if left else "right")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    console.print(shown)
