"""Runs of `cli track`, from a `TrackConfig` to folders of results.

One source is many sources of which there is one: both go through `track`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, SourceError, Stopped, UnitrackError, count
from ..heads.config import TaskConfig, TrackedConfig
from ..records import Tracks, UInt8Array
from ..runtime.bundle.bundle import Bundle
from ..runtime.detectors.base import Detector, OncePerFrame
from ..runtime.events import RunListener, SourceLog, StopRequest
from ..runtime.head import Head
from ..runtime.inference.runner import GraphRunner
from ..runtime.multi_source import MultiSource, Stream, check_batch
from ..runtime.pipeline import Delay, OnFrame, Pipeline, TaskRunner
from ..runtime.preprocessing import image_graphs
from ..runtime.sources.base import LiveOptions, PolledSource, SourceInfo
from ..runtime.sources.open import is_live, open_source
from ..runtime.sources.redact import short_names
from ..runtime.writers.base import MakeWriter, Recording, Writer, write_json_atomic
from ..runtime.writers.run_folder import REPORT, OutputFolder
from .config import SourceConfig, TrackConfig, earlier_outputs
from .registry import DEFAULT_FPS, RESULT_FORMATS, TASKS, class_to_start_from, open_head
from .report import (
    Outcome,
    drop_notes,
    multi_source_report,
    run_notes,
    run_report,
    source_summary,
)

if TYPE_CHECKING:
    from ..runtime.server.commands import Commands
    from ..runtime.sources.reconnect import SourceWait
    from ..runtime.writers.retention import Retention
    from .service import ServiceNotifier

Watch = Callable[[SourceInfo], OnFrame]
"""Called with a source before its first frame; its answer is called with every frame, and with its
tracks before gaps are filled."""

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
        stopped: What ended the run before its time; None: nothing did.
    """

    output: Path
    data: dict[str, Any]
    sources: dict[str, SourceReport]
    stopped: Stopped | None = None

    def raise_if_stopped(self) -> None:
        """Refuse a run that is half done.

        Raises:
            Stopped: The user asked it to stop.
        """
        if self.stopped is not None:
            raise self.stopped

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

    A camera or stream that is not there is waited for where the config says so. Of several
    sources, one that cannot be opened, or dies, leaves the others running, and so does whatever
    goes wrong in one source after the first frame. What else is wrong before it (a file that is not
    there, a detector that does not load) ends the run before anything is tracked.

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
        service = _service(stack)
        if service is not None:
            listeners = (*listeners, service)
        runs = [
            stack.enter_context(
                SourceRun(name, config, source, output if alone else output / name, listeners)
            )
            for name, source in zip(names, config.sources, strict=True)
        ]
        present = _open_sources(runs)
        absent = [run for run in runs if run.wait is not None]
        if not present and not absent:
            raise runs[0].error or SourceError("no source could be opened")
        prepare()
        bundle = Bundle.load(run.bundle_path)
        graphs = stack.enter_context(GraphRunner(bundle, run.backend, run.threads))
        check_batch(graphs, run.batch)
        for source_run in absent:
            # What is wrong with models is said now, and not when the camera comes at night.
            source_run.open_detectors()
        if absent:
            graphs.engine("backbone")
        for source_run in present:
            source_run.open_task_runners(graphs, commands)
        said: set[str] = set()
        _say_new(present, said, say)
        stop = stack.enter_context(StopRequest())
        folder = OutputFolder(output, overwrite=run.overwrite, inputs=config.inputs)
        stack.callback(folder.close)
        stack.callback(folder.release)
        try:
            folder.reserve()
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

        def join(source_run: SourceRun) -> Stream:
            source_run.open_task_runners(graphs, commands)
            source_run.open_writers(stop, folder)
            _say_new([source_run], said, say)
            return stream(source_run)

        streams = [stream(source_run) for source_run in present]
        late = _LateSources(absent, join) if absent else None
        if service is not None:
            service.ready(stop)
        MultiSource(graphs, streams, overlap=not windows, batch=run.batch, late=late).run(stop)
        stopped = Stopped(stop.number) if stop.is_set else None
        none_came = not any(source_run.task_runners for source_run in runs)
        if none_came:
            folder.discard()
            if not stop.is_set:
                raise runs[0].error or SourceError("no source came")
        elif alone:
            if runs[0].name not in reports:
                folder.discard()
            if runs[0].error is not None:
                raise runs[0].error
            return RunReport(output, reports[runs[0].name].data, reports, stopped)
        data = multi_source_report(
            {source_run.name: source_run.summary() for source_run in runs},
            time.perf_counter() - started,
            interrupted=stop.is_set,
        )
        if not none_came:
            folder.release()
            write_json_atomic(output / REPORT, data)
    return RunReport(output, data, reports, stopped)


