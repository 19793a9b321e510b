"""`cli track`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OutputError, SourceError, printable
from ..runtime.detectors.base import BUILT_IN
from ..runtime.inference.registry import find_backend
from ..runtime.paths import is_folder, model_file
from ..tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ..tracking.registry import TASKS
from .options.track import (
    SectionedCommand,
    check_unused,
    config_from,
    config_options,
    one_each,
    task_config,
    task_options,
)

if TYPE_CHECKING:
    from ..runtime.events import RunListener
    from ..runtime.server.launch import LiveOutputs, LiveRequest
    from ..tracking.session import RunReport


def _load_config(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Make the values of a file the defaults of the options: what is typed wins."""
    if path is not None:
        from ..tracking.config_file import read_config

        ctx.default_map = read_config(path, lambda line: click.echo(printable(line), err=True))


def make_command() -> click.Command:
    """The command, with the options of every task in `TASKS`."""

    @click.command("track", cls=SectionedCommand)
    @click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
    @click.option(
        "--task",
        "tasks",
        type=click.Choice(list(TASKS)),
        multiple=True,
        required=True,
        help="What to track; repeat it to do several tasks in one run, which share what they can.",
    )
    @click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="Read sources, tasks and options from a YAML or JSON file, such as a run.json; what "
        "is given on the command line wins.",
    )
    @config_options(SourceConfig, "Sources")
    @config_options(DetectorConfig, "Detections")
    @config_options(RunConfig, "Run and results")
    @task_options
    def command(sources: tuple[str, ...], tasks: tuple[str, ...], **values: Any) -> None:
        """Track objects in each SOURCE.

        SOURCE is a video file, a folder of images, a pattern such as 'frames/*.jpg', camera0 …
        cameraN, csi0 … csiN (Jetson), gst:PIPELINE (GStreamer), or an rtsp:// or http:// URL.
        Several are tracked at once, each with its own identities and folder of results; {name} in
        --init and --detections is the name of that folder.

        \b
        Examples:
          cli track camera0 --task mot --show
          cli track street.mp4 --task posetrack --save-video
          cli track street.mp4 --task mot --detector yolox-s --detector-classes car,bus,truck
          cli track camera0 rtsp://host/live clip.mp4 --task mot --detector motion
          cli track frames/ --task vos --init first-mask.png
          cli track car.mp4 --task sot --init 70,51,107,87 --save-video
          cli track camera0 --task sot --init detect:person
          cli track frames/ --task mots --detections masks.txt
          cli track street.mp4 --task posetrack --detector yolox-s --pose-model blazepose
          cli track dance.mp4 --task pose --init first-frame.json --save-video
          cli track clip.mp4 --task mot --task vos --detector motion --init mask.png
          cli track --config runs/street-mot/run.json
        """
        run(track_config(sources, tasks, values))

    return command


command = make_command()


def track_config(
    sources: tuple[str, ...], tasks: tuple[str, ...], values: dict[str, Any]
) -> TrackConfig:
    """What the values of all options ask for.

    Raises:
        RequestError: They contradict one another.
    """
    from ..runtime.sources.redact import short_names

    check_unused(tasks, values)
    names = short_names(sources)
    inits = one_each("--init", values.pop("init"), names)
    files = one_each("--detections", values.pop("detections"), names)
    own = (
        {"source": source, "init": init, "detections": None if file is None else Path(file)}
        for source, init, file in zip(sources, inits, files, strict=True)
    )
    return TrackConfig(
        tuple(config_from(SourceConfig, values | given) for given in own),
        tuple(task_config(task, values) for task in dict.fromkeys(tasks)),
        config_from(RunConfig, values),
        config_from(DetectorConfig, values),
    )


