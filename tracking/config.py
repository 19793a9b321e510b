"""What a run is asked for: one `RunConfig`, a `SourceConfig` a source, a `TaskConfig` a task.

Every option of `cli track` is a field of one of these classes (a task's parameters: of its class in
`heads.config`), with its help text beside it: the command line, `--config FILE` and `run.json` are
made from the fields. Adding an option means adding a field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from ..heads.config import TaskConfig, TrackedConfig
from ..runtime.detectors.base import BUILT_IN
from ..runtime.inference.registry import BACKENDS, MOST_THREADS
from ..runtime.paths import (
    DEFAULT_BACKBONE,
    DEFAULT_DETECTOR,
    DEFAULT_MASK_MODEL,
    default_bundle,
    is_model,
    is_same,
    model_file,
    model_name,
)
from ..runtime.sources.open import file_options, is_live
from ..runtime.sources.redact import redact, short_names
from .registry import RESULT_FORMATS, TASKS, TaskSpec, starts_from_detector

if TYPE_CHECKING:
    from ..runtime.writers.retention import KeepLimit

_MOST_S = 31_536_000
"""A year; threads cannot wait for any length of time."""


def option(
    help_text: str,
    default: Any = None,
    *,
    flag: str | None = None,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    least: int | None = None,
    most: int | None = None,
    path: str | None = None,
    recorded: bool = True,
) -> Any:
    """A field that is an option of `cli track`.

    Args:
        help_text: One or two sentences.
        default: Shown in the help where it is neither None nor a switch that is off.
        flag: Of the command line; None: made from the field's name.
        metavar: Stands for the value in the help.
        choices: The only values there are.
        least: The smallest whole number.
        most: The largest one.
        path: What a path must be where there is something: `file`, `folder`, or `file or -`; None:
            either.
        recorded: Whether `run.json` keeps it, so that `--config run.json` does it again.
    """
    metadata = {
        "help": help_text,
        "flag": flag,
        "metavar": metavar,
        "choices": tuple(choices),
        "least": least,
        "most": most,
        "path": path,
        "recorded": recorded,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source and what belongs to it.

    Attributes:
        source: As `runtime.sources.open.open_source` takes it.
    """

    source: str
    init: str | None = option(
        "vos: the first frame's mask (PNG; several values are several objects), a folder of masks "
        "called like the frames in which objects start, or a box X,Y,W,H (or 'select' to draw it) "
        "in which the object is cut out. sot: the box X,Y,W,H "
        "(pixels from 0), a file whose first row is x,y,w,h (OTB, pixels from 1), or 'select' to "
        "draw it. pose: the first frame's keypoints, PoseTrack18 JSON or COCO results. All: "
        "'detect' or 'detect:CLASS', such as detect:person, to start from the first frame in which "
        "the detector finds something.",
        metavar="MASK|BOX|…",
    )
    detections: Path | None = option(
        "mot, mots, posetrack: file or folder of detections in place of a detector, recognised by "
        "its content: MOTChallenge, KITTI, YOLO labels, CSV, COCO, PoseTrack, AlphaPose, OpenPose, "
        "MOTS, lines of --jsonl (docs/formats.md); without a model for them, mots needs masks and "
        "posetrack keypoints. For several sources as --init.",
        metavar="PATH",
    )
    detections_class: str | None = option(
        "What the detections of a file are where it names no class, such as person.  [default: not "
        "known; person in a benchmark's own NAME/det/det.txt]",
        metavar="NAME",
    )
    strict: bool = option(
        "Take --detections at its word: a damaged row is an error, and nothing is merged or "
        "reinterpreted.",
        False,
    )
    fps: float | None = option("Frame rate of images, or instead of the video's own.")
    value_range: str | None = option(
        "Images of 16 bits or floats: the values that become black and white.  [default: what "
        "their format has, or what the first images use]",
        flag="--range",
        metavar="LOW,HIGH",
    )
    frame_numbers: str | None = option(
        "Of a folder of images: number frames by the names of the files (MOTChallenge: 000004.png "
        "is frame 4) or by their order.  [default: by name where --detections speaks of such "
        "frames, else by order]",
        choices=("name", "order"),
    )
    realtime: bool = option(
        "Play files at their own pace; frames that are late are dropped.", False
    )
    freeze_s: float = option(
        "Reconnect to a camera or stream that gives no frame for so long.",
        5.0,
        flag="--reconnect-after",
        metavar="SECONDS",
    )
    give_up_s: float | None = option(
        "End a camera or stream that gives no frame for so long; 0: at its first failure.  "
        "[default: never]",
        flag="--give-up",
        metavar="SECONDS",
    )
    wait_for_source: bool | None = option(
        "Wait for a camera or stream that is not there when the run begins.  [default: with "
        "--serve, and where several sources are all cameras or streams]"
    )

    def __post_init__(self) -> None:
        file_options(self.source, self.fps, self.value_range)
        if not 0 < self.freeze_s <= _MOST_S:
            raise RequestError(
                f"--reconnect-after {self.freeze_s:g}: expected seconds above 0, at most {_MOST_S}"
            )
        if starts_from_detector(self.init) and str(self.init).endswith(":"):
            raise RequestError(f"--init {self.init}: expected detect, or detect:CLASS with a class")
        for flag, given in (
            ("--detections-class", self.detections_class is not None),
            ("--strict", self.strict),
        ):
            if given and self.detections is None:
                raise RequestError(f"{flag} belongs to --detections FILE")
        give_up_s = self.give_up_s
        if give_up_s is not None and not 0 <= give_up_s <= _MOST_S:
            raise RequestError(f"--give-up {give_up_s:g}: expected 0 to {_MOST_S} seconds")

    @property
    def shown(self) -> str:
        """The source without user names, passwords and queries."""
        return redact(self.source)


