"""Progress of the steps of a command, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Progress(Protocol):
    """Called with the name of a step, how much of it is done, of how much, and a detail."""

    def __call__(self, step: str, done: int, of: int | None, detail: str = "") -> None: ...


@contextmanager
def progress_bar(interrupted: Callable[[], str]) -> Iterator[Progress]:
    """A bar for the current step; nothing where standard error is not a terminal.

    Ctrl-C ends the command with status 130.

    Args:
        interrupted: Gives what is said then, after "interrupted; ".
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    try:
        with Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bars:
            row = bars.add_task("starting", total=None, detail="")
            current = ""

            def progress(step: str, done: int, of: int | None, detail: str = "") -> None:
                nonlocal row, current
                if step != current:
                    bars.remove_task(row)
                    row = bars.add_task(step, total=of, detail=detail)
                    current = step
                bars.update(row, completed=done, total=of, detail=detail)

            yield progress
    except KeyboardInterrupt:
        click.echo(f"interrupted; {interrupted()}", err=True)
        sys.exit(130)
