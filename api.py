"""The Python interface: tracking, export, engines and evaluation, as functions and one class.

    from unitrack_edge import Tracker

    with Tracker("mot", bundle="bundles/efficientnet-lite0", detector="motion") as tracker:
        for frame, tracks in tracker.track("street.mp4"):
            print(frame.index, tracks.ids, tracks.detections.boxes_xyxy)

Everything raises `UnitrackError` with one line that says what is wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from numbers import Integral, Real
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from .errors import DetectionError, ExportError, RequestError
from .heads.config import TrackedConfig
from .records import Detections, Frame, Tracks
from .runtime.bundle.bundle import Bundle
from .runtime.detectors.base import Detector
from .runtime.detectors.open import open_detector
from .runtime.head import Head
from .runtime.health import FEATURES_EVERY, check_features
from .runtime.inference.runner import GraphRunner
from .runtime.paths import DEFAULT_BACKBONE, default_bundle
from .runtime.pipeline import DetectionSchedule, Viewer
from .runtime.preprocessing import Letterbox
from .runtime.sources.base import PolledSource, SourceInfo
from .runtime.sources.image_files.numbering import numbered
from .runtime.sources.open import is_live, open_source
from .runtime.sources.redact import redact
from .tracking.config import DetectorConfig
from .tracking.frame_size import in_first_size, in_own_size
from .tracking.registry import (
    DEFAULT_FPS,
    TASKS,
    Init,
    class_to_start_from,
    open_head,
    starts_from_detector,
)

if TYPE_CHECKING:
    from .runtime.bundle.spec import EngineSpec


class Tracker:
    """One task over one video at a time; a context manager.

    `track` reads a source; `update` is for a loop of your own. Several trackers may run in threads
    beside one another; one of them is for one thread at a time, and for the process that made it.

    Args:
        task: sot, vos, mot, mots, posetrack or pose.
        bundle: Folder written by `cli export` or `export`; None: that of `backbone`.
        backbone: Use bundles/BACKBONE, which must be there.
        backend: What runs the graphs: cpu, cuda, ort-tensorrt, tensorrt, tensorrt-rtx.
        threads: CPU threads; 0: all.
        init: For sot, vos and pose: what `update` starts from; see `start`.
        detector: For mot, mots and posetrack: what `track`, and `update` without detections, find
            the objects with: `motion`, the path of a bundle or an ONNX model, or a name such as
            `movenet`, whose bundle bundles/detectors/NAME must be there (`cli export --detector
            NAME` writes it). None: `movenet` where `track` is given no detections.
        pose_model: Model that finds the joints in every box, by path or name.
        mask_model: Model that finds the person's mask in every box, by path or name; None with the
            default detector and task mots: `blazepose`.
        detector_confidence: Lowest score of the model's detections.
        detector_classes: Names or numbers of the model's classes to keep.
        detector_names: File of the names of the model's classes.
        detector_layout: Of the model's outputs, where it is not recognised.
        detector_normalise: What the model takes, such as `rgb-1` or `bgr-255`.
        max_detections: Most detections in a frame of the detector, or of `track`'s file: the lowest
            scores are left out, and counted in `dropped`; None: 500.
        detect_every: The detector runs in every so many frames, and tracks are carried by their
            motion in between.
        fps: Frames per second that `update` assumes where it is given no timestamps.
        **parameters: Of the task: the options `--TASK-NAME` of `cli track`, without the task's
            name, such as `confidence=0.4`.

    Raises:
        UnitrackError: An unknown task, parameter or backend, or a bundle that cannot be used.
    """

    def __init__(
        self,
        task: str,
        *,
        bundle: str | Path | None = None,
        backbone: str = DEFAULT_BACKBONE,
        backend: str = "cpu",
        threads: int = 0,
        init: Init = None,
        detector: str | Path | None = None,
        pose_model: str | Path | None = None,
        mask_model: str | Path | None = None,
        detector_confidence: float | None = None,
        detector_classes: Sequence[int | str] | None = None,
        detector_names: str | Path | None = None,
        detector_layout: str | None = None,
        detector_normalise: str | None = None,
        max_detections: int | None = None,
        detect_every: int = 1,
        fps: float = DEFAULT_FPS,
        **parameters: Any,
    ) -> None:
        if task not in TASKS:
            raise RequestError(f"unknown task {task!r}, expected one of {', '.join(TASKS)}")
        self.task = task
        self._spec = TASKS[task]
        for name, value in parameters.items():
            _check_parameter(task, name, value)
        self._config = self._spec.config(**parameters)
        self._detection = DetectorConfig(
            None if detector is None else str(detector),
            None if pose_model is None else Path(pose_model),
            None if mask_model is None else Path(mask_model),
            None if detector_classes is None else ",".join(map(str, detector_classes)),
            detector_confidence,
            str(detect_every),
            None if detector_names is None else Path(detector_names),
            detector_layout,
            detector_normalise,
        )
        if max_detections is not None:
            self._detection = replace(self._detection, max_detections=max_detections)
        _check_numbers(fps, threads)
        if self._spec.prompt is None and init is not None:
            raise self._no_start()
        self._backend, self._threads, self._fps = backend, threads, float(fps)
        self._init = init
        self._held, self._detecting = ExitStack(), ExitStack()
        self._busy, self._is_closed = RLock(), False
        loaded = Bundle.load(Path(bundle) if bundle is not None else default_bundle(backbone))
        self._graphs = self._held.enter_context(GraphRunner(loaded, backend, threads))
        self._held.enter_context(self._detecting)
        self._forget()

    def __enter__(self) -> Tracker:
        self._check_open()
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise RequestError(
            "a tracker holds open models and cannot be copied or sent to another process: make one "
            "there"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release models and devices; may be called twice. Only `dropped` answers after it."""
        with self._busy:
            self._is_closed = True
            self._held.close()

    def reset(self) -> None:
        """Forget the video: the next frame is the first one, and identities start again from 1."""
        with self._alone():
            self._forget()

    def _forget(self) -> None:
        self._detecting.close()
        self._head: Head | None = None
        self._viewer: Viewer | None = None
        self._detector: Detector | None = None
        self._schedule: DetectionSchedule | None = None
        self._source: PolledSource | None = None
        self._size_hw: tuple[int, int] | None = None
        self._has_scaled = False
        self._last_index, self._with_features = -1, 0
        self._first_s: float | None = None
        self._clock_s = -math.inf

    def start(self, init: Init) -> None:
        """Forget the video, and start from something in the next frame; for sot, vos and pose.

        Args:
            init: sot: (x, y, w, h) in source pixels from 0. vos: (H, W) map of labels 0 to 255
                (0 is background), or a box in which the object is cut out. pose: (N, K, 3) x, y,
                confidence. Or a text or file as `--init` takes it.

        Raises:
            RequestError: The task starts from detections.
        """
        if self._spec.prompt is None:
            raise self._no_start()
        self.reset()
        self._init = init

    def _no_start(self) -> RequestError:
        return RequestError(f"task {self.task} starts from detections: give them to update()")

    @property
    def dropped(self) -> dict[str, int]:
        """How many objects of this video are in no result, by reason (docs/detectors.md)."""
        found = {} if self._detector is None else self._detector.dropped()
        return {**found, **({} if self._head is None else self._head.dropped())}

    def update(
        self,
        image: npt.NDArray[Any],
        detections: Detections | None = None,
        *,
        timestamp: float | None = None,
    ) -> Tracks:
        """Process the next frame.

        Args:
            image: (H, W, 3) uint8, BGR; free to be overwritten afterwards. One of another size
                than the first is scaled into that, with a `UserWarning`.
            detections: For mot, mots (with masks) and posetrack (with keypoints): what is to be
                seen in the frame, in pixels of `image`; `Detections.empty()` where that is nothing.
                None: the tracker's `detector` looks for it.
            timestamp: Seconds on any clock that does not go back, in all frames of a video or none;
                None: frames come at the tracker's `fps`. Frames that are missing in between count
                as time.

        Returns:
            The tracks of this frame, in pixels of `image`, with `detection_rows` where
            `detections` were given.

        Raises:
            UnitrackError: The frame, its detections or the first frame's object cannot be used,
                `timestamp` goes back, or the tracker is closed or at work in another thread.
        """
        with self._alone():
            self._check_at_once()
            frame, fit = self._next_frame(image, timestamp)
            self._check_detections(detections)
            if detections is not None:
                tracks = self._step(frame, in_first_size(detections, fit), None)
                if self._head is not None:
                    rows = self._head.matched_rows(tracks.ids)
                    tracks = replace(tracks, detection_rows=rows)
            elif self._spec.prompt is not None:
                tracks = self._step(frame, None, None)
            else:
                tracks = self._detected(frame, *self._own_detector(), 0, None)
            self._take_clock(frame, timestamp)
        return in_own_size(tracks, fit)

    def predict(self, image: npt.NDArray[Any], *, timestamp: float | None = None) -> Tracks:
        """Process the next frame without detections: tracks go where their motion takes them.

        For frames in which a detector of your own does not run. The image is looked at where the
        config has no `camera_motion="off"` (preset memory), or `between="appearance"`.

        Args:
            image: As in `update`.
            timestamp: As in `update`.

        Returns:
            The tracks of this frame, all of them `predicted`.

        Raises:
            UnitrackError: As in `update`, or the task takes no detections.
        """
        if self._spec.prompt is not None:
            raise RequestError(f"task {self.task} takes no detections: give each frame to update()")
        with self._alone():
            self._check_at_once()
            frame, fit = self._next_frame(image, timestamp)
            tracks = self._predict(frame, None)
            self._take_clock(frame, timestamp)
        return in_own_size(tracks, fit)

    def track(
        self,
        source: str | Path,
        *,
        init: Init = None,
        detections: str | Path | None = None,
        detections_class: str | None = None,
        strict: bool = False,
        fps: float | None = None,
        value_range: str | tuple[float, float] | None = None,
        frame_numbers: str | None = None,
        max_frames: int | None = None,
    ) -> Iterator[tuple[Frame, Tracks]]:
        """Track a source from its first frame to its end.

        What people should know of the source and of a file of detections, such as rows that were
        left out, is given as `UserWarning` at the end. With the parameter `fill_gaps`, frames come
        up to so many seconds of the source later; those that wait are in memory, with their images.

        Args:
            source: As `cli track` takes it: a video, a folder of images, camera0, a URL, ….
            init: For sot, vos and pose; None: what the tracker was made with. `detect` or
                `detect:CLASS`: the first object that the tracker's `detector` finds.
            detections: File or folder of detections (docs/formats.md), in place of the tracker's
                `detector`.
            detections_class: What those are where the file names no class, such as `person`.
            strict: Take the file of detections at its word: a damaged row is an error, and nothing
                is merged or reinterpreted.
            fps: Frames per second of images, or in place of what a video says.
            value_range: Of images of 16 bits or floats: the values that become black and white;
                None: what their format has, or what the first images use.
            frame_numbers: Of a folder of images: `name` numbers frames by the names of the files,
                `order` by their order; None: by name where `detections` speaks of such frames,
                else by order.
            max_frames: How many frames at most.

        Yields:
            Each frame with its tracks.

        Raises:
            UnitrackError: The source cannot be opened, or ends before its time; the tracker is
                closed, or has gone over to another video.
            RequestError: Gaps are to be filled of a live source.
        """
        if self._gaps_s and is_live(str(source)):
            raise RequestError(
                f"fill_gaps={self._gaps_s:g} looks ahead, which a live source such as "
                f"{redact(str(source))} cannot: leave it out, or record first and track the file"
            )
        if init is not None:
            self.start(init)
        self.reset()
        with ExitStack() as stack:
            if value_range is not None and not isinstance(value_range, str):
                value_range = ",".join(map(str, value_range))
            opened = open_source(str(source), fps=fps, value_range=value_range)
            stack.enter_context(opened)
            detector, schedule = None, DetectionSchedule(self._detection.every())
            if self._spec.prompt is None or starts_from_detector(self._init):
                detector = stack.enter_context(
                    self._open_detector(detections, detections_class, strict)
                )
            self._detector = detector
            spoken = None if detector is None else detector.numbered_frames()
            if spoken is not None or frame_numbers is not None:
                files = [] if spoken is None else [(str(detections), spoken)]
                opened = numbered(opened, frame_numbers, files)
            frames = self._tracked(opened, detector, schedule, max_frames)
            if self._gaps_s:
                from .tracking.gaps import fill_gaps

                frames = fill_gaps(frames, self._gaps_s, opened.info.fps or DEFAULT_FPS)
            self._source, count, name = opened, None, redact(str(source))
            try:
                yield from frames
                count = None if max_frames else self._last_index + 1
            finally:
                if self._source is opened:
                    self._source = None
                notes = [*opened.notes(), *(detector.notes(count) if detector else [])]
                for note in dict.fromkeys(notes):
                    warnings.warn(f"{name}: {note}", stacklevel=2)

    def _tracked(
        self,
        source: PolledSource,
        detector: Detector | None,
        schedule: DetectionSchedule,
        max_frames: int | None,
    ) -> Iterator[tuple[Frame, Tracks]]:
        """Each frame with its tracks, at once."""
        for count, frame in enumerate(source):
            if count == max_frames:
                return
            with self._alone():
                if self._source is not source:
                    raise RequestError(
                        "the tracker has gone over to another video, by reset(), start() or "
                        "track(): make a tracker for each"
                    )
                tracks = self._detected(frame, detector, schedule, source.dropped, source.info)
            yield frame, tracks

    def _detected(
        self,
        frame: Frame,
        detector: Detector | None,
        schedule: DetectionSchedule,
        dropped: int,
        info: SourceInfo | None,
    ) -> Tracks:
        """The tracks of a frame that the detector looks at, if it is its turn."""
        due, seen = schedule.is_due(dropped), None
        waits = self._head is None or self._head.needs_detections
        if detector is not None and waits:
            if not due:
                return self._predict(frame, info)
            seen = detector.detect(frame).named(detector.class_names)
        return self._step(frame, seen, info)

    def _own_detector(self) -> tuple[Detector, DetectionSchedule]:
        """What finds the objects of `update`, and when."""
        if self._detector is None or self._schedule is None:
            self._detector = self._detecting.enter_context(self._open_detector(None, None, False))
            self._schedule = DetectionSchedule(self._detection.every())
        return self._detector, self._schedule

    @property
    def _gaps_s(self) -> float:
        """The longest gap that is filled; 0: none."""
        return self._config.fill_gaps if isinstance(self._config, TrackedConfig) else 0.0

    def _check_open(self) -> None:
        if self._is_closed:
            raise RequestError(
                "the tracker is closed: make another one, or close it (leave its `with` block) "
                "after the last frame"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Work that no other thread may come into."""
        if not self._busy.acquire(blocking=False):
            raise RequestError(
                "the tracker is at work in another thread: it follows one video, frame by frame; "
                "make one for each video, or give all frames from one thread"
            )
        try:
            self._check_open()
            yield
        finally:
            self._busy.release()

    def _check_detections(self, given: Detections | None) -> None:
        """Refuse what `update` cannot take for a frame's detections."""
        takes = self._spec.prompt is None
        if given is not None and not takes:
            raise RequestError(f"task {self.task} takes no detections")
        if given is None and not takes and starts_from_detector(self._init):
            raise RequestError(
                f"init={self._init!r} is for track(): give update() the object itself, with start()"
            )
        if given is None and takes and self._detection.detector is None:
            raise RequestError(
                "update() was given no detections, and the tracker has no detector=…: give "
                "Detections.empty() where nothing was found, and call predict() where nobody looked"
            )
        if given is not None and not isinstance(given, Detections):
            raise DetectionError(
                f"detections: got {type(given).__name__}, expected Detections(rows[:, :4], "
                "rows[:, 4], rows[:, 5]) of rows x1, y1, x2, y2, score, class, or "
                "Detections.from_supervision(…)"
            )
        part = _PARTS.get(self.task)
        if given is not None and part and len(given) and getattr(given, part[0]) is None:
            raise DetectionError(
                f"task {self.task}: got detections without {part[0]}, expected Detections(…, "
                f"{part[0]}=…) of shape {part[1]}"
            )
        probable = isinstance(self._config, TrackedConfig) and self._config.calibrates_scores
        if given is not None and probable and given.scores.max(initial=0) > _MOST_PROBABLE:
            raise DetectionError(
                f"detections: got a score of {given.scores.max():g}, expected 0 to 1: divide "
                'percent by 100; Tracker(…, preset="unitrack") compares raw scores as they are'
            )

    def _check_at_once(self) -> None:
        if self._source is not None:
            raise RequestError(
                "track() is not at its end: leave its loop, or call reset(), before update() or "
                "predict()"
            )
        if self._gaps_s:
            raise RequestError(
                f"fill_gaps={self._gaps_s:g} looks ahead, and update() and predict() answer at "
                "once: leave it out, or give a file to track()"
            )

    def _open_detector(
        self, detections: str | Path | None, default_class: str | None, strict: bool
    ) -> Detector:
        chosen, kind, config = self._detection, self._spec.person_model, self._config
        if detections is None:
            chosen = chosen.with_defaults([self.task])
        label = None if self._spec.prompt is None else class_to_start_from(self._init)
        models: dict[str, Any] = {f"{kind}_model": chosen.person_model(self._spec)} if kind else {}
        return open_detector(
            detections=None if detections is None else Path(detections),
            detector=None if detections is not None else chosen.detector,
            confidence=None if detections is not None else chosen.detector_confidence,
            classes=None if detections is not None else (label,) if label else chosen.classes(),
            classes_from="init " + str(self._init) if label else None,
            names=chosen.detector_names,
            layout=chosen.detector_layout,
            normalise=chosen.detector_normalise,
            backend=self._backend,
            threads=self._threads,
            calibrate_scores=isinstance(config, TrackedConfig) and config.calibrates_scores,
            default_class=default_class,
            strict=strict,
            max_detections=chosen.max_detections,
            **models,
        )

    def _next_frame(
        self, image: npt.NDArray[Any], timestamp: float | None
    ) -> tuple[Frame, Letterbox]:
        """The frame with its number and time, and how it lies in the size of the first one.

        Motion models take a frame's number for its time.
        """
        index = self._last_index + 1
        time_s = index / self._fps
        if index and (timestamp is None) != (self._first_s is None):
            raise RequestError(
                "timestamp: give one with every frame of a video, or with none; another video "
                "begins with reset()"
            )
        if timestamp is not None:
            if not _is_finite(timestamp):
                raise RequestError(f"timestamp {timestamp}: expected seconds, a finite number")
            if timestamp < self._clock_s:
                raise RequestError(
                    f"timestamp {timestamp:g}: the frame before was at {self._clock_s:g} s on this "
                    "clock; another video begins with reset()"
                )
            time_s = 0.0 if self._first_s is None else float(timestamp) - self._first_s
            index = max(index, round(time_s * self._fps))
        if isinstance(image, np.ndarray):
            image = np.ascontiguousarray(image)
        frame = Frame(index, time_s, image)
        fit = Letterbox.fit(frame.size_hw, self._size_hw or frame.size_hw)
        if not fit.is_identity:
            if not self._has_scaled:
                own, first = ("x".join(map(str, hw)) for hw in (fit.source_hw, fit.network_hw))
                warnings.warn(
                    f"frame {index}: the image is {own} (height x width) and was {first}: from "
                    "here on such images are scaled into that, and tracks are in pixels of each "
                    "frame's own image; call reset() where another video begins",
                    stacklevel=3,
                )
            self._has_scaled = True
            frame = replace(frame, image=fit.apply(frame.image))
        return frame, fit

    def _take_clock(self, frame: Frame, timestamp: float | None) -> None:
        """Remember size and time of a frame that is done; one that fails changes nothing."""
        self._size_hw = frame.size_hw
        if timestamp is not None:
            self._clock_s = float(timestamp)
            self._first_s = self._clock_s if self._first_s is None else self._first_s

    def _step(self, frame: Frame, detections: Detections | None, info: SourceInfo | None) -> Tracks:
        head, viewer = self._head, self._viewer
        if head is None or viewer is None:
            head = self._make_head(frame, info)
            viewer = Viewer(self._graphs, [head])
        seen = (detections or Detections.empty()) if head.needs_detections else None
        views = viewer.views(frame, [head.request(frame, seen)])
        found = viewer.features(views)
        # On a device, features and images have a way to go: not every time.
        if found and self._with_features % FEATURES_EVERY == 0:
            check_features(found, views.images, frame)
        self._with_features += bool(found)
        features: Any = views.given(found)[0]
        tracks = head.step(frame, features, seen)
        # Only now: a first frame that could not be used leaves the tracker as it was.
        self._head, self._viewer, self._last_index = head, viewer, frame.index
        return tracks

    def _predict(self, frame: Frame, info: SourceInfo | None) -> Tracks:
        if self._head is None:
            self._head = self._make_head(frame, info)
            self._viewer = Viewer(self._graphs, [self._head])
        tracks = self._head.predict(frame)
        self._last_index = frame.index
        return tracks

    def _make_head(self, frame: Frame, info: SourceInfo | None) -> Head:
        if self._spec.prompt is not None and self._init is None:
            raise RequestError(
                f"task {self.task} starts from something in the first frame: give it as init=… or "
                "with start()"
            )
        facts = info or SourceInfo("update", "images", frame.size_hw, self._fps, None, live=False)
        least = self._detection.detector_confidence
        return open_head(self._graphs, self._config, self._init, facts, least)


_PARTS = {"mots": ("masks", "(N, H, W)"), "posetrack": ("keypoints", "(N, K, 3)")}
"""What a task tracks beside boxes, and its shape."""

_MOST_PROBABLE = 1.01
"""A score above is none of 0 to 1, however it was rounded: 1.0078 follows 1 in bfloat16."""


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _check_numbers(fps: Any, threads: Any) -> None:
    if not _is_finite(fps) or fps <= 0:
        raise RequestError(
            f"fps={fps!r}: expected frames per second, a number above 0 (where a video has none, "
            "OpenCV gives 0)"
        )
    if not isinstance(threads, Integral) or threads < 0:
        raise RequestError(f"threads={threads!r}: expected a whole number, 0 for all")


_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
}


