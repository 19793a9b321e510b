"""`cli demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import RequestError

if TYPE_CHECKING:
    from ..evaluation.synthetic.files import SceneFiles
    from ..tracking.session import RunReport


@click.command("demo")
@click.option("--source", help="Your own video, folder of images or camera.  [default: demo clip]")
@click.option(
    "--detector", help="For --source: 'motion' or a YOLOX .onnx model.  [default: motion]"
)
@click.option("--init", help="For --source: mask PNG or X,Y,W,H of an object in the first frame.")
@click.option(
    "--backbone",
    default="efficientnet-lite0",
    show_default=True,
    help="Appearance model; `cli backbones` lists them.",
)
@click.option("--frames", type=int, help="Stop after so many frames.  [default: all]")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder of the results; those of an earlier demo are replaced.",
)
@click.option(
    "--gallery",
    type=click.Path(path_type=Path),
    help="Do all six tasks on the demo clip, and write an image of each to this folder.",
)
def command(
    source: str | None,
    detector: str | None,
    init: str | None,
    backbone: str,
    frames: int | None,
    output: Path,
    gallery: Path | None,
) -> None:
    """Track a demo clip or your own video, and score it where the truth is known.

    The demo clip is made on the spot: textured figures that cross, hide one another, change size
    and leave. Boxes (task mot) are given to the tracker frame by frame, with a detector's errors;
    masks (task vos) only in the first frame.
    """
    from .console.bundles import ensure_bundle

    if source is None and (detector or init):
        raise RequestError("--detector and --init belong to a --source of your own")
    if source is not None and gallery is not None:
        raise RequestError("--gallery shows the demo clip: leave out --source")
    fewest = 3 if source is None else 1
    if frames is not None and frames < fewest:
        raise RequestError(f"--frames {frames}: expected {fewest} or more")
    bundle = Path("bundles") / backbone
    ensure_bundle(bundle, backbone)
    if gallery is not None:
        _gallery(bundle, gallery, frames, output)
    elif source is None:
        _demo_clip(bundle, frames, output)
    else:
        _own_video(source, detector or "motion", init, bundle, frames, output)


def _demo_clip(bundle: Path, frames: int | None, output: Path) -> None:
    from rich.console import Console

    from ..evaluation.synthetic.files import write_scene
    from ..evaluation.synthetic.scene import Scene, SceneConfig

    with Console().status("drawing the demo clip"):
        clip = write_scene(Scene(SceneConfig()), output / "clip", overwrite=True)
    source, mask = str(clip.source), str(clip.init_mask)
    reports = [
        _track("mot", bundle, frames, output, source, detections=clip.detections),
        _track("vos", bundle, frames, output, source, init=mask),
    ]
    _summary(reports, _scores(clip, reports))


def _gallery(bundle: Path, folder: Path, frames: int | None, output: Path) -> None:
    from ..evaluation.synthetic.gallery import make_gallery, show_gallery
    from .console.progress import watch_run

    hung = make_gallery(bundle, folder, frames, output, watch_run)
    _stop_if_interrupted(hung[-1].report)
    show_gallery(hung)


def _own_video(
    source: str, detector: str, init: str | None, bundle: Path, frames: int | None, output: Path
) -> None:
    reports = [_track("mot", bundle, frames, output, source, detector=detector)]
    if init is not None:
        reports.append(_track("vos", bundle, frames, output, source, init=init))
    _summary(reports, [""] * len(reports))
    if init is None:
        click.echo("to carry an object's mask through the video as well, add --init X,Y,W,H")


def _track(
    task: str,
    bundle: Path,
    frames: int | None,
    output: Path,
    source: str,
    *,
    init: str | None = None,
    detections: Path | None = None,
    detector: str | None = None,
) -> RunReport:
    from ..tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
    from ..tracking.registry import TASKS
    from ..tracking.session import track
    from .console.progress import watch_run

    config = TrackConfig(
        (SourceConfig(source, init, detections),),
        (TASKS[task].config(),),
        RunConfig(
            bundle=bundle,
            output=output / task,
            max_frames=frames,
            save_video=True,
            overwrite=True,
        ),
        DetectorConfig(detector),
    )
    with watch_run(task) as watch:
        report = track(config, watch)
    _stop_if_interrupted(report)
    return report


def _stop_if_interrupted(report: RunReport) -> None:
    if report.data["interrupted"]:
        click.echo(f"interrupted; the results so far are in {report.output}", err=True)
        sys.exit(130)


def _scores(clip: SceneFiles, reports: list[RunReport]) -> list[str]:
    from ..evaluation.synthetic.scores import score_boxes, score_masks

    mot, vos = reports
    boxes = score_boxes(clip, mot.output / "tracks.txt", mot.data["frames"])
    masks = score_masks(clip, vos.output / "masks", vos.data["frames"])
    return [
        f"HOTA {boxes.hota:.3f}  IDF1 {boxes.idf1:.3f}  MOTA {boxes.mota:.3f}  "
        f"{boxes.id_switches} id switches",
        f"J {masks.j_mean:.3f} over {masks.objects} objects",
    ]


def _summary(reports: list[RunReport], scores: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "frames", "objects", "FPS", "latency p50/p95/p99 ms", box=None)
    if any(scores):
        table.add_column("score against the truth")
    for report, score in zip(reports, scores, strict=True):
        data = report.data
        latency = data["stages_ms"].get("latency", {"p50": 0.0, "p95": 0.0, "p99": 0.0})
        cells = [data["task"], str(data["frames"]), str(data["identities"]), f"{data['fps']:.1f}"]
        cells.append(" / ".join(f"{latency[p]:.0f}" for p in ("p50", "p95", "p99")))
        table.add_row(*cells, *([score] if any(scores) else []))
    console = Console(highlight=False)
    console.print(table)
    for report in reports:
        for note in report.notes:
            console.print(f"note: {note}", soft_wrap=True, markup=False)
        folder = report.output
        results = "tracks.txt" if report.data["task"] == "mot" else "masks/"
        console.print(
            f"{report.data['task']}: {folder / 'video.mp4'}  {folder / results}  "
            f"{folder / 'run.json'}",
            soft_wrap=True,
            markup=False,
        )
