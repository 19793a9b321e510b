"""Runs of `cli track`, from requests to folders of results: one source, or several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import OutputError, SourceError, UnitrackError
from ..heads.interactive import STARTS, started_head
from ..records import Tracks, UInt8Array
from ..runtime.bundle.bundle import Bundle
from ..runtime.drawing.annotate import draw_tracks
from ..runtime.events import RunListener, SourceLog
from ..runtime.head import Head
from ..runtime.inference.runner import GraphRunner
from ..runtime.multi_source import MultiSource, Stream, check_batch
from ..runtime.pipeline import OnFrame, Pipeline, TaskRunner
from ..runtime.prompts.box import SELECT
from ..runtime.server.commands import Commands
from ..runtime.signals import StopRequest
from ..runtime.sources.base import LiveOptions, PolledSource, SourceInfo
from ..runtime.sources.open import is_live, open_source
from ..runtime.sources.redact import redact, short_name
from ..runtime.writers.base import Writer, write_json_atomic
from ..runtime.writers.run_folder import OutputFolder
from ..runtime.writers.segments import MakeWriter, Recording, Segments
from ..runtime.writers.video import VideoWriter
from ..runtime.writers.window import Window
from .config import TrackRequest, check_request
from .registry import HEADS, RESULTS, detector_of
from .report import frames_per_second, multi_source_report, run_report


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What a run came to; `data` is the contents of `run.json`."""

    output: Path
    data: dict[str, Any]
    notes: tuple[str, ...]


