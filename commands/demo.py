"""`cli demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import RequestError
from ..runtime.paths import DEFAULT_BACKBONE, default_bundle
from ..runtime.tables import TextTable
from .console.report import Report, ReportOutput
from .options.shared import output_option, report_options

if TYPE_CHECKING:
    from ..evaluation.synthetic.files import SceneFiles
    from ..tracking.session import RunReport


@click.command("demo")
@click.option("--source", help="Your own video, folder of images or camera.  [default: demo clip]")
@click.option("--detector", help="For --source, as of `cli track`.  [default: motion]")
@click.option("--init", help="For --source: mask PNG or X,Y,W,H of an object in the first frame.")
@click.option(
    "--backbone",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="Appearance model; `cli backbones` lists them.",
)
@click.option(
    "--frames", type=click.IntRange(min=1), help="Stop after so many frames.  [default: all]"
)
@output_option("Folder of the results; those of an earlier demo are replaced.", "demo-output")
@click.option(
    "--gallery",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Do all six tasks on the demo clip, and write an image of each to this folder.",
)
@report_options
def command(
    source: str | None,
    detector: str | None,
    init: str | None,
    backbone: str,
    frames: int | None,
    output: Path,
    gallery: Path | None,
    report_to: ReportOutput,
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
    bundle = default_bundle(backbone)
    ensure_bundle(bundle, backbone)
    if gallery is not None:
        report = _gallery(bundle, gallery, frames, output)
    elif source is None:
        report = _demo_clip(bundle, frames, output)
    else:
        report = _own_video(source, detector or "motion", init, bundle, frames, output)
    report_to.show(report)


def _demo_clip(bundle: Path, frames: int | None, output: Path) -> Report:
    from rich.console import Console

    from ..evaluation.synthetic.files import write_scene
    from ..evaluation.synthetic.scene import Scene, SceneConfig

    with Console(stderr=True).status("drawing the demo clip"):
        clip = write_scene(Scene(SceneConfig()), output / "clip", overwrite=True)
    source, mask = str(clip.source), str(clip.init_mask)
    reports = [
        _track("mot", bundle, frames, output, source, detections=clip.detections),
        _track("vos", bundle, frames, output, source, init=mask),
    ]
    return _summary(reports, _scores(clip, reports))


def _gallery(bundle: Path, folder: Path, frames: int | None, output: Path) -> Report:
    from ..evaluation.synthetic.gallery import gallery_table, make_gallery
    from .console.progress import watch_run

    images = make_gallery(bundle, folder, frames, output, watch_run)
    _stop_if_interrupted(images[-1].report)
    data = [{"image": one.path, "score": one.score, "run": one.report.data} for one in images]
    return Report(data, [gallery_table(images)])


def _own_video(
    source: str, detector: str, init: str | None, bundle: Path, frames: int | None, output: Path
) -> Report:
    reports = [_track("mot", bundle, frames, output, source, detector=detector)]
    if init is not None:
        reports.append(_track("vos", bundle, frames, output, source, init=init))
    more = "to track an object's mask too, add --init X,Y,W,H (make demo: INIT=X,Y,W,H)"
    hint = [] if init else [more]
    return _summary(reports, [{} for _ in reports], hint)


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
    from .console.bundles import ensure_models
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
        report = track(config, watch, prepare=lambda: ensure_models(config))
    _stop_if_interrupted(report)
    return report


def _stop_if_interrupted(report: RunReport) -> None:
    from .console.steps import interruptible

    with interruptible(lambda: f"the results so far are in {report.output}"):
        report.raise_if_stopped()


def _scores(clip: SceneFiles, reports: list[RunReport]) -> list[dict[str, float]]:
    from ..evaluation.synthetic.scores import score_boxes, score_masks

    mot, vos = reports
    boxes = score_boxes(clip, mot.output / "tracks.txt", mot.data["frames"])
    masks = score_masks(clip, vos.output / "masks", vos.data["frames"])
    return [
        {
            "HOTA": boxes.hota,
            "IDF1": boxes.idf1,
            "MOTA": boxes.mota,
            "id switches": boxes.id_switches,
        },
        {"J": masks.j_mean, "objects": masks.objects},
    ]


def _summary(
    reports: list[RunReport], scores: list[dict[str, float]], closing: Sequence[str] = ()
) -> Report:
    """A row a run.

    Args:
        reports: Of the runs.
        scores: Of each run against the truth, by name; empty where it is unknown.
        closing: More lines for the end.
    """
    from .console.progress import pipelined

    rows, files, notes = [], [], []
    for report, score in zip(reports, scores, strict=True):
        data, folder = report.data, report.output
        latency = data["stages_ms"].get("latency", {"p50": 0.0, "p95": 0.0, "p99": 0.0})
        cells = [data["task"], str(data["frames"]), str(data["identities"]), f"{data['fps']:.1f}"]
        cells.append(" / ".join(f"{latency[p]:.0f}" for p in ("p50", "p95", "p99")))
        numbers = (f"{k} {v}" if isinstance(v, int) else f"{k} {v:.3f}" for k, v in score.items())
        rows.append([*cells, "  ".join(numbers)])
        results = "tracks.txt" if data["task"] == "mot" else "masks/"
        paths = (folder / name for name in ("video.mp4", results, "run.json"))
        files.append(f"{data['task']}: " + "  ".join(map(str, paths)))
        said = pipelined(data)
        notes += [] if said is None else [f"{data['task']}: {said}"]
        notes += report.notes
    head = ["task", "frames", "objects", "FPS", "latency p50/p95/p99 ms", "score against the truth"]
    if not any(scores):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Report(
        [{"scores": score, "run": one.data} for one, score in zip(reports, scores, strict=True)],
        [TextTable(head, rows)],
        notes=notes,
        closing=[*files, *closing],
    )
