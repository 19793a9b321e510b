"""`cli tune`."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError
from ..runtime.inference.registry import BACKENDS
from ..runtime.sources.redact import short_names
from ..tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ..tracking.registry import TASKS
from .console.report import Report, ReportOutput
from .options.shared import backends_option, bundle_argument, report_options
from .options.track import command_line, config_from, config_options, one_each, task_config

if TYPE_CHECKING:
    from ..evaluation.benchmark.tuning import Trial, Tuned

_SOURCE = ("init", "detections", "detections_class", "strict", "value_range", "frame_numbers")
_DETECTOR = tuple(one.name for one in fields(DetectorConfig) if one.name != "detect_every")


@click.command("tune")
@bundle_argument
@click.option("--task", type=click.Choice(list(TASKS)), required=True, help="What to track.")
@click.option(
    "--source", required=True, help="A clip of yours: a video file or a folder of images."
)
@click.option(
    "--fps",
    "wanted_fps",
    type=click.FloatRange(min=0, min_open=True),
    help="Frames a second to keep up with.  [default: the source's own]",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time that all settings together may take; those there was no time for are named.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=10),
    default=100,
    show_default=True,
    help="Frames of the clip that every setting is run on, at most.",
)
@backends_option("every one that runs here")
@config_options(SourceConfig, "Sources", only=_SOURCE)
@config_options(DetectorConfig, "Detections", only=_DETECTOR)
@report_options
def command(
    bundle: Path,
    task: str,
    source: str,
    wanted_fps: float | None,
    budget: float,
    frames: int,
    backends: tuple[str, ...],
    report_to: ReportOutput,
    **values: Any,
) -> None:
    """Find the setting of `cli track` that suits this machine and a clip.

    The full setting runs first (the whole frame, in every frame), then cheaper ones on the same
    frames: looking only where it is needed, other backends, fewer threads, the detector in every
    n-th frame, smaller network images. For each: frames a second, and how far its tracks are those
    of the full setting (HOTA and IDF1, overlap of masks or boxes, share of joints). Proposed is,
    of those that keep up, the one that agrees best, as a command line to copy.

    \b
    Examples:
      cli tune bundles/efficientnet-lite0 --task mot --source street.mp4
      cli tune bundles/efficientnet-lite0 --task vos --source clip.mp4 --init mask.png --fps 10
      cli tune bundles/mine --task mot --source frames/ --detections det.txt --budget 60
    """
    from ..evaluation.benchmark.tuning import TuneRequest, tune, tune_table
    from .console.steps import progress_bar
    from .track import prepare_models

    names = short_names([source])
    (init,), (file,) = (one_each(f"--{n}", values.pop(n), names) for n in ("init", "detections"))
    if init == "select":
        raise RequestError("--init select: every setting starts anew; give X,Y,W,H or a file")
    own = {"source": source, "init": init, "detections": None if file is None else Path(file)}
    config = TrackConfig(
        (config_from(SourceConfig, values | own),),
        (task_config(task, {}),),
        RunConfig(bundle=bundle),
        config_from(DetectorConfig, values),
    )
    prepare_models(config)
    chosen = backends or _present(bundle)
    request = TuneRequest(config, wanted_fps, budget, frames, chosen)
    with progress_bar(lambda: "nothing was written") as progress:
        tuned = tune(request, progress)
    proposed = tuned.proposed
    found = command_line(proposed.setting.of(config))
    report_to.show(
        Report(
            _data(tuned, config),
            [tune_table(tuned)],
            [_heading(tuned)],
            _notes(tuned),
            [f"proposed: {proposed.setting.name}", found],
        )
    )


def _present(bundle: Path) -> tuple[str, ...]:
    """The backends that run a bundle here; the CPU where none does, which then says why."""
    from ..evaluation.parity.report import present_backends
    from ..runtime.bundle.bundle import Bundle

    return tuple(present_backends(Bundle.load(bundle))[0]) or tuple(BACKENDS)[:1]


def _heading(tuned: Tuned) -> str:
    height, width = tuned.clip.size_hw or (0, 0)
    return (
        f"{Path(tuned.clip.name).name}, {width}x{height}; {tuned.frames} frames a setting, to keep "
        f"up with {tuned.wanted_fps:g} FPS; {tuned.spent_s:.0f} s"
    )


def _notes(tuned: Tuned) -> list[str]:
    notes = ["agreement is with the full setting, which need not be right where the two differ"]
    if not tuned.keeping_up:
        notes.append(
            f"no setting keeps up with {tuned.wanted_fps:g} FPS; proposed is the fastest, with "
            f"{tuned.proposed.fps:.1f}"
        )
    notes += [f"not tried, for lack of time: {name}" for name in tuned.not_tried]
    notes += [f"not run: {name}: {reason}" for name, reason in tuned.failed.items()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[1] if hasattr(os, "getloadavg") else 0.0
    if load > 2 * (cores or 1):
        notes.append(f"the load of this machine is {load:.1f}: other programs make all slower")
    return notes


def _data(tuned: Tuned, config: TrackConfig) -> dict[str, Any]:
    from ..evaluation.benchmark.report import describe_machine

    (task,) = config.task_names
    return {
        "task": task,
        "source": Path(tuned.clip.name).name,
        "size_hw": None if tuned.clip.size_hw is None else list(tuned.clip.size_hw),
        "frames": tuned.frames,
        "wanted_fps": tuned.wanted_fps,
        "spent_s": tuned.spent_s,
        "settings": [_row(trial, config) for trial in tuned.trials],
        "proposed": tuned.proposed.setting.name,
        "keeps_up": bool(tuned.keeping_up),
        "command": command_line(tuned.proposed.setting.of(config)),
        "not_tried": tuned.not_tried,
        "failed": tuned.failed,
        "machine": describe_machine(),
    }


def _row(trial: Trial, config: TrackConfig) -> dict[str, Any]:
    return {
        "setting": trial.setting.name,
        "fps": trial.fps,
        "cpu_ms": trial.cpu_ms,
        "agreement": dict(trial.agreement),
        "backbone_pixels": trial.pixels,
        "frames_without_backbone": trial.without_backbone,
        "command": command_line(trial.setting.of(config)),
    }
