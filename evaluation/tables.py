"""Tables as plain rows, which a terminal and a Markdown file show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of finished texts.

    Attributes:
        head: Of the columns.
        rows: As long as `head`, each.
        right: Whether all columns but the first few are numbers, to be set to the right: how many
            columns stand on the left.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def markdown(table: TextTable) -> str:
    """A table of GitHub's Markdown, with its line ends."""
    rule = ["---" if column < table.left else "---:" for column in range(len(table.head))]
    lines = [[_safe(cell) for cell in row] for row in (table.head, *table.rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (lines[0], rule, *lines[1:]))


def _safe(cell: str) -> str:
    """A bar would end the cell."""
    return cell.replace("|", "\\|")
