"""`cli track`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import BundleError, RequestError
from .options import SectionedCommand, head_config, head_options, is_head_option

DEFAULT_BACKBONE = "efficientnet-lite0"


@click.command("track", cls=SectionedCommand)
@click.argument("source")
@click.option("--task", type=click.Choice(["mot", "vos"]), required=True, help="What to track.")
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
@click.option("--threads", default=0, help="CPU threads.  [default: all]")
@click.option(
    "--init",
    help="vos: the first frame's mask (PNG; several values are several objects), or a box X,Y,W,H "
    "in which the object is cut out.",
)
@click.option(
    "--detections",
    type=click.Path(path_type=Path),
    help="mot: file of detections (MOTChallenge, MOTS or PoseTrack format).",
)
@click.option("--detector", help="mot: 'motion' (camera that stands still) or a YOLOX .onnx model.")
@click.option(
    "--detector-classes",
    metavar="N,N,…",
    help="Class numbers of the model to keep; 0 is COCO's person.  [default: all]",
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
    task: str,
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
    """
    from ..session import TrackRequest, check_request, track
    from .progress import show_report, watch_run

    request = TrackRequest(
        source=source,
        task=task,
        config=head_config(task, values),
        bundle=bundle or Path("bundles") / (backbone or DEFAULT_BACKBONE),
        output=output or default_output(source, task),
        detector_classes=parse_classes(detector_classes),
        **{name: value for name, value in values.items() if not is_head_option(name)},
    )
    check_request(request)
    if bundle is not None and backbone is not None:
        raise RequestError("--bundle and --backbone name two bundles: give one of them")
    ensure_bundle(request.bundle, None if bundle else backbone or DEFAULT_BACKBONE)
    with watch_run(task) as watch:
        report = track(request, watch)
    show_report(report)
    if report.data["interrupted"]:
        sys.exit(130)


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
        BundleError: It is missing and cannot be exported here.
    """
    if backbone is None or path.exists():
        return
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            f"bundle {path} does not exist, and PyTorch, which could write it, is not installed: "
            f"run `cli export --backbone {backbone}` on a machine with "
            "pip install 'unitrack-edge[export]' and copy the folder here"
        )
    from .export import export_bundle

    click.echo(f"{path} does not exist yet: exporting {backbone} (once)")
    export_bundle(backbone, path)