class SourceRun:
    """The life of one source in a run; a context manager that gives everything back.

    Called in this order: `open_source`, `open_task_runners`, `open_folders`, `open_writers`, then
    whoever drives `pipeline`, then `finish`.

    Args:
        name: The source's short name; empty where it is the only one.
        requests: One a task; all with the same source.
        output: Folder of its `run.json`.
        listeners: Told of every frame and of what happens to the source.
        commands: What viewers want to track; None where there are none.

    Attributes:
        source: Once `open_source` was called.
        pipeline: Once `open_task_runners` was called.
        error: What ended it, or None.
    """

    def __init__(
        self,
        name: str,
        requests: Sequence[TrackRequest],
        output: Path,
        listeners: Sequence[RunListener] = (),
        commands: Commands | None = None,
    ) -> None:
        self.name = name
        self.requests = requests
        self.output = output
        self.error: UnitrackError | None = None
        self.source: PolledSource
        self.pipeline: Pipeline
        self.log = SourceLog(name or short_name(requests[0].source), listeners)
        self._listeners = listeners
        self._commands = commands
        self._recordings: list[Recording] = []
        self._task_runners: list[TaskRunner] = []
        self._folders: list[OutputFolder] = []
        self._held = ExitStack()
        self._writers = ExitStack()

    def __enter__(self) -> SourceRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writers.close()
        finally:
            self._held.close()

    def open_source(self) -> None:
        """Open the source.

        Raises:
            SourceError: It cannot be opened.
        """
        request = self.requests[0]
        options = LiveOptions(
            request.realtime, request.freeze_s, request.give_up_s, self.log.notify
        )
        self.source = open_source(request.source, fps=request.fps, options=options)
        self._held.callback(self.source.close)

    def open_task_runners(self, graphs: GraphRunner) -> None:
        """Make the heads and detectors, and load the graphs that they run.

        Raises:
            UnitrackError: A head, a detector or a graph cannot be had.
        """
        self._task_runners = [
            self._task_runner(request, graphs, self.source.info) for request in self.requests
        ]
        used = (name for task_runner in self._task_runners for name in task_runner.head.graphs_used)
        for graph in ("backbone", *used):
            graphs.engine(graph)
        self.pipeline = Pipeline(
            self.source, graphs, self._task_runners, name=self.log.name, listeners=self._listeners
        )
        self.log.opened(self.source.info)

    def open_folders(self) -> None:
        """Make the folders of the results, or clear them.

        Raises:
            OutputError: One holds something else.
        """
        self._folders = [OutputFolder(r.output, overwrite=r.overwrite) for r in self.requests]

    def open_writers(self, stop: StopRequest) -> None:
        """Open what the results go to.

        Raises:
            UnitrackError: One cannot be opened.
        """
        for task_runner, request in zip(self._task_runners, self.requests, strict=True):
            task_runner.writers = self._writers_of(request, self.source.info, stop)

    def discard(self) -> None:
        """Remove what was written: the run gave no result."""
        self._writers.close()
        for folder in self._folders:
            folder.discard()

    def fail(self, error: UnitrackError) -> None:
        """Note what ended the source."""
        self.error = error
        self.log.ended(str(error), failed=True)

    def finish(
        self, error: UnitrackError | None, bundle: Bundle, graphs: GraphRunner
    ) -> TrackReport | None:
        """Complete and close everything, and write `run.json`.

        Args:
            error: What ended the source before its time, or None.
            bundle: Whose graphs ran.
            graphs: What ran them.

        Returns:
            The report; None where there was no frame, in which case nothing is left on the disk.
        """
        try:
            # A writer may also fail when it is closed; the report is written all the same.
            self._writers.close()
        except UnitrackError as failure:
            error = error or failure
        stopped = next((r.error for r in self._recordings if r.error is not None), None)
        error = error or stopped
        if self.pipeline.frames == 0 and (error is not None or not self.pipeline.interrupted):
            self.discard()
            self.fail(error or OutputError("the source gave no frame: nothing was tracked"))
            self._held.close()
            return None
        report = self._report(error, bundle, graphs)
        self._held.close()
        if self.error is None:
            ended = self.source.ended_early or "ended"
            self.log.ended(ended, failed=self.source.ended_early is not None)
        return report

    def summary(self) -> dict[str, Any]:
        """What the common `run.json` of several sources says of this one."""
        data: dict[str, Any] = {
            "source": redact(self.requests[0].source),
            "output": str(self.output),
            "error": None if self.error is None else str(self.error),
        }
        if self._task_runners:
            pipeline = self.pipeline
            data |= {
                "frames": pipeline.frames,
                "fps": frames_per_second(pipeline),
                "elapsed_s": round(pipeline.elapsed_s, 3),
                "identities": sum(len(task_runner.ids) for task_runner in self._task_runners),
                "dropped": self.source.dropped,
                "outages": self.log.outages,
                "ended_early": self.source.ended_early,
            }
        return data

    def _report(
        self, error: UnitrackError | None, bundle: Bundle, graphs: GraphRunner
    ) -> TrackReport:
        pipeline = self.pipeline
        if error is not None:
            kept = f"the results of {pipeline.frames} frames before it are in {self.output}"
            error = type(error)(f"{error}; {kept}")
        notes = self._notes()
        data = run_report(
            self.requests, self.source, bundle, graphs, pipeline, self._task_runners, self.log
        )
        data["notes"] = list(notes)
        data["error"] = None if error is None else str(error)
        try:
            write_json_atomic(self.output / "run.json", data)
        except OutputError as failure:
            # On a full disk the first message is the one that says what was kept.
            error = error or failure
        if error is not None:
            self.fail(error)
        return TrackReport(self.output, data, notes)

    def _task_runner(
        self, request: TrackRequest, graphs: GraphRunner, info: SourceInfo
    ) -> TaskRunner:
        head = self._head(request, graphs, info)
        detector = detector_of(request, head)
        if detector is not None:
            self._held.enter_context(detector)
        return TaskRunner(request.task, head, detector, [])

    def _head(self, request: TrackRequest, graphs: GraphRunner, info: SourceInfo) -> Head:
        if self._commands is None or request.task not in STARTS:
            return HEADS[request.task](graphs, request, info)
        first = None if request.init is None else HEADS[request.task](graphs, request, info)
        name, task, config = self.log.name, request.task, request.config
        return started_head(task, graphs, config, self._commands, name, self.log.warn, first)

    def _writers_of(
        self, request: TrackRequest, info: SourceInfo, stop: StopRequest
    ) -> list[Writer]:
        def draw(image: UInt8Array, tracks: Tracks) -> UInt8Array:
            return draw_tracks(image, tracks, caption=request.task)

        name, make = RESULTS[request.task]
        enter = self._writers.enter_context
        results = _segmented(request, request.output / name, make)
        # A camera is watched on although its results can be written no longer; a file is not.
        writers = [enter(self._recording(results, info) if info.live else results)]
        if request.save_video:

            def video(path: Path) -> Writer:
                return VideoWriter(path, info.fps or 30.0, draw)

            whole = _segmented(request, request.output / "video.mp4", video)
            writers.append(enter(self._recording(whole, info)))
        if request.show:
            title = f"{self.name} {request.task}".strip()
            writers.append(enter(Window(title, draw, stop)))
        return writers

    def _recording(self, writer: Writer, info: SourceInfo) -> Recording:
        # Of a camera it is said at once, since it may run for days; of a file at the end.
        if info.live:
            return Recording(writer, self.log.warn)
        self._recordings.append(Recording(writer, lambda _text: None))
        return self._recordings[-1]

    def _notes(self) -> tuple[str, ...]:
        source, pipeline = self.source, self.pipeline
        notes = [] if source.ended_early is None else [source.ended_early]
        notes += source.notes()
        frames = pipeline.frames if pipeline.exhausted else None
        for task_runner in self._task_runners:
            if task_runner.detector is not None:
                notes += [note for note in task_runner.detector.notes(frames) if note not in notes]
        notes += self.log.notes()
        if source.dropped:
            notes.append(
                f"{source.dropped} frames of the live source came too fast and were dropped"
            )
        return tuple(notes)


