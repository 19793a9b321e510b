"""Progress of the steps of a command, on standard error; sequences of an evaluation are steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from ...errors import Stopped, UnitrackError

if TYPE_CHECKING:
    from ...evaluation.runner.jobs import SequenceJob, SequenceRecord


class Progress(Protocol):
    """Called with the name of a step, how much of it is done, of how much, and a detail."""

    def __call__(self, step: str, done: int, of: int | None, detail: str = "") -> None: ...


@contextmanager
def interruptible(left: Callable[[], str]) -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and SIGHUP end the command with one line, and status 130, 143 or 129.

    Args:
        left: Gives what the line says of what is on the disk.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        stopped = Stopped.of(error)
        command = click.get_current_context().command_path
        click.echo(f"{command}: {stopped}; {left()}", err=True)
        sys.exit(stopped.status)


def not_written(path: Path) -> str:
    """What is said where a file or folder is written last, whole or not at all."""
    return f"{path} is as it was before" if path.exists() else f"{path} was not written"


@contextmanager
def progress_bar(left: Callable[[], str]) -> Iterator[Progress]:
    """A bar for the current step; nothing where standard error is not a terminal.

    Args:
        left: As of `interruptible`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with interruptible(left), bars:
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


def run_jobs(
    jobs: Sequence[SequenceJob],
    executor: str | None,
    workers: int,
    name_of: Callable[[SequenceJob], str],
) -> tuple[dict[int, SequenceRecord], dict[int, UnitrackError]]:
    """Do jobs with progress on standard error; it is `interruptible`.

    Args:
        jobs: What to do.
        executor: A key of `EXECUTORS`; None: the one that fits the number of workers.
        workers: Jobs at the same time.
        name_of: What the progress calls a job.

    Returns:
        The records by number of the job, and the errors of those that failed.
    """
    from ...evaluation.runner.executors import EXECUTORS, threads_of
    from ...evaluation.runner.jobs import run_job

    run = EXECUTORS[executor or ("serial" if workers == 1 else "processes")]
    records: dict[int, SequenceRecord] = {}
    failures: dict[int, UnitrackError] = {}
    with progress_bar(
        lambda: (
            f"{len(records)} of {len(jobs)} sequences are recorded; run the same command "
            "again to continue"
        )
    ) as progress:
        progress("sequences", 0, len(jobs))
        for number, result in run(run_job, jobs, workers, threads_of(workers)):
            if isinstance(result, UnitrackError):
                failures[number] = result
            else:
                records[number] = result
            done = len(records) + len(failures)
            progress("sequences", done, len(jobs), f"last: {name_of(jobs[number])}")
    return dict(sorted(records.items())), dict(sorted(failures.items()))


def raise_failures(failures: Mapping[str, UnitrackError], count: int) -> None:
    """End with one line where a sequence failed; all of them are in the summary.

    Args:
        failures: By the sequence's name.
        count: Of all sequences.

    Raises:
        UnitrackError: Names the first one.
    """
    if failures:
        name, error = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise type(error)(f"{len(failures)} of {count} sequences failed: {name}{more}: {error}")