def _check_parameter(task: str, name: str, value: object) -> None:
    """Refuse a parameter that a task does not have, or a value of another type.

    Raises:
        RequestError: It is one of these.
    """
    config = TASKS[task].config
    known = {parameter.name: parameter.default for parameter in fields(config)}
    if name not in known:
        raise RequestError(
            f"task {task}: no parameter {name!r}, expected one of {', '.join(sorted(known))}"
        )
    hint = get_type_hints(config)[name]
    kind, expected = _KINDS[next(iter(get_args(hint)), hint)]
    if value is None and known[name] is None:
        return
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RequestError(f"task {task}: {name}={value!r}: expected {expected}")


def export(
    backbone: str = DEFAULT_BACKBONE,
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    layer: str = "layer3",
    sizes_hw: Sequence[tuple[int, int]] = (),
    precision: str = "fp32",
    top_k: int = 10,
    force: bool = False,
) -> Bundle:
    """Export a backbone and the tracking graphs to ONNX, as `cli export` does.

    Args:
        backbone: A name that `cli backbones` lists.
        output: Folder of the bundle; None: bundles/BACKBONE.
        weights: Checkpoint in place of the published one.
        layer: Where the backbone is cut.
        sizes_hw: Fixed image sizes, height and width; empty: any size.
        precision: fp32 or fp16.
        top_k: Keys that propagation keeps.
        force: Replace a bundle that is there.

    Raises:
        ExportError: PyTorch is not installed, the weights cannot be had, or the export failed.
    """
    try:
        from .export.bundle_writer import ExportRequest, write_bundle
    except ImportError as error:
        raise ExportError(
            f"exporting needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]'"
        ) from error
    request = ExportRequest(
        *(backbone, layer, None if weights is None else Path(weights), tuple(sizes_hw)),
        *(precision, top_k, force),
    )
    return write_bundle(request, default_bundle(backbone) if output is None else Path(output))