def _segmented(request: TrackRequest, path: Path, make: MakeWriter) -> Writer:
    minutes = request.segment_minutes
    return make(path) if minutes is None else Segments(path, make, minutes)


__all__ = ["MultiSourceReport", "SourceJob", "TrackReport", "TrackRequest", "track", "track_all"]


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
class MultiSourceReport:
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
    listeners: Sequence[RunListener] = (),
    commands: Commands | None = None,
) -> TrackReport:
    """Do several tasks on one source, with one pass of the backbone a frame.

    Args:
        requests: One a task; all with the same source, bundle and backend.
        output: Folder of `run.json`.
        watch: For progress.
        listeners: Told of every frame and of what happens to the source.
        commands: What viewers want to track.

    Returns:
        The report, which was also written to `run.json`.

    Raises:
        UnitrackError: One line that says what is wrong.  Results up to there are kept.
    """
    for request in requests:
        check_request(request)
    with ExitStack() as stack:
        run = stack.enter_context(SourceRun("", requests, output, listeners, commands))
        run.open_source()
        bundle, graphs = _load(requests[0], stack)
        run.open_task_runners(graphs)
        stop = stack.enter_context(StopRequest())
        run.open_folders()
        error: UnitrackError | None = None
        try:
            run.open_writers(stop)
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
    listeners: Sequence[RunListener] = (),
    commands: Commands | None = None,
) -> MultiSourceReport:
    """Track several sources at once, on one loaded bundle.

    A camera or stream that cannot be opened, or dies, leaves the others running, and so does
    whatever goes wrong in one source after the first frame.  What is wrong before it (a file that
    is not there, a detector that does not load) ends the run before anything is tracked.

    Args:
        jobs: The sources; all with the same bundle and backend.
        output: Folder of the common `run.json`.
        watch: For progress, called once a source.
        listeners: Told of every frame and of what happens to the sources.
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
            stack.enter_context(SourceRun(job.name, job.requests, job.output, listeners, commands))
            for job in jobs
        ]
        present = [run for run in runs if _is_there(run)]
        if not present:
            raise runs[0].error or SourceError("no source could be opened")
        bundle, graphs = _load(first, stack)
        check_batch(graphs, first.batch)
        for run in present:
            run.open_task_runners(graphs)
        stop = stack.enter_context(StopRequest())
        folder = OutputFolder(output, overwrite=first.overwrite)
        try:
            for run in present:
                run.open_folders()
                run.open_writers(stop)
        except UnitrackError:
            for run in present:
                run.discard()
            folder.discard()
            raise
        reports: dict[str, TrackReport] = {}

        def stream(run: SourceRun) -> Stream:
            def finish(error: UnitrackError | None) -> None:
                report = run.finish(error, bundle, graphs)
                if report is not None:
                    reports[run.name] = report

            limit = run.requests[0].max_frames
            return Stream(run.source, run.pipeline, limit, watch(run.source.info), finish)

        # OpenCV's windows belong to the thread that the program began in.
        windows = any(r.show or r.init == SELECT for job in jobs for r in job.requests)
        streams = [stream(run) for run in present]
        multi_source = MultiSource(graphs, streams, overlap=not windows, batch=first.batch)
        multi_source.run(stop)
        data = multi_source_report(
            {run.name: run.summary() for run in runs},
            time.perf_counter() - started,
            interrupted=stop.is_set,
        )
        write_json_atomic(output / "run.json", data)
    return MultiSourceReport(output, data, reports)


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
