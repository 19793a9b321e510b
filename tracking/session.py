"""Runs of `cli track`, from a `TrackConfig` to folders of results.

One source is many sources of which there is one: both go through `track`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, SourceError, UnitrackError
from ..heads.config import TaskConfig, TrackedConfig
from ..records import Tracks, UInt8Array
from ..runtime.bundle.bundle import Bundle
from ..runtime.detectors.base import Detector
from ..runtime.events import RunListener, SourceLog
from ..runtime.head import Head
from ..runtime.inference.runner import GraphRunner
from ..runtime.multi_source import MultiSource, Stream, check_batch
from ..runtime.pipeline import OnFrame, Pipeline, TaskRunner
from ..runtime.signals import StopRequest
from ..runtime.sources.base import LiveOptions, PolledSource, SourceInfo
from ..runtime.sources.open import is_live, open_source
from ..runtime.sources.redact import short_names
from ..runtime.writers.base import MakeWriter, Recording, Writer, write_json_atomic
from ..runtime.writers.run_folder import OutputFolder
from .config import SourceConfig, TrackConfig
from .registry import DEFAULT_FPS, TASKS, class_to_start_from, open_head
from .report import multi_source_report, run_report, source_summary

if TYPE_CHECKING:
    from ..runtime.server.commands import Commands

Watch = Callable[[SourceInfo], OnFrame]
"""Called with a source before its first frame; its answer is called with every frame."""

Say = Callable[[str], None]
"""Called with a line that people should know before the first frame."""

Prepare = Callable[[], None]
"""Called once the sources are open, before any model is loaded: makes models that are missing."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What came of one source.

    Attributes:
        output: Folder of its results.
        data: The contents of its `run.json`.
        notes: One-line notes for people.
    """

    output: Path
    data: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What came of a run.

    Attributes:
        output: Folder of the results.
        data: The contents of its `run.json`: the source's own where there is one, figures of all
            where there are several.
        sources: By short name, of those that gave a frame.
    """

    output: Path
    data: dict[str, Any]
    sources: dict[str, SourceReport]

    @property
    def notes(self) -> tuple[str, ...]:
        """One-line notes on all sources."""
        return tuple(note for report in self.sources.values() for note in report.notes)


def _ignore(_info: SourceInfo) -> OnFrame:
    return lambda _frame, _tracks: None


def _nothing() -> None:
    """All models are there."""


def _silent(_line: str) -> None:
    """Nobody listens."""


def track(
    config: TrackConfig,
    watch: Watch = _ignore,
    *,
    prepare: Prepare = _nothing,
    say: Say = _silent,
    listeners: Sequence[RunListener] = (),
    commands: Commands | None = None,
) -> RunReport:
    """Track the sources of a config on one bundle, with one pass of the backbone a frame.

    Of several sources, a camera or stream that cannot be opened, or dies, leaves the others
    running, and so does whatever goes wrong in one source after the first frame. What is wrong
    before it (a file that is not there, a detector that does not load) ends the run before anything
    is tracked.

    Args:
        config: What is asked for.
        watch: For progress, called once a source.
        prepare: See `Prepare`. A source that is not there is an error before that.
        say: Called with what a detector's file was recognised as.
        listeners: Called with every frame and with what happens to the sources.
        commands: What viewers want to track; None where there are none.

    Returns:
        The report, which was also written to `run.json`.

    Raises:
        UnitrackError: One line that says what is wrong: nothing could be tracked, or the only
            source failed; results up to there are kept.
    """
    output, run = config.output, config.run
    alone = len(config.sources) == 1
    started = time.perf_counter()
    names = short_names([source.source for source in config.sources])
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                SourceRun(name, config, source, output if alone else output / name, listeners)
            )
            for name, source in zip(names, config.sources, strict=True)
        ]
        present = [run for run in runs if _is_there(run)]
        if not present:
            raise runs[0].error or SourceError("no source could be opened")
        prepare()
        bundle = Bundle.load(run.bundle_path)
        graphs = stack.enter_context(GraphRunner(bundle, run.backend, run.threads))
        check_batch(graphs, run.batch)
        for source_run in present:
            source_run.open_task_runners(graphs, commands)
        for line in dict.fromkeys(line for one in present for line in one.descriptions):
            say(line)
        stop = stack.enter_context(StopRequest())
        folder = OutputFolder(output, overwrite=run.overwrite)
        try:
            for source_run in present:
                source_run.open_writers(stop, folder)
        except UnitrackError:
            for source_run in present:
                source_run.discard()
            folder.discard()
            raise
        reports: dict[str, SourceReport] = {}

        def stream(source_run: SourceRun) -> Stream:
            def finish(error: UnitrackError | None) -> None:
                report = source_run.finish(error, bundle, graphs)
                if report is not None:
                    reports[source_run.name] = report

            on_frame = watch(source_run.source.info)
            return Stream(source_run.source, source_run.pipeline, run.max_frames, on_frame, finish)

        # OpenCV's windows belong to the thread that the program began in.
        windows = run.show or any(source.init == "select" for source in config.sources)
        streams = [stream(source_run) for source_run in present]
        MultiSource(graphs, streams, overlap=not windows, batch=run.batch).run(stop)
        if alone:
            if runs[0].name not in reports:
                folder.discard()
            if runs[0].error is not None:
                raise runs[0].error
            return RunReport(output, reports[runs[0].name].data, reports)
        data = multi_source_report(
            {source_run.name: source_run.summary() for source_run in runs},
            time.perf_counter() - started,
            interrupted=stop.is_set,
        )
        write_json_atomic(output / "run.json", data)
    return RunReport(output, data, reports)


