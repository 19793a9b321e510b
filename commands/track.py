"""`cli track`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import BundleError, RequestError, SourceError
from .options import SectionedCommand, head_config, head_options, is_head_option

DEFAULT_BACKBONE = "efficientnet-lite0"


@click.command("track", cls=SectionedCommand)
@click.argument("source")
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
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="What runs the graphs; never replaced by another one.",
)
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="CPU threads.  [default: all]"
)
@click.option(
    "--init",
    help="vos: the first frame's mask (PNG; several values are several objects), or a box X,Y,W,H "
    "(or 'select' to draw it) in which the object is cut out. sot: the box X,Y,W,H (pixels from "
    "0), a file whose first row is x,y,w,h (OTB, pixels from 1), or 'select' to draw it. pose: the "
    "first frame's keypoints, "
    "PoseTrack18 JSON or COCO results.",
)
@click.option(
    "--detections",
    type=click.Path(path_type=Path),
    help="mot, mots, posetrack: file of detections (MOTChallenge or MOTS text, PoseTrack18 JSON or "
    "COCO results); without a model for them, mots needs masks and posetrack keypoints.",
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
    help="Folder of the results.  [default: runs/SOURCE-TASK, numbered]",
)
@click.option("--save-video", is_flag=True, help="Write video.mp4 with the tracks drawn in.")
@click.option("--show", is_flag=True, help="Show the tracks in a window; q ends.")
@click.option("--max-frames", type=int, help="Stop after so many frames.")
@click.option("--fps", type=float, help="Frame rate of images, or instead of the video's own.")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run.")
@head_options
def command(
    source: str,
    tasks: tuple[str, ...],
    bundle: Path | None,
    backbone: str | None,
    detector_classes: str | None,
    output: Path | None,
    **values: Any,
) -> None:
    """Track objects in SOURCE.

    SOURCE is a video file, a folder of images, a pattern such as 'frames/*.jpg', camera0 …
    cameraN, or an rtsp:// or http:// URL.

    \b
    Examples:
      cli track street.mp4 --task mot --detector motion --save-video
      cli track camera0 --task mot --detector yolox.onnx --detector-classes 0 --show
      cli track frames/ --task vos --init first-mask.png
      cli track car.mp4 --task sot --init 70,51,107,87 --save-video
      cli track frames/ --task mots --detections masks.txt
      cli track street.mp4 --task posetrack --detector yolox.onnx --pose-model movenet.onnx
      cli track dance.mp4 --task pose --init first-frame.json --save-video
      cli track clip.mp4 --task mot --task vos --detector motion --init mask.png
    """
    from ..session import track_all
    from ..tasks import TrackRequest, check_request
    from .progress import show_report, watch_run

    tasks = tuple(dict.fromkeys(tasks))
    name = "+".join(tasks)
    output = output or default_output(source, "-".join(tasks))
    requests = [
        TrackRequest(
            source=source,
            task=task,
            config=head_config(task, values),
            bundle=bundle or Path("bundles") / (backbone or DEFAULT_BACKBONE),
            output=output if len(tasks) == 1 else output / task,
            **inputs_of(
                task, tasks, values | {"detector_classes": parse_classes(detector_classes)}
            ),
        )
        for task in tasks
    ]
    for request in requests:
        check_request(request)
    if bundle is not None and backbone is not None:
        raise RequestError("--bundle and --backbone name two bundles: give one of them")
    ensure_bundle(requests[0].bundle, None if bundle else backbone or DEFAULT_BACKBONE)
    with watch_run(name) as watch:
        report = track_all(requests, output, watch)
    show_report(report)
    if report.data["interrupted"]:
        sys.exit(130)
    ended_early = report.data["source"]["ended_early"]
    if ended_early is not None:
        # Everything up to there was written; a script must still learn that it is not all.
        raise SourceError(f"{ended_early}; the results up to there are in {report.output}")


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


def default_output(source: str, task: str) -> Path:
    """`runs/NAME-TASK`, or the first of `runs/NAME-TASK-2`, … that is free."""
    stem = Path(source.split("?")[0].rstrip("/")).stem
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-") or "source"
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
