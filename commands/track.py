"""`cli track`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BundleError, RequestError, SourceError
from ..runtime.backends import BACKENDS
from .engines import rebuild_engines
from .live_options import LIVE, live_options
from .options import SectionedCommand, head_config, head_options, is_head_option
from .per_source import one_each

if TYPE_CHECKING:
    from ..runtime.live_outputs import LiveOutputs
    from ..session import SourceJob

DEFAULT_BACKBONE = "efficientnet-lite0"


@click.command("track", cls=SectionedCommand)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--task",
    "tasks",
    type=click.Choice(["sot", "vos", "mot", "mots", "posetrack", "pose"]),
    multiple=True,
    required=True,
    help="What to track; repeat it to do several tasks with one pass of the backbone a frame.",
)
@click.option("--bundle", type=click.Path(path_type=Path), help="Folder written by `cli export`.")
@click.option(
    "--backbone",
    help=f"Use bundles/BACKBONE, exported first if it is missing.  [default: {DEFAULT_BACKBONE}]",
)
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default="cpu",
    show_default=True,
    help="What runs the graphs; never replaced by another one. tensorrt and tensorrt-rtx run what "
    "`cli build` built.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Build TensorRT engines that are missing or do not fit this machine first.",
)
@click.option(
    "--detector-backend",
    type=click.Choice(["cpu", "cuda"]),
    help="What runs the ONNX models of --detector, --pose-model and --mask-model.  "
    "[default: cpu with --backend cpu, cuda with all others]",
)
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="CPU threads.  [default: all]"
)
@click.option(
    "--init",
    "inits",
    multiple=True,
    help="vos: the first frame's mask (PNG; several values are several objects), or a box X,Y,W,H "
    "(or 'select' to draw it) in which the object is cut out. sot: the box X,Y,W,H (pixels from "
    "0), a file whose first row is x,y,w,h (OTB, pixels from 1), or 'select' to draw it. pose: the "
    "first frame's keypoints, "
    "PoseTrack18 JSON or COCO results.",
)
@click.option(
    "--detections",
    multiple=True,
    help="mot, mots, posetrack: file of detections (MOTChallenge or MOTS text, PoseTrack18 JSON or "
    "COCO results); without a model for them, mots needs masks and posetrack keypoints. For "
    "several sources as --init.",
)
@click.option(
    "--detector",
    help="mot, mots, posetrack: 'motion' (camera that stands still) or a YOLOX .onnx model. It "
    "gives boxes (motion: masks too); for poses or masks of people add one of the next two.",
)
@click.option(
    "--pose-model",
    "person_pose_model",  # what begins with a task's name is a parameter of that task
    type=click.Path(path_type=Path),
    help="posetrack: ONNX model that finds the joints in every box (MoveNet or BlazePose), with "
    "--detector or --detections.",
)
@click.option(
    "--mask-model",
    "person_mask_model",
    type=click.Path(path_type=Path),
    help="mots: ONNX model that finds the person's mask in every box (BlazePose, for instance), "
    "with --detector or --detections.",
)
@click.option(
    "--detector-classes",
    metavar="N,N,…",
    help="Class numbers of the model to keep; 0 is COCO's person.  [default: all; 0 with "
    "--pose-model or --mask-model]",
)
@click.option("--detector-confidence", type=float, help="Lowest score of the model's detections.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the results; with several sources, of a folder each.  [default: "
    "runs/SOURCE-TASK, numbered]",
)
@click.option("--save-video", is_flag=True, help="Write video.mp4 with the tracks drawn in.")
@click.option("--show", is_flag=True, help="Show the tracks in a window; q ends.")
@click.option("--max-frames", type=int, help="Stop after so many frames.")
@click.option("--fps", type=float, help="Frame rate of images, or instead of the video's own.")
@click.option(
    "--realtime",
    is_flag=True,
    help="Play files at their own pace; frames that are late are dropped.",
)
@click.option(
    "--reconnect-after",
    "freeze_s",
    type=float,
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Reconnect to a camera or stream that gives no frame for so long.",
)
@click.option(
    "--give-up",
    "give_up_s",
    type=float,
    metavar="SECONDS",
    help="End a camera or stream that gives no frame for so long; 0: at its first failure.  "
    "[default: never]",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Frames of several sources in one pass of the backbone, at most; for CPUs of many cores.",
)
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run.")
@live_options
@head_options
def command(
    sources: tuple[str, ...],
    tasks: tuple[str, ...],
    bundle: Path | None,
    backbone: str | None,
    detector_classes: str | None,
    inits: tuple[str, ...],
    detections: tuple[str, ...],
    output: Path | None,
    rebuild: bool,
    **values: Any,
) -> None:
    """Track objects in each SOURCE.

    SOURCE is a video file, a folder of images, a pattern such as 'frames/*.jpg', camera0 …
    cameraN, csi0 … csiN (Jetson), gst:PIPELINE (GStreamer), or an rtsp:// or http:// URL. Several
    are tracked at once, each with its own identities and folder of results; {name} in --init and
    --detections is the name of that folder.

    \b
    Examples:
      cli track street.mp4 --task mot --detector motion --save-video
      cli track camera0 --task mot --detector yolox.onnx --detector-classes 0 --show
      cli track camera0 rtsp://host/live clip.mp4 --task mot --detector motion
      cli track frames/ --task vos --init first-mask.png
      cli track car.mp4 --task sot --init 70,51,107,87 --save-video
      cli track frames/ --task mots --detections masks.txt
      cli track street.mp4 --task posetrack --detector yolox.onnx --pose-model movenet.onnx
      cli track dance.mp4 --task pose --init first-frame.json --save-video
      cli track clip.mp4 --task mot --task vos --detector motion --init mask.png
    """
    from ..runtime.live_outputs import LiveRequest, open_live
    from ..runtime.source_names import short_names
    from ..session import SourceJob
    from ..tasks import TrackRequest, check_request

    tasks = tuple(dict.fromkeys(tasks))
    names = short_names(sources)
    output = output or default_output(sources, "-".join(tasks))
    live = LiveRequest(**{name: values.pop(name) for name in LIVE})
    live.check()
    values["startable"] = live.serve is not None
    values["detector_classes"] = parse_classes(detector_classes)
    given_inits = one_each("--init", inits, names)
    given_files = one_each("--detections", detections, names)
    jobs = []
    for source, name, init, file in zip(sources, names, given_inits, given_files, strict=True):
        folder = output if len(sources) == 1 else output / name
        inputs = values | {"init": init, "detections": None if file is None else Path(file)}
        requests = [
            TrackRequest(
                source=source,
                task=task,
                config=head_config(task, values),
                bundle=bundle or Path("bundles") / (backbone or DEFAULT_BACKBONE),
                output=folder if len(tasks) == 1 else folder / task,
                **inputs_of(task, tasks, inputs),
            )
            for task in tasks
        ]
        jobs.append(SourceJob(name, requests, folder))
    for job in jobs:
        for request in job.requests:
            check_request(request)
    if bundle is not None and backbone is not None:
        raise RequestError("--bundle and --backbone name two bundles: give one of them")
    ensure_bundle(jobs[0].requests[0].bundle, None if bundle else backbone or DEFAULT_BACKBONE)
    if rebuild:
        rebuild_engines(jobs[0].requests[0].bundle, values["backend"])
    with open_live(live, lambda text: click.echo(text, err=True)) as outputs:
        if outputs.url is not None:
            click.echo(f"live view: {outputs.url}", err=True)
        if len(jobs) == 1:
            run_one(jobs[0], outputs)
        else:
            run_several(jobs, output, outputs)


def run_one(job: SourceJob, live: LiveOutputs) -> None:
    """Track one source, and say how it went.

    Raises:
        SourceError: The source ended before its time.
    """
    from ..session import track_all
    from .progress import SourceLines, show_report, watch_run

    with watch_run("+".join(request.task for request in job.requests)) as watch:
        report = track_all(
            job.requests, job.output, watch, [SourceLines(), *live.observers], live.commands
        )
    show_report(report, err=live.takes_stdout)
    if report.data["interrupted"]:
        sys.exit(130)
    ended_early = report.data["source"]["ended_early"]
    if ended_early is not None:
        # Everything up to there was written; a script must still learn that it is not all.
        raise SourceError(f"{ended_early}; the results up to there are in {report.output}")


def run_several(jobs: Sequence[SourceJob], output: Path, live: LiveOutputs) -> None:
    """Track several sources at once, and say how each went.

    Raises:
        SourceError: Some of them failed or ended before their time.
    """
    from ..session import track_sources
    from .progress import SourceLines, show_fleet, watch_run

    with watch_run("+".join(request.task for request in jobs[0].requests)) as watch:
        report = track_sources(jobs, output, watch, [SourceLines(), *live.observers], live.commands)
    show_fleet(report, err=live.takes_stdout)
    if report.data["interrupted"]:
        sys.exit(130)
    wrong = {
        name: data["error"] or data["ended_early"]
        for name, data in report.data["sources"].items()
        if data["error"] or data["ended_early"]
    }
    if wrong:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
        raise SourceError(
            f"{len(wrong)} of {len(jobs)} sources did not go to their end ({reasons}); all "
            f"results are in {report.output}"
        )


def inputs_of(task: str, tasks: tuple[str, ...], values: dict[str, Any]) -> dict[str, Any]:
    """The options that are not a head's, for one of several tasks.

    Of several tasks, each gets what it starts from and the others do not see it; what no task takes
    is left in place, and refused later.
    """
    from ..tasks import FIRST_FRAME, PERSON_MODELS

    chosen = {name: value for name, value in values.items() if not is_head_option(name)}
    starters = [other for other in tasks if other in FIRST_FRAME]
    if starters and task not in starters:
        chosen["init"] = None
    if len(starters) < len(tasks) and task in starters:
        chosen.update(detections=None, detector=None)
        chosen.update(detector_classes=None, detector_confidence=None)
    for other, (_, model) in PERSON_MODELS.items():
        if other in tasks and other != task:
            chosen[model] = None
    return chosen


def parse_classes(text: str | None) -> tuple[int, ...] | None:
    """`0,2,3` as numbers.

    Raises:
        RequestError: Something else.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RequestError(
            f"--detector-classes {text}: expected whole numbers such as 0 or 0,2,7"
        ) from None


def default_output(sources: Sequence[str], task: str) -> Path:
    """`runs/NAME-TASK`, or the first of `runs/NAME-TASK-2`, … that is free."""
    from ..runtime.source_names import short_name

    name = short_name(sources[0]) if len(sources) == 1 else f"{len(sources)}-sources"
    first = Path("runs") / f"{name}-{task}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def ensure_bundle(path: Path, backbone: str | None) -> None:
    """Export a missing bundle of the table, where PyTorch is there to do it.

    Args:
        path: Where the bundle should be.
        backbone: Its name on the table; None where the user named a folder, which is never written.

    Raises:
        BundleError: It is missing and PyTorch is not there.
        ExportError: Unknown name, or the export failed.
    """
    if backbone is None or path.exists():
        return
    from ..export.backbones import find_backbone

    # A wrong name is told before anything is promised.
    find_backbone(backbone)
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            f"bundle {path} does not exist, and PyTorch, which could write it, is not installed: "
            f"run `cli export --backbone {backbone}` on a machine with "
            "pip install 'unitrack-edge[export]' and copy the folder here"
        )
    from .export import export_bundle

    click.echo(f"{path} does not exist yet: exporting {backbone} (once)")
    export_bundle(backbone, path)
