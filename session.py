"""One run of `cli track`, from a request to a folder of results."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import OutputError, RequestError, UnitrackError
from .heads.config import HeadConfig, MotConfig, VosConfig
from .heads.mask_configs import MotsConfig, PoseConfig, PosetrackConfig
from .heads.sot_config import SotConfig
from .records import Tracks, UInt8Array
from .runtime.bundle import Bundle
from .runtime.drawing import draw_tracks
from .runtime.graph_runner import GraphRunner
from .runtime.head import Head
from .runtime.init_labels import cut_out, labels_from_text, parse_box
from .runtime.init_pose import poses_from_file
from .runtime.mots_sink import MotsRows
from .runtime.observers import open_observer
from .runtime.pipeline import Lane, OnFrame, Pipeline
from .runtime.pose_sink import PoseFile
from .runtime.sinks import MaskFolder, MotFile, OutputFolder, Sink, write_json_atomic
from .runtime.sot_sink import SotFile
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
        init: Mask, box or pose file, `X,Y,W,H` or `select`, for tasks that start from the first
            frame.
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
    config: HeadConfig
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


def _sot(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:  # noqa: ARG001
    from .heads.sot import SotHead
    from .runtime.init_box import box_from_text

    if not isinstance(request.config, SotConfig) or request.init is None:
        raise TypeError(f"task sot with {type(request.config).__name__} and init {request.init}")
    return SotHead(graphs, box_from_text(request.init), request.config)


def _mots(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.mots import MotsHead

    if not isinstance(request.config, MotsConfig):
        raise TypeError(f"task mots with {type(request.config).__name__}")
    return MotsHead(graphs, request.config, info.fps or 30.0)


def _posetrack(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.posetrack import PosetrackHead

    if not isinstance(request.config, PosetrackConfig):
        raise TypeError(f"task posetrack with {type(request.config).__name__}")
    return PosetrackHead(graphs, request.config, info.fps or 30.0)


def _pose(graphs: GraphRunner, request: TrackRequest, info: SourceInfo) -> Head:
    from .heads.pose import PoseHead

    if not isinstance(request.config, PoseConfig) or request.init is None:
        raise TypeError(f"task pose with {type(request.config).__name__} and init {request.init}")
    people = poses_from_file(Path(request.init), info.size_hw)
    return PoseHead(graphs, people.keypoints, request.config, people.ids)


HEADS: dict[str, Callable[[GraphRunner, TrackRequest, SourceInfo], Head]] = {
    "sot": _sot,
    "mot": _mot,
    "vos": _vos,
    "mots": _mots,
    "posetrack": _posetrack,
    "pose": _pose,
}
"""How the head of each task is made."""

FIRST_FRAME = {
    "sot": "object's box in the first frame: give --init X,Y,W,H, a file, or select to draw it",
    "vos": "object's mask in the first frame: give --init MASK.png or --init X,Y,W,H",
    "pose": "people's joints in the first frame: give --init FILE.json (PoseTrack18 or COCO)",
}
"""What tasks that see no detections start from."""

RESULTS: dict[str, tuple[str, Callable[[Path], Sink]]] = {
    "sot": ("tracks.txt", SotFile),
    "mot": ("tracks.txt", MotFile),
    "vos": ("masks", MaskFolder),
    "mots": ("tracks.txt", MotsRows),
    "posetrack": ("tracks.json", PoseFile),
    "pose": ("tracks.json", PoseFile),
}
"""Where the results of each task go."""


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
        data = _report(requests, source, bundle, graphs, pipeline, lanes)
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
    observer = _observer(request, head)
    if observer is not None:
        stack.enter_context(observer)
    return Lane(request.task, head, observer, [])


def check_request(request: TrackRequest) -> None:
    """Find what contradicts itself before anything is opened.

    Raises:
        RequestError: Names the flags.
    """
    if request.task in FIRST_FRAME:
        if request.init is None:
            raise RequestError(f"task {request.task} starts from the {FIRST_FRAME[request.task]}")
        if request.detections is not None or request.detector is not None:
            raise RequestError(
                f"task {request.task} takes no detections: leave out --detections/--detector"
            )
    elif request.init is not None:
        raise RequestError(
            f"task {request.task} takes no --init: give --detections FILE or --detector NAME"
        )
    elif (request.detections is None) == (request.detector is None):
        got = "none" if request.detector is None else "both"
        raise RequestError(
            f"task {request.task} takes --detections FILE or --detector motion|MODEL.onnx, "
            f"got {got}"
        )
    if request.detector in (None, "motion") and (
        request.detector_classes is not None or request.detector_confidence is not None
    ):
        raise RequestError(
            "--detector-classes and --detector-confidence belong to --detector MODEL.onnx"
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


def _report(
    requests: Sequence[TrackRequest],
    source: Source,
    bundle: Bundle,
    graphs: GraphRunner,
    pipeline: Pipeline,
    lanes: Sequence[Lane],
) -> dict[str, Any]:
    info, request = source.info, requests[0]
    return {
        "toolkit": __version__,
        "task": "+".join(r.task for r in requests),
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
        "tasks": {
            r.task: {
                "parameters": asdict(r.config),
                "observations": str(r.detections or r.detector or r.init),
                "identities": len(lane.ids),
                "output": str(r.output),
            }
            for r, lane in zip(requests, lanes, strict=True)
        },
        "frames": pipeline.frames,
        "identities": sum(len(lane.ids) for lane in lanes),
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