def _service(stack: ExitStack) -> ServiceNotifier | None:
    """What notifies systemd of the run; None where no service manager asks for it."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    from .service import ServiceNotifier

    return stack.enter_context(ServiceNotifier())


def _open_sources(runs: Sequence[SourceRun]) -> list[SourceRun]:
    """Open the sources; those that are there, or else waited for, or failed.

    Raises:
        SourceError: What is wrong with one that is not live.
    """
    # At once: a stream that does not answer takes ten seconds to say so.
    for run in runs:
        if run.waits:
            run.begin_waiting()
    present = []
    for run in runs:
        try:
            if run.is_there():
                present.append(run)
        except SourceError as error:
            if not is_live(run.config.source):
                raise
            run.fail(error)
    return present


def _say_new(runs: Sequence[SourceRun], said: set[str], say: Say) -> None:
    """Say what models were recognised as, each line once."""
    for line in (line for run in runs for line in run.descriptions):
        if line not in said:
            said.add(line)
            say(line)


class _LateSources:
    """Sources that are waited for while others are tracked; see `LateStreams`."""

    def __init__(self, runs: Sequence[SourceRun], join: Callable[[SourceRun], Stream]) -> None:
        self._runs = list(runs)
        self._join = join

    @property
    def pending(self) -> int:
        return len(self._runs)

    def take(self) -> list[Stream]:
        come = [run for run in self._runs if run.wait is not None and run.wait.done]
        streams = []
        for run in come:
            self._runs.remove(run)
            try:
                if run.is_there():
                    streams.append(self._join(run))
            except UnitrackError as error:
                run.discard()
                run.fail(error)
        return streams


class SourceRun:
    """The life of one source in a run; a context manager that gives everything back.

    Called in this order: `begin_waiting` where it `waits`, `is_there`, `open_task_runners`,
    `open_writers`, then whoever drives `pipeline`, then `finish`.

    Args:
        name: The source's short name, unique in the run.
        track: What the run is asked for.
        config: The source.
        output: Folder of its `run.json`.
        listeners: Called with every frame and with what happens to the source.

    Attributes:
        source: Once `is_there` said so.
        wait: Waits for the source, which is not there yet; None: nothing is waited for.
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
        self.wait: SourceWait | None = None
        self._opened_detectors: dict[str, Detector] = {}
        self._detectors: list[tuple[dict[str, Any], Detector]] = []
        self._boxes: dict[tuple[Any, ...], Detector] = {}
        self._track = track
        self._listeners = listeners
        self._recordings: dict[str, Recording] = {}
        self._retention: Retention | None = None
        self._folders: list[OutputFolder] = []
        self._reserved: OutputFolder | None = None
        self._held = ExitStack()
        self._writers = ExitStack()

    def __enter__(self) -> SourceRun:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._writers.close()
        finally:
            self._held.close()

    def task_output(self, task: str) -> Path:
        """Folder of a task's results."""
        return self.output if len(self._track.tasks) == 1 else self.output / task

    @property
    def waits(self) -> bool:
        """Whether the source is waited for where it is not there."""
        return self._track.waits_for(self.config)

    def begin_waiting(self) -> None:
        """Open the source in the background, as soon as it is there."""
        from ..runtime.sources.reconnect import SourceWait

        self.wait = SourceWait(self._open_source, self.config.give_up_s)
        self._held.callback(self.wait.close)

    def is_there(self) -> bool:
        """Whether the source is open; False: it is waited for.

        Raises:
            SourceError: It cannot be opened.
        """
        if self.wait is None:
            self.source = self._open_source()
        else:
            self.wait.wait_for_first_attempt()
            if not self.wait.done:
                self.log.waiting(f"{self._why_absent()}; waiting for it")
                return False
            waited, self.wait = self.wait, None
            self.source = waited.take()
        self._held.callback(self.source.close)
        return True

    def _why_absent(self) -> str:
        """Without the source's name, which those who say it put before it."""
        return str(self.wait and self.wait.absent).removeprefix(f"{self.config.shown}: ")

    def _open_source(self) -> PolledSource:
        config = self.config
        options = LiveOptions(config.realtime, config.freeze_s, config.give_up_s, self.log.notify)
        return open_source(
            config.source, fps=config.fps, value_range=config.value_range, options=options
        )

    def open_detectors(self) -> None:
        """Open the detectors before there is a source, of tasks that surely need one.

        Raises:
            UnitrackError: One cannot be had.
        """
        for config in self._track.tasks:
            if TASKS[config.task].prompt is None:
                self._opened_detectors[config.task] = self._open_detector(config)

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
            detector = self._detector_of(config) if head.needs_detections else None
            self.task_runners.append(TaskRunner(config.task, head, detector, []))
        self._number_frames()
        used = (name for runner in self.task_runners for name in runner.head.graphs_used)
        for graph in (*image_graphs(graphs), *used):
            graphs.engine(graph)
        graphs.warm_up([runner.head.warm_up for runner in self.task_runners])
        self.pipeline = Pipeline(
            self.source,
            graphs,
            self.task_runners,
            name=self.log.name,
            listeners=self._listeners,
            detect_every=self._track.detector.every(),
            warn=self.log.warn,
            degrade=self._track.run.degrade,
            overlap=self._overlaps,
            together=self._track.run.batch > 1,
            delay=self._delay(),
        )
        self.log.opened(self.source.info)

    def _delay(self) -> Delay | None:
        """What fills the gaps of tracks; None where nothing is to be filled."""
        seconds = [c.fill_gaps if isinstance(c, TrackedConfig) else 0.0 for c in self._track.tasks]
        if not any(seconds):
            return None
        from .gaps import GapFiller

        run = self._track.run
        drawn = run.save_video or run.show or run.serve is not None
        return GapFiller(seconds, self.source.info.fps or DEFAULT_FPS, keeps_images=drawn)

    def _number_frames(self) -> None:
        """Number the frames as asked for, or as the files of detections do."""
        files = {}
        for runner in self.task_runners:
            spoken = None if runner.detector is None else runner.detector.numbered_frames()
            if spoken is not None:
                files[str(self.config.detections)] = spoken
        if files or self.config.frame_numbers is not None:
            from ..runtime.sources.image_files.numbering import numbered

            self.source = numbered(self.source, self.config.frame_numbers, list(files.items()))

    @property
    def _overlaps(self) -> bool:
        """Whether frames may overlap.

        A live frame that waits for the one before grows old, and backends that compute on a device
        take work from one thread only.
        """
        run = self._track.run
        if self.source.info.live:
            return False
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
        limit = self._track.run.keep_limit
        if limit is not None:
            from ..runtime.writers.retention import Retention

            own = [common.path] if self._track.run.output else earlier_outputs(common.path)
            self._retention = Retention(limit, own)
        if self.output == common.path:
            self._reserved = common
        folders = dict.fromkeys((self.output, *map(self.task_output, self._track.task_names)))
        for path in folders:
            if path != common.path:
                made = OutputFolder(path, overwrite=overwrite, inputs=self._track.inputs)
                self._folders.append(made)
                self._held.callback(self._folders[-1].close)
                if path == self.output:
                    self._held.callback(made.release)
                    made.reserve()
                    self._reserved = made
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
            # What a writer has refused is not written once more.
            if not isinstance(error, OutputError):
                self.pipeline.flush()
        except UnitrackError as failure:
            error = error or failure
        try:
            if self._reserved is not None:
                self._reserved.release()
            # A writer may also fail when it is closed; the report is written all the same.
            self._writers.close()
        except UnitrackError as failure:
            error = error or failure
        if not self.source.info.live:
            recordings = self._recordings.values()
            error = error or next((r.error for r in recordings if r.error is not None), None)
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
        if self.wait is not None:
            data["ended_early"] = f"{self.config.shown} never came: {self._why_absent()}"
        if self.task_runners:
            data |= source_summary(self._outcome)
        return data

    @property
    def _outcome(self) -> Outcome:
        return Outcome(
            *(self._track, self.config, self.source, self.pipeline, self.task_runners, self.log),
            lost_frames={name: made.lost for name, made in self._recordings.items() if made.lost},
        )

    def _report(
        self, error: UnitrackError | None, bundle: Bundle, graphs: GraphRunner
    ) -> SourceReport:
        if error is not None:
            frames = count(self.pipeline.written, "frame", "frames")
            kept = f"the results of {frames} before it are in {self.output}"
            error = type(error)(f"{error}; {kept}")
        outcome = self._outcome
        notes, dropped = run_notes(outcome), drop_notes(outcome)
        outputs = {task: self.task_output(task) for task in self._track.task_names}
        data = run_report(outcome, outputs, bundle, graphs)
        if self._retention is not None:
            data["removed_segments"] = self._retention.removed
        data["notes"] = list(notes)
        data["error"] = None if error is None else str(error)
        try:
            write_json_atomic(self.output / REPORT, data)
        except OutputError as failure:
            if error is None:
                frames = count(self.pipeline.written, "frame", "frames")
                error = OutputError(f"{failure}; the results of all {frames} are in {self.output}")
            else:
                error = type(error)(f"{error}; {REPORT} could not be written either")
        if error is not None:
            self.fail(error)
        return SourceReport(self.output, data, (*notes, *dropped))

    def _head(self, config: TaskConfig, graphs: GraphRunner, commands: Commands | None) -> Head:
        spec, init, chosen = TASKS[config.task], self.config.init, self._track.detector
        least_score = chosen.detector_confidence
        if chosen.detector == "motion" and isinstance(config, TrackedConfig):
            # That one sees whatever moves in the image, which is of use where the camera does not.
            config = replace(config, camera_motion=config.camera_motion or "off")

        def make() -> Head:
            return open_head(graphs, config, init, self.source.info, least_score)

        if commands is None or not spec.interactive:
            return make()
        from ..heads.interactive import started_head

        first = None if init is None else make()
        return started_head(config, graphs, commands, self.log.name, self.log.warn, first)

    def _detector_of(self, config: TaskConfig) -> Detector:
        opened = self._opened_detectors.pop(config.task, None)
        if opened is not None:
            return opened
        info = self.source.info
        return self._open_detector(config, info.frame_count if info.counted else None)

    def _open_detector(self, config: TaskConfig, source_frames: int | None = None) -> Detector:
        from ..runtime.detectors.open import open_detector

        spec, run, chosen = TASKS[config.task], self._track.run, self._track.detector
        models = {f"{spec.person_model}_model": chosen.person_model(spec)}
        classes, classes_from = self._classes(config.task)
        file = self.config.detections is not None
        calibrated = isinstance(config, TrackedConfig) and config.calibrates_scores
        wanted: dict[str, Any] = dict(
            detections=self.config.detections,
            detector=chosen.detector,
            confidence=chosen.detector_confidence,
            classes=classes,
            classes_from=classes_from,
            names=chosen.detector_names,
            layout=chosen.detector_layout,
            normalise=chosen.detector_normalise,
            size_hw=chosen.size_hw(),
            backend=chosen.detector_backend or run.backend,
            threads=run.threads,
            calibrate_scores=file and calibrated,
            default_class=self.config.detections_class,
            strict=self.config.strict,
            source_frames=source_frames if file else None,
            max_detections=chosen.max_detections,
            **({name: model for name, model in models.items() if model is not None}),
        )
        # Tasks that want the same share a detector, which then looks at each frame once; or what
        # finds the boxes, where a model looks at them for one of the tasks alone.
        for known, detector in self._detectors:
            if known == wanted:
                return detector
        several = len(self._track.tasks) > 1
        detector = open_detector(**wanted, shared=self._boxes if several else None)
        if several:
            detector = OncePerFrame(detector)
            self._detectors.append((wanted, detector))
        return self._held.enter_context(detector)

    def _classes(self, task: str) -> tuple[tuple[str, ...] | None, str | None]:
        """Which classes a task's model is asked for, and by what; see `open_detector`."""
        label = class_to_start_from(self.config.init) if TASKS[task].prompt is not None else None
        if label is None or self.config.detections is not None:
            return self._track.detector.classes(), None
        return (label,), f"--init {self.config.init}"

    def _writers_of(self, task: str, info: SourceInfo, stop: StopRequest) -> list[Writer]:
        run, output, enter = self._track.run, self.task_output(task), self._writers.enter_context

        def draw(image: UInt8Array, tracks: Tracks) -> UInt8Array:
            from ..runtime.drawing.annotate import draw_tracks

            return draw_tracks(image, tracks, caption=task)

        spec = TASKS[task]
        name, open_writer = spec.result, spec.open_writer
        if run.format is not None:
            name, open_writer = RESULT_FORMATS[run.format]
        path = output / name
        results = self._segmented(path, open_writer)
        # A camera is watched on although its results can be written no longer; a file is not.
        writers = [enter(self._recording(path, results, info) if info.live else results)]
        if run.save_video:
            from ..runtime.writers.video import VideoWriter

            def video(path: Path) -> Writer:
                return VideoWriter(path, info.fps or DEFAULT_FPS, draw)

            path = output / "video.mp4"
            writers.append(enter(self._recording(path, self._segmented(path, video), info)))
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

        keep = self._retention
        return Segments(path, make, minutes, keep.begin if keep else lambda _path: None)

    def _recording(self, path: Path, writer: Writer, info: SourceInfo) -> Recording:
        # Of a camera it is said at once, since it may run for days; of a file at the end.
        say = self.log.warn if info.live else _silent
        numbered = getattr(writer, "number_of", None)
        name = str(path.relative_to(self.output))
        more = {"file_of": numbered} if numbered else {}
        recording = self._recordings[name] = Recording(writer, say, name=name, **more)
        return recording
