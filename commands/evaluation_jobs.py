"""What `cli eval` and `cli compare` share: options of executors, progress, errors of sequences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import ObservationError, UnitrackError
from ..evaluation import datasets
from ..evaluation.executors import EXECUTORS, available_cores
from ..evaluation.sequence_jobs import SequenceJob, SequenceRecord
from ..runtime.sinks import output_error
from .sequence_tracking import run_job


def threads_of(jobs: int) -> int:
    """Threads for each of several jobs at the same time."""
    return max(1, available_cores() // jobs)


def why_not_trackable(sequence: datasets.Sequence) -> str | None:
    """What a sequence lacks for being tracked, and the remedy; None where it lacks nothing."""
    if not sequence.pictures:
        return (
            f"{sequence.name}: no pictures to track in; score results that are there with "
            "--results, or name the others with --sequence"
        )
    if sequence.detections is None and sequence.init is None:
        return (
            f"{sequence.name}: no detections (det/det.txt, det.json); give --detections FOLDER "
            f"with {sequence.name}.txt or .json, or name the others with --sequence"
        )
    return None


def check_trackable(sequences: Sequence[datasets.Sequence]) -> None:
    """Refuse what cannot be tracked before hours are spent on the rest.

    Raises:
        ObservationError: A sequence without pictures, or with nothing to start from.
    """
    for sequence in sequences:
        lacking = why_not_trackable(sequence)
        if lacking is not None:
            raise ObservationError(lacking)


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


def make_folder(folder: Path) -> None:
    """Make a folder with its parents.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from None


def show_notes(console: Any, notes: Sequence[str]) -> None:
    """Print remarks, one a line."""
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
