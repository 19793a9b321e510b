"""Runs of `cli track`, from requests to folders of results: one source, or several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError, SourceError, UnitrackError
from .run_report import fleet_report
from .runtime.bundle import Bundle
from .runtime.fleet import Fleet, Member, check_batch
from .runtime.graph_runner import GraphRunner
from .runtime.init_box import SELECT
from .runtime.pipeline import OnFrame
from .runtime.run_events import RunObserver
from .runtime.sinks import OutputFolder, write_json_atomic
from .runtime.sources import SourceInfo, is_live
from .runtime.stop import StopRequest
from .runtime.viewer_commands import Commands
from .source_run import SourceRun, TrackReport
from .tasks import TrackRequest, check_request

__all__ = ["FleetReport", "SourceJob", "TrackReport", "TrackRequest", "track", "track_all"]
__all__ += ["Watch", "track_sources"]

Watch = Callable[[SourceInfo], OnFrame]
"""Told of a source before its first frame; its answer is told of every frame."""


def _nobody(_info: SourceInfo) -> OnFrame:
    return lambda _frame, _tracks: None


@dataclass(frozen=True, slots=True)
class SourceJob:
    """What is to be done with one source of several.

    Attributes:
        name: Short and unique in the run; see `runtime.source_names`.
        requests: One a task; all with the same source, bundle and backend.
        output: Folder of its results.
    """

    name: str
    requests: Sequence[TrackRequest]
    output: Path


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a run over several sources came to.

    Attributes:
        output: The folder that holds those of the sources.
        data: The contents of its `run.json`.
        reports: By the source's name, of those that gave a frame.
    """

    output: Path
    data: dict[str, Any]
    reports: dict[str, TrackReport]


def track(request: TrackRequest, watch: Watch = _nobody) -> TrackReport:
    """Do one task on one source; see `track_all`."""
    return track_all([request], request.output, watch)


def track_all(
    requests: Sequence[TrackRequest],
    output: Path,
    watch: Watch = _nobody,
    observers: Sequence[RunObserver] = (),
    commands: Commands | None = None,
) -> TrackReport:
    """Do several tasks on one source, with one pass of the backbone a frame.

    Args:
        requests: One a task; all with the same source, bundle and backend.
        output: Folder of `run.json`.
        watch: For progress.
        observers: Told of every frame and of what happens to the source.
        commands: What viewers want to track.

    Returns:
        The report, which was also written to `run.json`.

    Raises:
        UnitrackError: One line that says what is wrong.  Results up to there are kept.
    """
    for request in requests:
        check_request(request)
    with ExitStack() as stack:
        run = stack.enter_context(SourceRun("", requests, output, observers, commands))
        run.open_source()
        bundle, graphs = _load(requests[0], stack)
        run.open_lanes(graphs)
        stop = stack.enter_context(StopRequest())
        run.open_folders()
        error: UnitrackError | None = None
        try:
            run.open_sinks(stop)
            limit = requests[0].max_frames
            run.pipeline.run(stop, max_frames=limit, on_frame=watch(run.source.info))
        except UnitrackError as failure:
            error = failure
        report = run.finish(error, bundle, graphs)
    if report is None or run.error is not None:
        raise run.error or OutputError("nothing was tracked")
    return report


def track_sources(
    jobs: Sequence[SourceJob],
    output: Path,
    watch: Watch = _nobody,
    observers: Sequence[RunObserver] = (),
    commands: Commands | None = None,
) -> FleetReport:
    """Track several sources at once, on one loaded bundle.

    A camera or stream that cannot be opened, or dies, leaves the others running, and so does
    whatever goes wrong in one source after the first frame.  What is wrong before it (a file that
    is not there, a detector that does not load) ends the run before anything is tracked.

    Args:
        jobs: The sources; all with the same bundle and backend.
        output: Folder of the common `run.json`.
        watch: For progress, called once a source.
        observers: Told of every frame and of what happens to the sources.
        commands: What viewers want to track.

    Raises:
        UnitrackError: Nothing could be tracked at all.
    """
    for job in jobs:
        for request in job.requests:
            check_request(request)
    first = jobs[0].requests[0]
    started = time.perf_counter()
    with ExitStack() as stack:
        runs = [
            stack.enter_context(SourceRun(job.name, job.requests, job.output, observers, commands))
            for job in jobs
        ]
        present = [run for run in runs if _is_there(run)]
        if not present:
            raise runs[0].error or SourceError("no source could be opened")
        bundle, graphs = _load(first, stack)
        check_batch(graphs, first.batch)
        for run in present:
            run.open_lanes(graphs)
        stop = stack.enter_context(StopRequest())
        folder = OutputFolder(output, overwrite=first.overwrite)
        try:
            for run in present:
                run.open_folders()
                run.open_sinks(stop)
        except UnitrackError:
            for run in present:
                run.discard()
            folder.discard()
            raise
        reports: dict[str, TrackReport] = {}

        def member(run: SourceRun) -> Member:
            def finish(error: UnitrackError | None) -> None:
                report = run.finish(error, bundle, graphs)
                if report is not None:
                    reports[run.name] = report

            limit = run.requests[0].max_frames
            return Member(run.source, run.pipeline, limit, watch(run.source.info), finish)

        # OpenCV's windows belong to the thread that the program began in.
        windows = any(r.show or r.init == SELECT for job in jobs for r in job.requests)
        members = [member(run) for run in present]
        fleet = Fleet(graphs, members, overlap=not windows, batch=first.batch)
        fleet.run(stop)
        data = fleet_report(
            {run.name: run.summary() for run in runs},
            time.perf_counter() - started,
            interrupted=stop.is_set,
        )
        write_json_atomic(output / "run.json", data)
    return FleetReport(output, data, reports)


def _is_there(run: SourceRun) -> bool:
    """Open a source; one that lives elsewhere may be absent."""
    try:
        run.open_source()
    except SourceError as error:
        if not is_live(run.requests[0].source):
            raise
        run.fail(error)
        return False
    return True


def _load(request: TrackRequest, stack: ExitStack) -> tuple[Bundle, GraphRunner]:
    bundle = Bundle.load(request.bundle)
    return bundle, stack.enter_context(GraphRunner(bundle, request.backend, request.threads))