def run(config: TrackConfig) -> None:
    """Track, with progress and a summary on the terminal; a signal has a status of its own.

    Raises:
        UnitrackError: See `tracking.session.track`.
        SourceError: A source failed, or ended before its time.
        OutputError: Frames or lines are lost, since they could not be written.
    """
    settings = config.run
    live = _live_request(settings)
    lost_lines = 0
    if live is None:
        report = _track(config, None)
    else:
        from ..runtime.server.launch import open_live

        with open_live(live, lambda text: click.echo(text, err=True)) as outputs:
            if outputs.url is not None:
                click.echo(f"live view: {outputs.url}", err=True)
            report = _track(config, outputs)
            lost_lines = outputs.lines.lost if outputs.lines is not None else 0
    if report.stopped is not None:
        sys.exit(report.stopped.status)
    _raise_failures(report)
    _raise_losses(report, lost_lines)


def _prepare(config: TrackConfig) -> None:
    """Say which models run, and export those that are missing.

    Raises:
        UnitrackError: One cannot be made.
    """
    settings, chosen = config.run, config.detector
    models = prepare_models(config)
    bundle = settings.bundle_path
    if settings.bundle is None and not bundle.exists():
        from .console.bundles import ensure_bundle

        ensure_bundle(bundle, bundle.name)
    if settings.rebuild:
        from .console.bundles import rebuild_engines

        rebuild_engines(bundle, settings.backend)
        backend = chosen.detector_backend or settings.backend
        for model in models:
            path = model_file(model)
            if is_folder(path) and find_backend(backend).variant is not None:
                rebuild_engines(path, backend)


def prepare_models(config: TrackConfig) -> list[str | Path]:
    """Export the detector, pose and mask models that are missing.

    Returns:
        The models that the run names, those that are built in left out.

    Raises:
        UnitrackError: One cannot be made.
    """
    chosen = config.detector
    named = (chosen.detector, chosen.pose_model, chosen.mask_model)
    models = [model for model in named if model is not None and model not in BUILT_IN]
    if models:
        from .console.bundles import ensure_models

        ensure_models(config)
    return models


def _live_request(settings: RunConfig) -> LiveRequest | None:
    """What is to be shown while the run goes on; None: nothing."""
    if settings.serve is None and settings.jsonl is None:
        return None
    from ..runtime.server.launch import LiveRequest

    live = LiveRequest(
        settings.serve,
        settings.serve_token,
        settings.jsonl,
        settings.serve_viewer_token,
        settings.serve_cert,
        settings.serve_key,
        settings.unhealthy_after_s,
    )
    live.check()
    return live


def _track(config: TrackConfig, live: LiveOutputs | None) -> RunReport:
    from ..tracking.session import track
    from .console.progress import SourceLines, show_run, watch_run

    listeners: list[RunListener] = [SourceLines()]
    commands = None
    if live is not None:
        listeners += live.listeners
        commands = live.commands
    with watch_run("+".join(config.task_names)) as watch:
        report = track(
            config,
            watch,
            prepare=lambda: _prepare(config),
            say=lambda line: click.echo(printable(line), err=True),
            listeners=listeners,
            commands=commands,
        )
    show_run(report, err=live is not None and live.takes_stdout)
    return report


def _raise_losses(report: RunReport, lost_lines: int) -> None:
    lost = [
        f"{frames} frames are not in {single.output / name}"
        for single in report.sources.values()
        for name, frames in single.data["lost_frames"].items()
    ]
    lost += [f"{lost_lines} lines are not in --jsonl"] if lost_lines else []
    if lost:
        raise OutputError(f"{'; '.join(lost)}: they could not be written when their time came")


def _raise_failures(report: RunReport) -> None:
    # Everything up to there was written; a script must still learn that it is not all.
    if "source" in report.data:
        ended_early = report.data["source"]["ended_early"]
        if ended_early is not None:
            raise SourceError(f"{ended_early}; the results up to there are in {report.output}")
        return
    sources = report.data["sources"]
    wrong = {
        name: data["error"] or data.get("ended_early")
        for name, data in sources.items()
        if data["error"] or data.get("ended_early")
    }
    if wrong:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
        raise SourceError(
            f"{len(wrong)} of {len(sources)} sources did not go to their end ({reasons}); all "
            f"results are in {report.output}"
        )
