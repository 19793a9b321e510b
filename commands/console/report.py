"""Shows the result of a command: tables on the terminal, JSON, Markdown, and files of both."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ...errors import OutputError, RequestError
from ...runtime.paths import unwritable
from ...runtime.tables import TextTable, markdown


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command.

    Attributes:
        data: Plain data, for JSON.
        tables: For people.
        heading: Lines above the tables.
        notes: One line each, without the word "note".
        closing: Lines for the terminal alone, such as where files were written.
        document: Markdown; None: made of heading, tables and notes.
    """

    data: Any
    tables: Sequence[TextTable] = ()
    heading: Sequence[str] = ()
    notes: Sequence[str] = ()
    closing: Sequence[str] = ()
    document: str | None = None

    def markdown(self) -> str:
        """The report as Markdown, with its line ends."""
        if self.document is not None:
            return self.document
        heading = [f"{line}\n" for line in self.heading]
        notes = [f"Note: {note}.\n" for note in self.notes]
        return "\n".join([*heading, *map(markdown, self.tables), *notes])

    def print(self) -> None:
        """Print it on standard output, for people."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            # A pipe has no width: nothing is folded.
            console = Console(highlight=False, width=260)

        def line(text: str) -> None:
            console.print(text, soft_wrap=True, markup=False)

        for text in self.heading:
            line(text)
        for number, table in enumerate(self.tables):
            if number or self.heading:
                line("")
            console.print(_rich_table(table))
        for note in self.notes:
            line(f"note: {note}")
        for text in self.closing:
            line(text)


@dataclass(frozen=True, slots=True)
class ReportOutput:
    """Where a report goes: the values of `--json`, `--json-file`, `--markdown`, `--markdown-file`.

    Raises:
        RequestError: Standard output is asked for twice.
        OutputError: A file is in a folder that cannot be written to; said before the work.
    """

    as_json: bool = False
    json_file: Path | None = None
    as_markdown: bool = False
    markdown_file: Path | None = None

    def __post_init__(self) -> None:
        if self.as_json and self.as_markdown:
            raise RequestError("--json and --markdown both print: give one of them, or a file")
        for path in (self.json_file, self.markdown_file):
            place = None if path is None else unwritable(path)
            if place is not None:
                raise OutputError(f"cannot write {path}: {place} is no folder to write to")

    def show(self, report: Report) -> None:
        """Write the files that were asked for, and print the report.

        Raises:
            OutputError: A file cannot be written.
        """
        if self.as_json or self.json_file or self.markdown_file:
            self._write(report)
        if self.as_markdown:
            click.echo(report.markdown(), nl=False)
        elif not self.as_json:
            report.print()

    def _write(self, report: Report) -> None:
        from ...runtime.writers.base import json_text, write_atomic, write_json_atomic

        for path in (self.json_file, self.markdown_file):
            if path is not None:
                with contextlib.suppress(OSError):  # what is written next says why
                    path.parent.mkdir(parents=True, exist_ok=True)
        if self.json_file is not None:
            write_json_atomic(self.json_file, report.data)
        if self.markdown_file is not None:
            write_atomic(self.markdown_file, report.markdown().encode(errors="replace"))
        if self.as_json:
            click.echo(json_text(report.data), nl=False)


def _rich_table(table: TextTable) -> Any:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for column, title in enumerate(table.head):
        shown.add_column(Text(title), justify="left" if column < table.left else "right")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown
