"""`cli track`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError, SourceError
from .console.bundles import ensure_bundle, rebuild_engines
from .options.track import (
    DEFAULT_BACKBONE,
    LIVE,
    SectionedCommand,
    head_config,
    head_options,
    is_head_option,
    live_options,
    one_each,
    run_options,
)

if TYPE_CHECKING:
    from ..runtime.server.launch import LiveOutputs
    from ..tracking.session import SourceJob


@click.command("track", cls=SectionedCommand)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@run_options
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
    from ..runtime.server.launch import LiveRequest, open_live
    from ..runtime.sources.redact import short_names
    from ..tracking.config import TrackRequest, check_request
    from ..tracking.session import SourceJob

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
    from ..tracking.session import track_all
    from .console.progress import SourceLines, show_report, watch_run

    with watch_run("+".join(request.task for request in job.requests)) as watch:
        report = track_all(
            job.requests, job.output, watch, [SourceLines(), *live.listeners], live.commands
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
    from ..tracking.session import track_sources
    from .console.progress import SourceLines, show_multi_source, watch_run

    with watch_run("+".join(request.task for request in jobs[0].requests)) as watch:
        report = track_sources(jobs, output, watch, [SourceLines(), *live.listeners], live.commands)
    show_multi_source(report, err=live.takes_stdout)
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
    from ..tracking.config import FIRST_FRAME, PERSON_MODELS

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
    from ..runtime.sources.redact import short_name

    name = short_name(sources[0]) if len(sources) == 1 else f"{len(sources)}-sources"
    first = Path("runs") / f"{name}-{task}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder
