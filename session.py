"""One run of `cli track`, from a request to a folder of results."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import OutputError, RequestError, UnitrackError
from .heads.config import MotConfig, VosConfig
from .runtime.bundle import Bundle
from .runtime.drawing import draw_tracks
from .runtime.graph_runner import GraphRunner
from .runtime.head import Head
from .runtime.init_labels import cut_out, labels_from_text, parse_box
from .runtime.observers import open_observer
from .runtime.pipeline import OnFrame, Pipeline
from .runtime.sinks import MaskFolder, MotFile, OutputFolder, Sink, write_json_atomic
from .runtime.sources import Source, SourceInfo, open_source
from .runtime.stop import StopRequest
from .runtime.video_sink import VideoFile
from .runtime.window import Window

if TYPE_CHECKING:
    from .runtime.observers import Observer


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """What the user asked for.

    Attributes:
        source: As on the command line.
        task: A key of `HEADS`.
        config: The task's parameters.
        bundle: Folder of the bundle.
        output: Folder of the results.
        backend: One of `runtime.bundle.BACKENDS`.
        threads: CPU threads; 0 takes all that the process may use.
        init: Mask file or `X,Y,W,H` for tasks that start from the first frame.
        detections: File of detections.
        detector: `motion` or an ONNX model.
        detector_classes: Classes that a model's detections are kept of; None: all.
        detector_confidence: Lowest score of a model's detections; None: its default.
        fps: Frames per second of images, or in place of what a video says.
        max_frames: How many frames at most.
        save_video: Whether `video.mp4` is written.
        show: Whether a window is opened.
        overwrite: Whether results of an earlier run are replaced.
    """

    source: str
    task: str
    config: MotConfig | VosConfig
    bundle: Path
    output: Path
    backend: str = "cpu"
    threads: int = 0
    init: str | None = None
    detections: Path | None = None
    detector: str | None = None
    detector_classes: tuple[int, ...] | None = None
    detector_confidence: float | None = None
    fps: float | None = None
    max_frames: int | None = None
    save_video: bool = False
    show: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What a run came to; `data` is the contents of `run.json`."""

    output: Path
    data: dict[str, Any]
    notes: tuple[str, ...]


Watch = Callable[[SourceInfo], OnFrame]
"""Told of the source before the first frame; its answer is told of every frame."""


def _mot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.mot import MotHead

    if not isinstance(request.config, MotConfig):
        raise TypeError(f"task mot with {type(request.config).__name__}")
    return MotHead(graphs, request.config, info.fps or 30.0)


def _vos(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.vos import VosHead

    if not isinstance(request.config, VosConfig) or request.init is None or info.size_hw is None:
        raise TypeError(f"task vos with {type(request.config).__name__} and init {request.init}")
    labels = labels_from_text(request.init, info.size_hw)
    refine = None if parse_box(request.init) is None else cut_out
    return VosHead(graphs, labels, request.config, refine)


HEADS: dict[str, Callable[[GraphRunner, TrackRequest, SourceInfo], Head]] = {
    "mot": _mot,
    "vos": _vos,
}
"""How the head of each task is made."""

RESULTS: dict[str, tuple[str, Callable[[Path], Sink]]] = {
    "mot": ("tracks.txt", MotFile),
    "vos": ("masks", MaskFolder),
}
"""Where the results of each task go."""


def track(
    request: TrackRequest, watch: Watch = lambda _info: lambda _frame, _tracks: None
) -> TrackReport:
    """Track one source.

    Args:
        request: What to do.
        watch: For progress.

    Returns:
        The report, which was also written to `run.json`.

    Raises:
        UnitrackError: One line that says what is wrong.  Results up to there are kept.
    """
    check_request(request)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(request.source, fps=request.fps))
        bundle = Bundle.load(request.bundle)
        graphs = stack.enter_context(GraphRunner(bundle, request.backend, request.threads))
        head = HEADS[request.task](graphs, request, source.info)
        observer = _observer(request, head)
        if observer is not None:
            stack.enter_context(observer)
        for graph in ("backbone", *head.graphs_used):
            graphs.engine(graph)
        stop = stack.enter_context(StopRequest())
        output = OutputFolder(request.output, overwrite=request.overwrite)
        folder = output.path
        try:
            with _sinks(request, source.info, folder, stop) as sinks:
                pipeline = Pipeline(source, graphs, head, observer, sinks)
                error = _run(pipeline, stop, request, watch(source.info))
        except UnitrackError:
            output.discard()
            raise
        notes = _notes(source, observer, pipeline)
        data = _report(request, source, bundle, graphs, pipeline)
        data["notes"] = list(notes)
        data["error"] = None if error is None else str(error)
        write_json_atomic(folder / "run.json", data)
    if error is not None:
        raise error
    return TrackReport(folder, data, notes)