MODEL_SETTINGS = (
    "detector_classes",
    "detector_confidence",
    "detector_names",
    "detector_layout",
    "detector_normalise",
    "detector_size",
)
"""Fields of `DetectorConfig` that only a model of `--detector` has."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Where the detections of each frame come from, where no file has them."""

    detector: str | None = option(
        "mot, mots, posetrack: a name that `cli models` lists, 'motion' (camera that stands "
        "still), a bundle, or an .onnx file, whose layout is recognised (YOLOX, Ultralytics, "
        "DETR, …: docs/detectors.md). It gives boxes, and poses or masks where the model does "
        "(movenet: poses, motion: masks); for poses or masks of people add one of the next two.  "
        f"[default: {DEFAULT_DETECTOR}, fetched once]",
        metavar="NAME|PATH",
    )
    pose_model: Path | None = option(
        "posetrack: model that finds the joints in every box: blazepose, a bundle, or an .onnx "
        "file (MoveNet, BlazePose, RTMPose, or heatmaps as of HRNet and ViTPose), with --detector "
        "or --detections."
    )
    mask_model: Path | None = option(
        "mots: model that finds the person's mask in every box: blazepose, a bundle, or an .onnx "
        f"file, with --detector or --detections.  [default: {DEFAULT_MASK_MODEL} with --detector "
        f"{DEFAULT_DETECTOR}]"
    )
    detector_classes: str | None = option(
        "Classes of the model to keep, by name or number, such as person,car.  [default: all; "
        "people with --pose-model or --mask-model, where the model names its classes]",
        metavar="NAME,…",
    )
    detector_confidence: float | None = option("Lowest score of the model's detections.")
    detect_every: str = option(
        "Run the detector in every N-th frame, and carry tracks by their motion in between; auto: "
        "in as many as leave time to keep up with the source, in smaller images if these suffice.",
        "1",
        metavar="N|auto",
    )
    detector_names: Path | None = option(
        "File of the names of the model's classes, one a line, or with a list 'names' (YAML, "
        "JSON).  [default: the model's own, or COCO's for 80 or 91 classes]",
        path="file",
    )
    detector_layout: str | None = option(
        "Layout of the model's outputs; docs/detectors.md lists them.  [default: recognised]",
        metavar="NAME",
    )
    detector_normalise: str | None = option(
        "What the model takes: rgb or bgr, and values from 0 to 1 or 255 or with ImageNet's mean: "
        "rgb-1, rgb-255, rgb-imagenet, bgr-1, bgr-255, bgr-imagenet.  [default: its layout's]",
        metavar="NAME",
    )
    detector_size: str | None = option(
        "Size of the model's image, where the file leaves it open.  [default: the file's; movenet: "
        "about half the source]",
        metavar="HxW",
    )
    max_detections: int = option(
        "Most detections in a frame, of a file too: the lowest scores are left out, and counted.",
        500,
        least=1,
    )
    detector_backend: str | None = option(
        "What runs --detector, --pose-model and --mask-model; models that are no bundles run in "
        "ONNX Runtime on its device.  [default: as --backend]",
        choices=tuple(BACKENDS),
    )

    def __post_init__(self) -> None:
        if self.detector in BUILT_IN:
            self.check_model()
        self.every()
        least = self.detector_confidence
        if least is not None and not 0 <= least <= 1:
            raise RequestError(f"--detector-confidence {least:g}: expected 0 to 1")
        if self.max_detections < 1:
            raise RequestError(f"--max-detections {self.max_detections}: expected 1 or more")
        if "" in (self.classes() or ()):
            raise RequestError(
                f"--detector-classes {self.detector_classes}: expected names or numbers such as "
                "person or 0,2,7"
            )
        self.size_hw()

    def check_model(self) -> None:
        """Refuse settings of a model where none runs.

        Raises:
            RequestError: Names the flags.
        """
        for name in MODEL_SETTINGS:
            if getattr(self, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise RequestError(
                    f"{flag}: settings of a model belong to --detector MODEL.onnx, and none runs"
                )

    def every(self) -> int | None:
        """N of `--detect-every N`; None: auto.

        Raises:
            RequestError: Neither auto nor a whole number from 1.
        """
        if self.detect_every == "auto":
            return None
        if not (self.detect_every.isascii() and self.detect_every.isdigit()) or (
            not 1 <= int(self.detect_every) <= 1000
        ):
            raise RequestError(
                f"--detect-every {self.detect_every}: expected a number of frames from 1 to 1000, "
                "or auto"
            )
        return int(self.detect_every)

    def classes(self) -> tuple[str, ...] | None:
        """Names and numbers of the classes to keep; None: the default."""
        if self.detector_classes is None:
            return None
        return tuple(part.strip() for part in self.detector_classes.split(","))

    def size_hw(self) -> tuple[int, int] | None:
        """Height and width of the model's image; None: the default.

        Raises:
            RequestError: Not two numbers of pixels.
        """
        if self.detector_size is None:
            return None
        parts = self.detector_size.lower().split("x")
        if len(parts) != 2 or not all(p.isdecimal() and 32 <= int(p) <= 8192 for p in parts):
            raise RequestError(
                f"--detector-size {self.detector_size}: expected HEIGHTxWIDTH of 32 to 8192 "
                "pixels, such as 544x960"
            )
        return int(parts[0]), int(parts[1])

    def person_model(self, spec: TaskSpec) -> Path | None:
        """The model that a task has for looking at one person at a time."""
        return {"pose": self.pose_model, "mask": self.mask_model}.get(spec.person_model or "")

    def with_defaults(self, tasks: Sequence[str]) -> DetectorConfig:
        """The same, with the models that run where none is named.

        Args:
            tasks: Names of those of the run's tasks that take detections.
        """
        chosen = self
        if chosen.detector is None:
            chosen = replace(chosen, detector=DEFAULT_DETECTOR)
        masks = any(TASKS[task].person_model == "mask" for task in tasks)
        if masks and chosen.detector == DEFAULT_DETECTOR and chosen.mask_model is None:
            chosen = replace(chosen, mask_model=Path(DEFAULT_MASK_MODEL))
        return chosen


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What belongs to the whole run, whatever its sources and tasks."""

    bundle: Path | None = option("Folder written by `cli export`.", path="folder")
    backbone: str | None = option(
        f"Use bundles/NAME, exported first if it is missing.  [default: {DEFAULT_BACKBONE}]",
        metavar="NAME",
    )
    backend: str = option(
        "What runs the graphs; never replaced by another one. tensorrt and tensorrt-rtx run what "
        "`cli build` built.",
        "cpu",
        choices=tuple(BACKENDS),
    )
    rebuild: bool = option(
        "Build TensorRT engines that are missing or do not fit this machine first.",
        False,
        recorded=False,
    )
    threads: int = option("CPU threads; 0: all.", 0, least=0, most=MOST_THREADS)
    overlap: bool = option(
        "Read frames and run the detector on them while one before is associated, drawn and "
        "written; for one file, on the CPU. Results are the same.",
        True,
    )
    degrade: bool = option(
        "Do less for a live source of which more than a fifth of the frames is dropped: run the "
        "detector in fewer frames, then look at smaller images; step by step, and back where there "
        "is time again. Every step is said.",
        True,
    )
    output: Path | None = option(
        "Folder of the results; with several sources, of a folder each.  [default: "
        "runs/SOURCE-TASK, numbered]",
        path="folder",
        recorded=False,
    )
    format: str | None = option(
        "Write the boxes of the tracks in a form that other tools read, in place of the task's own "
        "results: MOTChallenge or KITTI rows, COCO JSON with video and track ids, YOLO labels, or "
        "CSV as supervision writes it (docs/formats.md).",
        choices=tuple(RESULT_FORMATS),
    )
    save_video: bool = option("Write video.mp4 with the tracks drawn in.", False)
    show: bool = option("Show the tracks in a window; q ends.", False)
    max_frames: int | None = option("Stop after so many frames.")
    batch: int = option(
        "Frames of several sources in one pass of the backbone, at most; worth a try on GPUs and "
        "on CPUs of many cores.",
        1,
        least=1,
    )
    overwrite: bool = option(
        "Replace the results of an earlier run: those in --output, without it those in "
        "runs/SOURCE-TASK.",
        False,
        recorded=False,
    )
    serve: str | None = option(
        "Show the run in a browser, and let it start tracks of sot and vos. Without HOST, this "
        "machine alone can look; another one needs a token.",
        metavar="[HOST:]PORT",
    )
    serve_token: str | None = option(
        "What viewers must know; {secret:NAME} stands for a secret, as in a source "
        "(docs/operations.md).  [default: the variable UNITRACK_TOKEN]",
        metavar="TOKEN",
        recorded=False,
    )
    serve_viewer_token: str | None = option(
        "What those must know who may look, but start nothing; as --serve-token.  [default: the "
        "variable UNITRACK_VIEWER_TOKEN]",
        metavar="TOKEN",
        recorded=False,
    )
    serve_cert: Path | None = option(
        "Serve over TLS with this certificate (PEM); it is read again when it is renewed.",
        metavar="FILE",
        path="file",
    )
    serve_key: Path | None = option(
        "Key of the certificate, not encrypted, where it is not in the same file.",
        metavar="FILE",
        path="file",
    )
    unhealthy_after_s: float | None = option(
        "Seconds without a frame after which /healthz of --serve answers 503.  [default: 30]",
        flag="--unhealthy-after",
        metavar="SECONDS",
    )
    jsonl: str | None = option(
        "Write a line of JSON a frame to a file, or with - to the standard output.",
        metavar="FILE|-",
        path="file or -",
    )
    segment_minutes: float | None = option(
        "Cut results and video into files of so many minutes of the source.",
        flag="--segment",
        metavar="MINUTES",
    )
    keep: str | None = option(
        "Remove the oldest segments of this run and of earlier ones of the same default folder: "
        "those older than so many days, such as 7d, or beyond a size of all together, such as "
        "50GB.",
        metavar="DAYSd|SIZEGB",
    )

    def __post_init__(self) -> None:
        if self.bundle is not None and self.backbone is not None:
            raise RequestError("--bundle and --backbone name two bundles: give one of them")
        if self.max_frames is not None and self.max_frames < 1:
            raise RequestError(f"--max-frames {self.max_frames}: expected 1 or more")
        unhealthy_after_s = self.unhealthy_after_s
        if unhealthy_after_s is not None and not 0 < unhealthy_after_s <= _MOST_S:
            raise RequestError(
                f"--unhealthy-after {unhealthy_after_s:g}: expected seconds above 0, at most "
                f"{_MOST_S}"
            )
        of_the_view = {
            "--serve-viewer-token": self.serve_viewer_token,
            "--serve-cert": self.serve_cert,
            "--serve-key": self.serve_key,
            "--unhealthy-after": self.unhealthy_after_s,
        }
        for flag, value in of_the_view.items():
            if value is not None and self.serve is None:
                raise RequestError(f"{flag} belongs to the live view: give --serve PORT too")
        if self.segment_minutes is not None:
            from ..runtime.writers.segments import check_minutes

            check_minutes(self.segment_minutes)
        if self.keep_limit is not None and self.segment_minutes is None:
            raise RequestError(f"--keep {self.keep} removes segments: add --segment MINUTES")

    @property
    def keep_limit(self) -> KeepLimit | None:
        """What `--keep` asks for.

        Raises:
            RequestError: Neither days nor a size.
        """
        if self.keep is None:
            return None
        from ..runtime.writers.retention import parse_limit

        return parse_limit(self.keep)

    @property
    def bundle_path(self) -> Path:
        """Folder of the bundle that runs."""
        return self.bundle or default_bundle(self.backbone or DEFAULT_BACKBONE)


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """Everything that a run is asked for; what contradicts itself is refused when it is made.

    Attributes:
        sources: One or more.
        tasks: One or more; each at most once.
        run: What belongs to the run.
        detector: Where detections come from; the default models are filled in.

    Raises:
        RequestError: Names the flags.
    """

    sources: tuple[SourceConfig, ...]
    tasks: tuple[TaskConfig, ...]
    run: RunConfig = field(default_factory=RunConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        if not self.sources or not self.tasks:
            raise RequestError("nothing to track: give a SOURCE and --task NAME")
        detected = sorted({t for source in self.sources for t in self._detected(source)})
        if not detected or any(source.detections is not None for source in self.sources):
            if self.detector.detector is None:
                self.detector.check_model()
        else:
            object.__setattr__(self, "detector", self.detector.with_defaults(detected))
        if any(one.wait_for_source for one in self.sources) and not any(
            is_live(one.source) for one in self.sources
        ):
            raise RequestError(
                f"--wait-for-source belongs to cameras and streams, got {self.sources[0].shown}"
            )
        for source in self.sources:
            self._check_inputs(source)
        self._check_person_models()
        self._check_gaps()
        self._check_jsonl()

    @property
    def task_names(self) -> tuple[str, ...]:
        """Of the tasks, in their order."""
        return tuple(config.task for config in self.tasks)

    @property
    def output(self) -> Path:
        """Folder of the results; of the default ones the first that is free, or to be replaced."""
        return self.run.output or default_output(
            [source.source for source in self.sources],
            "-".join(self.task_names),
            overwrite=self.run.overwrite,
        )

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files and folders that the run reads, among texts that name none."""
        chosen = self.detector
        texts = [t for s in self.sources for t in (s.source, s.init, s.detections)]
        texts += [chosen.detector, chosen.pose_model, chosen.mask_model, chosen.detector_names]
        paths = [Path(text) for text in texts if text is not None]
        # Of a pattern such as masks/*.png: the folder.
        return tuple(path.parent if "*" in path.name else path for path in paths)

    def _check_jsonl(self) -> None:
        if self.run.jsonl is None or self.run.jsonl == "-":
            return
        target = Path(self.run.jsonl)
        if any(is_same(target, path) for path in self.inputs):
            raise RequestError(
                f"--jsonl {target}: this run reads that file, and would write over it; give "
                "another one"
            )

    def waits_for(self, source: SourceConfig) -> bool:
        """Whether a source that is not there is waited for."""
        if not is_live(source.source):
            return False
        if source.wait_for_source is not None:
            return source.wait_for_source
        several = len(self.sources) > 1 and all(is_live(other.source) for other in self.sources)
        return self.run.serve is not None or several

    def _detected(self, source: SourceConfig) -> list[str]:
        """The tasks that take detections of a source."""
        starts = starts_from_detector(source.init)
        return [task for task in self.task_names if starts or TASKS[task].prompt is None]

    def _check_inputs(self, source: SourceConfig) -> None:
        prompted = [task for task in self.task_names if TASKS[task].prompt is not None]
        detected = self._detected(source)
        for task in prompted:
            started = self.run.serve is not None and TASKS[task].interactive
            if source.init is None and not started:
                raise RequestError(f"task {task} starts from the {TASKS[task].prompt}")
        if source.init is not None and not prompted:
            raise RequestError(
                f"task {detected[0]} takes no --init: it tracks what --detector NAME finds or "
                "--detections FILE holds"
            )
        given = (source.detections is not None) + (self.detector.detector is not None)
        unused = source.detections is not None or not any(map(self._detected, self.sources))
        if given and unused and not detected:
            raise RequestError(
                f"task {prompted[0]} takes no detections: leave out --detections/--detector, or "
                "give --init detect to start from one"
            )
        if unused and not detected and self.detector.every() != 1:
            raise RequestError(
                f"--detect-every belongs to tasks that take detections, got --task {prompted[0]}"
            )
        if detected and not given:
            raise RequestError(
                f"{source.shown} has no --detections and other sources have: give one file a "
                "source, or --detector NAME for all"
            )
        if detected and given != 1:
            raise RequestError(
                f"task {detected[0]} takes --detections FILE or --detector NAME, got both"
            )

    def _check_gaps(self) -> None:
        live = [s.shown for s in self.sources if is_live(s.source)]
        realtime = any(s.realtime for s in self.sources)
        started = [c.task for c in self.tasks if self.run.serve and TASKS[c.task].interactive]
        for config in self.tasks:
            if not (isinstance(config, TrackedConfig) and config.fill_gaps):
                continue
            looks = f"--{config.task}-fill-gaps {config.fill_gaps:g} looks ahead"
            if live:
                raise RequestError(
                    f"{looks}, which a live source such as {live[0]} cannot: leave it out, or "
                    "record first and track the file"
                )
            if realtime:
                raise RequestError(f"{looks}, which --realtime cannot: leave one of them out")
            if started:
                raise RequestError(
                    f"{looks}, so --serve shows frames that are over, and task {started[0]} would "
                    "be started with a box of another frame: leave one of the three out"
                )

    def _check_person_models(self) -> None:
        detector = self.detector
        detected = {task for source in self.sources for task in self._detected(source)}
        for kind, model in (("pose", detector.pose_model), ("mask", detector.mask_model)):
            takers = [task for task, spec in TASKS.items() if spec.person_model == kind]
            if model is not None and not set(takers) & detected:
                raise RequestError(
                    f"--{kind}-model belongs to --task {'|'.join(takers)}, got --task "
                    f"{self.task_names[0]}"
                )
        if detector.detector is None:
            return
        for task in self.task_names:
            spec = TASKS[task]
            if (
                task not in detected
                or not spec.needs_person_model
                or detector.person_model(spec) is not None
            ):
                continue
            if spec.person_model == "pose" and not _finds(detector, "keypoints"):
                raise RequestError(
                    f"task {task} tracks poses, and --detector {detector.detector} gives boxes: "
                    f"add --pose-model FILE.onnx, or give --detector {DEFAULT_DETECTOR}"
                )
            if spec.person_model == "mask" and not _finds(detector, "masks"):
                raise RequestError(
                    f"task {task} tracks masks, and --detector {detector.detector} gives boxes: "
                    f"add --mask-model FILE.onnx or --mask-model {DEFAULT_MASK_MODEL}, or give "
                    "--detector motion"
                )


def _finds(chosen: DetectorConfig, what: str) -> bool:
    """Whether a detector finds `keypoints` or `masks` beside boxes.

    Of a name whose file has not been exported yet, keypoints are assumed: the table of models says
    before the export whether there are any.
    """
    detector = chosen.detector or DEFAULT_DETECTOR
    if detector in BUILT_IN:
        return what in BUILT_IN[detector]
    if detector == DEFAULT_DETECTOR:
        return what == "keypoints"
    path = model_file(detector)
    if not is_model(path):
        return what == "keypoints" and model_name(detector) is not None
    from ..runtime.detectors.model import what_it_finds

    return what in what_it_finds(path, chosen.detector_layout)


def default_output(sources: Sequence[str], task: str, *, overwrite: bool = False) -> Path:
    """`runs/NAME-TASK`; unless `overwrite`, the first of it, `runs/NAME-TASK-2`, … that is free."""
    name = short_names(sources)[0] if len(sources) == 1 else f"{len(sources)}-sources"
    first = Path("runs") / f"{name}-{task}"
    folder, number = first, 1
    while folder.exists() and not overwrite:
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def earlier_outputs(folder: Path) -> list[Path]:
    """A folder that `default_output` made, and those that it made for the same before."""
    first = re.sub(r"-\d+$", "", folder.name)
    series = re.compile(rf"{re.escape(first)}(-\d+)?")
    found = (path for path in folder.parent.iterdir() if series.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


PER_SOURCE = ("init", "detections")
"""Fields of `SourceConfig` that the command line takes once for each source."""
