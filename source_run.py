"""One source of a run: its frames, heads and results, from opening to report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import OutputError, UnitrackError
from .heads.viewer_starts import STARTS, started_head
from .records import Tracks, UInt8Array
from .run_report import frames_per_second, run_report
from .runtime.bundle import Bundle
from .runtime.drawing import draw_tracks
from .runtime.graph_runner import GraphRunner
from .runtime.head import Head
from .runtime.pipeline import Lane, Pipeline
from .runtime.recording import MakeSink, Recording, Segments
from .runtime.redaction import redact
from .runtime.run_events import RunObserver
from .runtime.sinks import OutputFolder, Sink, write_json_atomic
from .runtime.source_log import SourceLog
from .runtime.source_names import short_name
from .runtime.sources import LiveOptions, PolledSource, SourceInfo, open_source
from .runtime.stop import StopRequest
from .runtime.video_sink import VideoFile
from .runtime.viewer_commands import Commands
from .runtime.window import Window
from .tasks import HEADS, RESULTS, TrackRequest, observer_of


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What a run came to; `data` is the contents of `run.json`."""

    output: Path
    data: dict[str, Any]
    notes: tuple[str, ...]


class SourceRun:
    """The life of one source in a run; a context manager that gives everything back.

    Called in this order: `open_source`, `open_lanes`, `open_folders`, `open_sinks`, then whoever
    drives `pipeline`, then `finish`.

    Args:
        name: The source's short name; empty where it is the only one.
        requests: One a task; all with the same source.
        output: Folder of its `run.json`.
        observers: Told of every frame and of what happens to the source.
        commands: What viewers want to track; None where there are none.

    Attributes:
        source: Once `open_source` was called.
        pipeline: Once `open_lanes` was called.
        error: What ended it, or None.
    """

    def __init__(
        self,
        name: str,
        requests: Sequence[TrackRequest],
        output: Path,
        observers: Sequence[RunObserver] = (),
        commands: Commands | None = None,
    ) -> None:
        self.name = name
        self.requests = requests
        self.output = output
        self.error: UnitrackError | None = None
        self.source: PolledSource
        self.pipeline: Pipeline
        self.log = SourceLog(name or short_name(requests[0].source), observers)
        self._observers = observers
        self._commands = commands
        self._recordings: list[Recording] = []
        self._lanes: list[Lane] = []
        self._folders: list[OutputFolder] = []
        self._held = ExitStack()
        self._sinks = ExitStack()

    def __enter__(self) -> SourceRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._sinks.close()
        finally:
            self._held.close()

    def open_source(self) -> None:
        """Open the source.

        Raises:
            SourceError: It cannot be opened.
        """
        request = self.requests[0]
        options = LiveOptions(request.realtime, request.freeze_s, request.give_up_s, self.log.tell)
        self.source = open_source(request.source, fps=request.fps, options=options)
        self._held.callback(self.source.close)

    def open_lanes(self, graphs: GraphRunner) -> None:
        """Make the heads and observers, and load the graphs that they run.

        Raises:
            UnitrackError: A head, an observer or a graph cannot be had.
        """
        self._lanes = [self._lane(request, graphs, self.source.info) for request in self.requests]
        used = (name for lane in self._lanes for name in lane.head.graphs_used)
        for graph in ("backbone", *used):
            graphs.engine(graph)
        self.pipeline = Pipeline(
            self.source, graphs, self._lanes, name=self.log.name, observers=self._observers
        )
        self.log.opened(self.source.info)

    def open_folders(self) -> None:
        """Make the folders of the results, or clear them.

        Raises:
            OutputError: One holds something else.
        """
        self._folders = [OutputFolder(r.output, overwrite=r.overwrite) for r in self.requests]

    def open_sinks(self, stop: StopRequest) -> None:
        """Open what the results go to.

        Raises:
            UnitrackError: One cannot be opened.
        """
        for lane, request in zip(self._lanes, self.requests, strict=True):
            lane.sinks = self._sinks_of(request, self.source.info, stop)

    def discard(self) -> None:
        """Remove what was written: the run gave no result."""
        self._sinks.close()
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
            # A sink may also fail when it is closed; the report is written all the same.
            self._sinks.close()
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
        if self._lanes:
            pipeline = self.pipeline
            data |= {
                "frames": pipeline.frames,
                "fps": frames_per_second(pipeline),
                "elapsed_s": round(pipeline.elapsed_s, 3),
                "identities": sum(len(lane.ids) for lane in self._lanes),
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
            self.requests, self.source, bundle, graphs, pipeline, self._lanes, self.log
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

    def _lane(self, request: TrackRequest, graphs: GraphRunner, info: SourceInfo) -> Lane:
        head = self._head(request, graphs, info)
        observer = observer_of(request, head)
        if observer is not None:
            self._held.enter_context(observer)
        return Lane(request.task, head, observer, [])

    def _head(self, request: TrackRequest, graphs: GraphRunner, info: SourceInfo) -> Head:
        if self._commands is None or request.task not in STARTS:
            return HEADS[request.task](graphs, request, info)
        first = None if request.init is None else HEADS[request.task](graphs, request, info)
        name, task, config = self.log.name, request.task, request.config
        return started_head(task, graphs, config, self._commands, name, self.log.remark, first)

    def _sinks_of(self, request: TrackRequest, info: SourceInfo, stop: StopRequest) -> list[Sink]:
        def draw(image: UInt8Array, tracks: Tracks) -> UInt8Array:
            return draw_tracks(image, tracks, caption=request.task)

        name, make = RESULTS[request.task]
        enter = self._sinks.enter_context
        results = _segmented(request, request.output / name, make)
        # A camera is watched on although its results can be written no longer; a file is not.
        sinks = [enter(self._recording(results, info) if info.live else results)]
        if request.save_video:

            def video(path: Path) -> Sink:
                return VideoFile(path, info.fps or 30.0, draw)

            whole = _segmented(request, request.output / "video.mp4", video)
            sinks.append(enter(self._recording(whole, info)))
        if request.show:
            title = f"{self.name} {request.task}".strip()
            sinks.append(enter(Window(title, draw, stop)))
        return sinks

    def _recording(self, sink: Sink, info: SourceInfo) -> Recording:
        # Of a camera it is said at once, since it may run for days; of a file at the end.
        if info.live:
            return Recording(sink, self.log.remark)
        self._recordings.append(Recording(sink, lambda _text: None))
        return self._recordings[-1]

    def _notes(self) -> tuple[str, ...]:
        source, pipeline = self.source, self.pipeline
        notes = [] if source.ended_early is None else [source.ended_early]
        frames = pipeline.frames if pipeline.exhausted else None
        for lane in self._lanes:
            if lane.observer is not None:
                notes += [note for note in lane.observer.notes(frames) if note not in notes]
        notes += self.log.notes()
        if source.dropped:
            notes.append(
                f"{source.dropped} frames of the live source came too fast and were dropped"
            )
        return tuple(notes)


def _segmented(request: TrackRequest, path: Path, make: MakeSink) -> Sink:
    minutes = request.segment_minutes
    return make(path) if minutes is None else Segments(path, make, minutes)
