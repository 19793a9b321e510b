"""One run of `cli track`, from a request to a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError, UnitrackError
from .records import Tracks, UInt8Array
from .run_report import run_report
from .runtime.bundle import Bundle
from .runtime.drawing import draw_tracks
from .runtime.graph_runner import GraphRunner
from .runtime.pipeline import Lane, OnFrame, Pipeline
from .runtime.sinks import OutputFolder, Sink, write_json_atomic
from .runtime.sources import Source, SourceInfo, open_source
from .runtime.stop import StopRequest
from .runtime.video_sink import VideoFile
from .runtime.window import Window
from .tasks import HEADS, RESULTS, TrackRequest, check_request, observer_of


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What a run came to; `data` is the contents of `run.json`."""

    output: Path
    data: dict[str, Any]
    notes: tuple[str, ...]


Watch = Callable[[SourceInfo], OnFrame]
"""Told of the source before the first frame; its answer is told of every frame."""


def track(
    request: TrackRequest, watch: Watch = lambda _info: lambda _frame, _tracks: None
) -> TrackReport:
    """Do one task on one source; see `track_all`."""
    return track_all([request], request.output, watch)


def track_all(
    requests: Sequence[TrackRequest],
    output: Path,
    watch: Watch = lambda _info: lambda _frame, _tracks: None,
) -> TrackReport:
    """Do several tasks on one source, with one pass of the backbone a frame.

    Args:
        requests: One a task; all with the same source, bundle and backend.
        output: Folder of `run.json`.
        watch: For progress.

    Returns:
        The report, which was also written to `run.json`.

    Raises:
        UnitrackError: One line that says what is wrong.  Results up to there are kept.
    """
    for request in requests:
        check_request(request)
    first = requests[0]
    with ExitStack() as stack:
        source = stack.enter_context(open_source(first.source, fps=first.fps))
        bundle = Bundle.load(first.bundle)
        graphs = stack.enter_context(GraphRunner(bundle, first.backend, first.threads))
        lanes = [_lane(request, graphs, source.info, stack) for request in requests]
        for graph in ("backbone", *(name for lane in lanes for name in lane.head.graphs_used)):
            graphs.engine(graph)
        stop = stack.enter_context(StopRequest())
        outputs = [OutputFolder(r.output, overwrite=r.overwrite) for r in requests]
        pipeline = Pipeline(source, graphs, lanes)
        error: UnitrackError | None = None
        try:
            with ExitStack() as open_sinks:
                for lane, request in zip(lanes, requests, strict=True):
                    lane.sinks = _sinks(request, source.info, stop, open_sinks)
                pipeline.run(stop, max_frames=first.max_frames, on_frame=watch(source.info))
                if pipeline.frames == 0 and not pipeline.interrupted:
                    raise OutputError("the source gave no frame: nothing was tracked")
        except UnitrackError as failure:
            if pipeline.frames == 0:
                for folder in outputs:
                    folder.discard()
                raise
            # A sink may also fail when it is closed; the report is written all the same.
            error = _with_what_is_kept(failure, pipeline, output)
        notes = _notes(source, lanes, pipeline)
        data = run_report(requests, source, bundle, graphs, pipeline, lanes)
        data["notes"] = list(notes)
        data["error"] = None if error is None else str(error)
        try:
            write_json_atomic(output / "run.json", data)
        except OutputError as failure:
            # On a full disk the first message is the one that says what was kept.
            error = error or failure
    if error is not None:
        raise error
    return TrackReport(output, data, notes)


def _lane(request: TrackRequest, graphs: GraphRunner, info: SourceInfo, stack: ExitStack) -> Lane:
    head = HEADS[request.task](graphs, request, info)
    observer = observer_of(request, head)
    if observer is not None:
        stack.enter_context(observer)
    return Lane(request.task, head, observer, [])


def _sinks(
    request: TrackRequest, info: SourceInfo, stop: StopRequest, stack: ExitStack
) -> list[Sink]:
    def draw(image: UInt8Array, tracks: Tracks) -> UInt8Array:
        return draw_tracks(image, tracks, caption=request.task)

    name, make = RESULTS[request.task]
    sinks = [stack.enter_context(make(request.output / name))]
    if request.save_video:
        video = VideoFile(request.output / "video.mp4", info.fps or 30.0, draw)
        sinks.append(stack.enter_context(video))
    if request.show:
        sinks.append(stack.enter_context(Window(request.task, draw, stop)))
    return sinks


def _with_what_is_kept(error: UnitrackError, pipeline: Pipeline, output: Path) -> UnitrackError:
    kept = f"; the results of {pipeline.frames} frames before it are in {output}"
    return type(error)(f"{error}{kept}")


def _notes(source: Source, lanes: Sequence[Lane], pipeline: Pipeline) -> tuple[str, ...]:
    notes = [] if source.ended_early is None else [source.ended_early]
    frames = pipeline.frames if pipeline.exhausted else None
    for lane in lanes:
        if lane.observer is not None:
            notes += [note for note in lane.observer.notes(frames) if note not in notes]
    if source.dropped:
        notes.append(f"{source.dropped} frames of the live source came too fast and were dropped")
    return tuple(notes)
