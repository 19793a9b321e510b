"""What `cli eval` and `cli compare` share: options of executors, progress, errors of sequences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...errors import UnitrackError
from ...evaluation.runner.executors import EXECUTORS, threads_of
from ...evaluation.runner.jobs import SequenceJob, SequenceRecord, run_job


def run_jobs(
    jobs: Sequence[SequenceJob],
    executor: str | None,
    workers: int,
    name_of: Callable[[SequenceJob], str],
) -> tuple[dict[int, SequenceRecord], dict[int, UnitrackError]]:
    """Do jobs with progress on the terminal; Ctrl-C ends with status 130.

    Args:
        jobs: What to do.
        executor: A key of `EXECUTORS`; None: the one that fits the number of workers.
        workers: Jobs at the same time.
        name_of: What the progress calls a job.

    Returns:
        The records by number of the job, and the errors of those that failed.
    """
    run = EXECUTORS[executor or ("serial" if workers == 1 else "processes")]
    records: dict[int, SequenceRecord] = {}
    failures: dict[int, UnitrackError] = {}
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("sequences", total=len(jobs))
        try:
            for number, result in run(run_job, jobs, workers, threads_of(workers)):
                if isinstance(result, UnitrackError):
                    failures[number] = result
                else:
                    records[number] = result
                progress.update(bar, advance=1, description=f"last: {name_of(jobs[number])}")
        except KeyboardInterrupt:
            progress.stop()
            click.echo(
                f"interrupted; {len(records)} of {len(jobs)} sequences are recorded, and the same "
                "command goes on from there",
                err=True,
            )
            sys.exit(130)
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


def show_notes(console: Any, notes: Sequence[str]) -> None:
    """Print remarks, one a line."""
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