def _is_there(run: SourceRun) -> bool:
    """Open a source; one that lives elsewhere may be absent."""
    try:
        run.open_source()
    except SourceError as error:
        if not is_live(run.config.source):
            raise
        run.fail(error)
        return False
    return True


class SourceRun:
    """The life of one source in a run; a context manager that gives everything back.

    Called in this order: `open_source`, `open_task_runners`, `open_writers`, then whoever drives
    `pipeline`, then `finish`.

    Args:
        name: The source's short name, unique in the run.
        track: What the run is asked for.
        config: The source.
        output: Folder of its `run.json`.
        listeners: Called with every frame and with what happens to the source.

    Attributes:
        source: Once `open_source` was called.
        pipeline: Once `open_task_runners` was called.
        error: What ended it, or None.
    """

    source: PolledSource
    pipeline: Pipeline

    def __init__(
        self,
        name: str,
        track: TrackConfig,
        config: SourceConfig,
        output: Path,
        listeners: Sequence[RunListener],
    ) -> None:
        self.name = name
        self.config = config
        self.output = output
        self.error: UnitrackError | None = None
        self.log = SourceLog(name, listeners)
        self.task_runners: list[TaskRunner] = []
        self._track = track
        self._listeners = listeners
        self._recordings: list[Recording] = []
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

    def task_output(self, task: str) -> Path:
        """Folder of a task's results."""
        return self.output if len(self._track.tasks) == 1 else self.output / task

    def open_source(self) -> None:
        """Open the source.

        Raises:
            SourceError: It cannot be opened.
        """
        config = self.config
        options = LiveOptions(config.realtime, config.freeze_s, config.give_up_s, self.log.notify)
        self.source = open_source(config.source, fps=config.fps, options=options)
        self._held.callback(self.source.close)

    def open_task_runners(self, graphs: GraphRunner, commands: Commands | None) -> None:
        """Make the heads and detectors, and load the graphs that they run.

        Args:
            graphs: Runs the bundle's graphs.
            commands: What viewers want to track; None where there are none.

        Raises:
            UnitrackError: A head, a detector or a graph cannot be had.
        """
        for config in self._track.tasks:
            head = self._head(config, graphs, commands)
            detector = self._detector(config) if head.needs_detections else None
            self.task_runners.append(TaskRunner(config.task, head, detector, []))
        used = (name for runner in self.task_runners for name in runner.head.graphs_used)
        for graph in ("backbone", *used):
            graphs.engine(graph)
        self.pipeline = Pipeline(
            self.source,
            graphs,
            self.task_runners,
            name=self.log.name,
            listeners=self._listeners,
            detect_every=self._track.detector.every(),
            overlap=self._overlaps,
        )
        self.log.opened(self.source.info)

    @property
    def _overlaps(self) -> bool:
        """Backends that compute on a device take work from one thread only."""
        run = self._track.run
        return run.overlap and {run.backend, self._track.detector.detector_backend} <= {"cpu", None}

    def open_writers(self, stop: StopRequest, common: OutputFolder) -> None:
        """Make the folders of the results, or clear them, and open what the results go to.

        Args:
            stop: The window's key to end the run sets it.
            common: The run's own folder, which is made already.

        Raises:
            UnitrackError: A folder holds something else, or a writer cannot be opened.
        """
        overwrite = self._track.run.overwrite
        folders = dict.fromkeys((self.output, *map(self.task_output, self._track.task_names)))
        for path in folders:
            if path != common.path:
                self._folders.append(OutputFolder(path, overwrite=overwrite))
        for runner in self.task_runners:
            runner.writers = self._writers_of(runner.task, self.source.info, stop)

    @property
    def descriptions(self) -> list[str]:
        """What models that were given as files were recognised as."""
        detectors = [r.detector for r in self.task_runners if r.detector is not None]
        return [line for detector in detectors for line in detector.descriptions]

    def discard(self) -> None:
        """Remove what was written: the run gave no result."""
        self._writers.close()
        for folder in reversed(self._folders):
            folder.discard()

    def fail(self, error: UnitrackError) -> None:
        """Note what ended the source."""
        self.error = error
        self.log.ended(str(error), failed=True)

    def finish(
        self, error: UnitrackError | None, bundle: Bundle, graphs: GraphRunner
    ) -> SourceReport | None:
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
        error = error or next((r.error for r in self._recordings if r.error is not None), None)
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
            "source": self.config.shown,
            "output": str(self.output),
            "error": None if self.error is None else str(self.error),
        }
        if self.task_runners:
            data |= source_summary(self.source, self.pipeline, self.task_runners, self.log)
        return data

    def _report(
        self, error: UnitrackError | None, bundle: Bundle, graphs: GraphRunner
    ) -> SourceReport:
        if error is not None:
            kept = f"the results of {self.pipeline.frames} frames before it are in {self.output}"
            error = type(error)(f"{error}; {kept}")
        notes, dropped = self._notes(), self._drop_notes()
        outputs = {task: self.task_output(task) for task in self._track.task_names}
        data = run_report(
            *(self._track, self.config, outputs, self.source, bundle, graphs),
            *(self.pipeline, self.task_runners, self.log),
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
        return SourceReport(self.output, data, (*notes, *dropped))

    def _head(self, config: TaskConfig, graphs: GraphRunner, commands: Commands | None) -> Head:
        spec, init = TASKS[config.task], self.config.init
        least_score = self._track.detector.detector_confidence

        def make() -> Head:
            return open_head(graphs, config, init, self.source.info, least_score)

        if commands is None or not spec.interactive:
            return make()
        from ..heads.interactive import started_head

        first = None if init is None else make()
        return started_head(config, graphs, commands, self.log.name, self.log.warn, first)

    def _detector(self, config: TaskConfig) -> Detector:
        from ..runtime.detectors.open import open_detector

        spec, run, chosen = TASKS[config.task], self._track.run, self._track.detector
        models = {f"{spec.person_model}_model": chosen.person_model(spec)}
        detector = open_detector(
            detections=self.config.detections,
            detector=chosen.detector,
            confidence=chosen.detector_confidence,
            classes=self._classes(config.task),
            names=chosen.detector_names,
            layout=chosen.detector_layout,
            normalise=chosen.detector_normalise,
            size_hw=chosen.size_hw(),
            backend=chosen.detector_backend or run.backend,
            threads=run.threads,
            calibrate_scores=isinstance(config, TrackedConfig) and config.calibrates_scores,
            default_class=self.config.detections_class,
            **(models if spec.person_model else {}),
        )
        return self._held.enter_context(detector)

    def _classes(self, task: str) -> tuple[str, ...] | None:
        """Names and numbers of the classes that a task's model is asked for; None: the default."""
        label = class_to_start_from(self.config.init) if TASKS[task].prompt is not None else None
        if label is None or self.config.detections is not None:
            return self._track.detector.classes()
        return (label,)

    def _writers_of(self, task: str, info: SourceInfo, stop: StopRequest) -> list[Writer]:
        run, output, enter = self._track.run, self.task_output(task), self._writers.enter_context

        def draw(image: UInt8Array, tracks: Tracks) -> UInt8Array:
            from ..runtime.drawing.annotate import draw_tracks

            return draw_tracks(image, tracks, caption=task)

        spec = TASKS[task]
        results = self._segmented(output / spec.result, spec.open_writer)
        # A camera is watched on although its results can be written no longer; a file is not.
        writers = [enter(self._recording(results, info) if info.live else results)]
        if run.save_video:
            from ..runtime.writers.video import VideoWriter

            def video(path: Path) -> Writer:
                return VideoWriter(path, info.fps or DEFAULT_FPS, draw)

            whole = self._segmented(output / "video.mp4", video)
            writers.append(enter(self._recording(whole, info)))
        if run.show:
            from ..runtime.writers.window import Window

            title = task if len(self._track.sources) == 1 else f"{self.name} {task}"
            writers.append(enter(Window(title, draw, stop)))
        return writers

    def _segmented(self, path: Path, make: MakeWriter) -> Writer:
        minutes = self._track.run.segment_minutes
        if minutes is None:
            return make(path)
        from ..runtime.writers.segments import Segments

        segments: Writer = Segments(path, make, minutes)
        return segments

    def _recording(self, writer: Writer, info: SourceInfo) -> Recording:
        # Of a camera it is said at once, since it may run for days; of a file at the end.
        if info.live:
            return Recording(writer, self.log.warn)
        self._recordings.append(Recording(writer, lambda _text: None))
        return self._recordings[-1]

    def _drop_notes(self) -> tuple[str, ...]:
        """What no result holds, a line a reason; `run.json` has the numbers, a task's with it."""
        notes: list[str] = []
        for runner in self.task_runners:
            found = [] if runner.detector is None else runner.detector.drop_notes()
            notes += [note for note in (*found, *runner.head.drop_notes()) if note not in notes]
        return tuple(notes)

    def _notes(self) -> tuple[str, ...]:
        source, pipeline = self.source, self.pipeline
        notes = [] if source.ended_early is None else [source.ended_early]
        notes += source.notes()
        frames = pipeline.frames if pipeline.exhausted else None
        for runner in self.task_runners:
            if runner.detector is not None:
                notes += [note for note in runner.detector.notes(frames) if note not in notes]
        notes += self.log.notes()
        if source.dropped:
            notes.append(
                f"{source.dropped} frames of the live source came too fast and were dropped"
            )
        return tuple(notes)
