"""What `cli eval` and `cli compare` share: progress over sequences, and errors of some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...errors import UnitrackError
from ...evaluation.runner.executors import EXECUTORS, threads_of
from ...evaluation.runner.jobs import SequenceJob, SequenceRecord, run_job
from .steps import progress_bar


def run_jobs(
    jobs: Sequence[SequenceJob],
    executor: str | None,
    workers: int,
    name_of: Callable[[SequenceJob], str],
) -> tuple[dict[int, SequenceRecord], dict[int, UnitrackError]]:
    """Do jobs with progress on standard error; Ctrl-C ends with status 130.

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