def check_request(request: TrackRequest) -> None:
    """Find what contradicts itself before anything is opened.

    Raises:
        RequestError: Names the flags.
    """
    if request.task == "vos":
        if request.init is None:
            raise RequestError(
                "task vos starts from the object's mask in the first frame: "
                "give --init MASK.png or --init X,Y,W,H"
            )
        if request.detections is not None or request.detector is not None:
            raise RequestError("task vos takes no detections: leave out --detections/--detector")
    elif request.init is not None:
        raise RequestError(
            f"task {request.task} takes no --init: give --detections FILE or --detector NAME"
        )
    if request.max_frames is not None and request.max_frames < 1:
        raise RequestError(f"--max-frames {request.max_frames}: expected 1 or more")


def _observer(request: TrackRequest, head: Head) -> Observer | None:
    if not head.needs_observations:
        return None
    return open_observer(
        detections=request.detections,
        detector=request.detector,
        confidence=request.detector_confidence,
        classes=request.detector_classes,
        device=request.backend,
        threads=request.threads,
    )


@contextmanager
def _sinks(
    request: TrackRequest, info: SourceInfo, folder: Path, stop: StopRequest
) -> Iterator[list[Sink]]:
    def draw(image: Any, tracks: Any) -> Any:
        return draw_tracks(image, tracks, caption=request.task)

    name, make = RESULTS[request.task]
    with ExitStack() as stack:
        sinks = [stack.enter_context(make(folder / name))]
        if request.save_video:
            video = VideoFile(folder / "video.mp4", info.fps or 30.0, draw)
            sinks.append(stack.enter_context(video))
        if request.show:
            sinks.append(stack.enter_context(Window(draw, stop)))
        yield sinks


def _run(
    pipeline: Pipeline, stop: StopRequest, request: TrackRequest, on_frame: OnFrame
) -> UnitrackError | None:
    try:
        pipeline.run(stop, max_frames=request.max_frames, on_frame=on_frame)
    except UnitrackError as error:
        if pipeline.frames == 0:
            raise
        kept = f"; the results of {pipeline.frames} frames before it are in {request.output}"
        return type(error)(f"{error}{kept}")
    if pipeline.frames == 0 and not pipeline.interrupted:
        raise OutputError("the source gave no frame: nothing was tracked")
    return None


def _notes(source: Source, observer: Observer | None, pipeline: Pipeline) -> tuple[str, ...]:
    notes = [] if source.ended_early is None else [source.ended_early]
    if observer is not None:
        notes += observer.notes(pipeline.frames if pipeline.exhausted else None)
    if source.dropped:
        notes.append(f"{source.dropped} frames of the live source came too fast and were dropped")
    return tuple(notes)


def _report(
    request: TrackRequest, source: Source, bundle: Bundle, graphs: GraphRunner, pipeline: Pipeline
) -> dict[str, Any]:
    info = source.info
    return {
        "toolkit": __version__,
        "task": request.task,
        "source": {**asdict(info), "dropped": source.dropped, "ended_early": source.ended_early},
        "bundle": {
            "path": str(request.bundle),
            "backbone": bundle.spec.backbone,
            "layer": bundle.spec.layer,
            "precision": bundle.spec.precision,
            "sha256": {name: graph.sha256 for name, graph in bundle.spec.graphs.items()},
        },
        "backend": {"asked": request.backend, "in_use": graphs.backends_in_use},
        "threads": request.threads or "all",
        "parameters": asdict(request.config),
        "observations": str(request.detections or request.detector or request.init),
        "frames": pipeline.frames,
        "identities": pipeline.identities,
        "interrupted": pipeline.interrupted,
        "elapsed_s": round(pipeline.elapsed_s, 3),
        "fps": round(pipeline.frames / pipeline.elapsed_s, 2) if pipeline.elapsed_s else 0.0,
        "stages_ms": pipeline.times.summary_ms(),
        "peak_memory_mb": peak_memory_mb(),
        "versions": _versions(),
    }


def peak_memory_mb() -> float | None:
    """Largest resident size of this process so far, in MB (1e6 bytes); None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6, 1)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    packages = ("numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu", "filterpy", "lap")
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