def build(
    bundle: str | Path,
    variant: str,
    *,
    targets: Sequence[str] = (),
    workspace_mib: int | None = None,
    sizes_hw: Sequence[tuple[int, int]] = (),
    graphs: Sequence[str] = (),
    force: bool = False,
) -> tuple[EngineSpec, ...]:
    """Build TensorRT engines from a bundle's graphs, as `cli build` does.

    Args:
        bundle: Folder of the bundle.
        variant: tensorrt or tensorrt-rtx.
        targets: GPUs, such as sm86; empty: that of this machine.
        workspace_mib: Most memory of a layer; None: TensorRT's default.
        sizes_hw: Image sizes to build for; empty: those of the bundle.
        graphs: Only these; empty: all.
        force: Build those again that are there.

    Raises:
        BuildError: Building failed, or an engine is not of the precision that the bundle promises.
        BackendError: TensorRT or a GPU is missing.
    """
    from .export.tensorrt.writer import EngineRequest, build_engines

    request = EngineRequest(
        *(variant, tuple(targets), tuple(sizes_hw), workspace_mib, tuple(graphs), force)
    )
    return build_engines(Bundle.load(Path(bundle)), request)


def evaluate(
    task: str,
    data: str | Path,
    *,
    bundle: str | Path | None = None,
    backbone: str = DEFAULT_BACKBONE,
    split: str | None = None,
    sequences: Sequence[str] = (),
    max_frames: int | None = None,
    backend: str = "cpu",
    threads: int = 0,
    output: str | Path | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """Track and score a benchmark's sequences one after the other, as `cli eval` does.

    Args:
        task: sot, vos, mot, mots or posetrack.
        data: Root of the data set in its official layout.
        bundle: Folder of the bundle; None: bundles/BACKBONE.
        backbone: See `bundle`.
        split: Of the data set.
        sequences: Only these; empty: all.
        max_frames: First frames of every sequence; None: all.
        backend: What runs the graphs.
        threads: CPU threads; 0: all.
        output: Folder of results and records; None: runs/eval-TASK-DATA-BUNDLE. What is recorded
            there is not done again.
        **parameters: Of the task, as in `Tracker`.

    Returns:
        `sequences` and `combined`: lists of name, frames and scores by their official names; and
        `notes`.

    Raises:
        UnitrackError: A sequence cannot be read, tracked or scored.
    """
    from .evaluation.datasets.base import check_trackable, choose, first_frames
    from .evaluation.datasets.registry import FORMAT_OF_TASK, FORMATS, format_of, read_sequences
    from .evaluation.runner.jobs import SequenceJob, run_job
    from .evaluation.runner.report import summary_of

    if task not in FORMAT_OF_TASK:
        expected = ", ".join(FORMAT_OF_TASK)
        raise RequestError(f"no benchmark for task {task!r}, expected one of {expected}")
    folder = Path(bundle) if bundle is not None else default_bundle(backbone)
    root = Path(data)
    name = format_of(task, root, split)
    row = FORMATS[name]
    chosen = choose(read_sequences(task, None, root, split), tuple(sequences))
    chosen = [first_frames(sequence, max_frames) for sequence in chosen]
    check_trackable(chosen)
    default = Path("runs") / f"eval-{task}-{root.absolute().name}-{folder.absolute().name}"
    place = default if output is None else Path(output)
    config = TASKS[task].config(**parameters)
    jobs = (SequenceJob(s, name, config, folder, backend, threads, place) for s in chosen)
    return summary_of(row, [run_job(job) for job in jobs])
