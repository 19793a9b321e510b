"""Tables of finished text, and their Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of finished text.

    Attributes:
        head: Titles of the columns.
        rows: Cells, as many a row as `head` has titles.
        left: How many columns are aligned to the left; the others hold numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def markdown(table: TextTable) -> str:
    """A table in GitHub's Markdown, with its line ends."""
    rule = ["---" if column < table.left else "---:" for column in range(len(table.head))]
    # A bar would end the cell.
    head, *rows = [[c.replace("|", "\\|") for c in row] for row in (table.head, *table.rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))
