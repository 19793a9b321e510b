"""What `run.json` and the closing notes say of a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import count
from ..heads.config import PresetNumber, TrackedConfig
from ..runtime.bundle.bundle import Bundle
from ..runtime.detectors.base import BUILT_IN
from ..runtime.events import SourceLog
from ..runtime.inference.runner import GraphRunner
from ..runtime.pipeline import Pipeline, TaskRunner
from ..runtime.sources.base import Source
from ..runtime.sources.redact import redact
from ..version import __version__
from .config import SourceConfig, TrackConfig
from .registry import TASKS, starts_from_detector

_STATUS = Path("/proc/self/status")

_UNKNOWN_IN = {
    "yolo": "a number of its own, called object in classes.txt",
    "kitti": "of type Misc",
}
"""What a format of `RESULT_FORMATS` writes for it, where others say that it is not known."""

_KEPT_UP = 0.95
"""Share of a source's rate from which on a run came to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a source's run came to.

    Attributes:
        track: What the run was asked for.
        config: The source.
        source: Where the frames came from.
        pipeline: What drove the tasks.
        task_runners: One a task, in the order of `track.tasks`.
        log: What happened to the source.
        lost_frames: How many frames a recording lacks since it could not be written, by its
            file's name.
    """

    track: TrackConfig
    config: SourceConfig
    source: Source
    pipeline: Pipeline
    task_runners: Sequence[TaskRunner]
    log: SourceLog
    lost_frames: Mapping[str, int]


def run_report(
    outcome: Outcome, outputs: Mapping[str, Path], bundle: Bundle, graphs: GraphRunner
) -> dict[str, Any]:
    """The contents of a source's `run.json` but for notes and error; no credentials are among them.

    Args:
        outcome: What the run came to.
        outputs: Folder of results by task.
        bundle: Whose graphs ran.
        graphs: What ran them.
    """
    track, config, pipeline = outcome.track, outcome.config, outcome.pipeline
    return {
        "toolkit": __version__,
        "task": "+".join(track.task_names),
        "source": {
            **{
                k: v
                for k, v in asdict(outcome.source.info).items()
                if k not in ("numbers", "counted", "names")
            },
            "dropped": outcome.source.dropped,
            "outages": outcome.log.outages,
            "ended_early": outcome.source.ended_early,
        },
        "bundle": {
            "path": str(track.run.bundle_path),
            "backbone": bundle.spec.backbone,
            "layer": bundle.spec.layer,
            "precision": bundle.spec.precision,
            "sha256": {name: graph.sha256 for name, graph in bundle.spec.graphs.items()},
        },
        "backend": {"asked": track.run.backend, "in_use": graphs.backends_in_use},
        "engines": graphs.reports,
        "threads": track.run.threads or "all",
        "tasks": {
            parameters.task: {
                "parameters": asdict(parameters),
                **_inputs(parameters.task, track, config),
                "identities": runner.identities,
                "filled": filled,
                "dropped": runner.dropped(),
                "output": str(outputs[parameters.task]),
            }
            for parameters, runner, filled in zip(
                track.tasks, outcome.task_runners, pipeline.filled, strict=True
            )
        },
        "frames": pipeline.written,
        "predicted_frames": pipeline.predicted,
        "pace": _pace(pipeline),
        "backbone": {
            "frames_without": pipeline.without_backbone,
            "pixels_per_frame": round(pipeline.backbone_pixels / max(1, pipeline.frames)),
        },
        "identities": sum(runner.identities for runner in outcome.task_runners),
        "interrupted": pipeline.interrupted,
        "elapsed_s": round(pipeline.elapsed_s, 3),
        "fps": frames_per_second(pipeline),
        "lost_frames": dict(outcome.lost_frames),
        "stages_ms": pipeline.times.summary_ms(),
        "peak_memory_mb": peak_memory_mb(),
        "versions": _versions(),
        "config": config_data(track, (config,)),
        "defaults": default_data(track, config),
    }


def config_data(
    track: TrackConfig, sources: Sequence[SourceConfig] | None = None
) -> dict[str, Any]:
    """What reproduces a run: every field that is not at its default.

    Args:
        track: What the run was asked for.
        sources: Of them these; None: all.
    """
    chosen = track.sources if sources is None else sources
    return {
        "sources": [{**_recorded(s), "source": redact(s.source)} for s in chosen],
        "tasks": {config.task: _recorded(config) for config in track.tasks},
        "detector": _recorded(track.detector),
        "run": _recorded(track.run),
    }


def default_data(track: TrackConfig, source: SourceConfig) -> dict[str, Any]:
    """The fields of a run over one source that are at their default.

    Defaults change from version to version; beside `config_data`, these reproduce the run even so.
    """
    return {
        "sources": _recorded(source, usual=True),
        "tasks": {config.task: _recorded(config, usual=True) for config in track.tasks},
        "detector": _recorded(track.detector, usual=True),
        "run": _recorded(track.run, usual=True),
    }


def _recorded(config: Any, *, usual: bool = False) -> dict[str, Any]:
    """The values that are not at their default, or those that are, numbers of a preset included."""
    found = {}
    for parameter in fields(config):
        value = getattr(config, parameter.name)
        if parameter.default is MISSING or not parameter.metadata.get("recorded", True):
            continue
        if usual == (isinstance(value, PresetNumber) or value == parameter.default):
            found[parameter.name] = str(value) if isinstance(value, Path) else value
    return found


def source_summary(outcome: Outcome) -> dict[str, Any]:
    """What the common `run.json` of several sources says of one that was opened."""
    return {
        "frames": outcome.pipeline.written,
        "fps": frames_per_second(outcome.pipeline),
        "elapsed_s": round(outcome.pipeline.elapsed_s, 3),
        "identities": sum(runner.identities for runner in outcome.task_runners),
        "dropped": outcome.source.dropped,
        "lost_frames": dict(outcome.lost_frames),
        "outages": outcome.log.outages,
        "ended_early": outcome.source.ended_early,
    }


def frames_per_second(pipeline: Pipeline) -> float:
    """Of the whole loop."""
    return round(pipeline.frames / pipeline.elapsed_s, 2) if pipeline.elapsed_s else 0.0


def multi_source_report(
    sources: Mapping[str, Mapping[str, Any]], elapsed_s: float, *, interrupted: bool
) -> dict[str, Any]:
    """The contents of the common `run.json` of several sources.

    Args:
        sources: What is said of each source, by its short name.
        elapsed_s: Wall time, the loading of the graphs included.
        interrupted: Whether the user ended the run.
    """
    frames = sum(source.get("frames", 0) for source in sources.values())
    loop_s = max(source.get("elapsed_s", 0.0) for source in sources.values())
    return {
        "toolkit": __version__,
        "sources": dict(sources),
        "frames": frames,
        "fps": round(frames / loop_s, 2) if loop_s else 0.0,
        "interrupted": interrupted,
        "elapsed_s": round(elapsed_s, 3),
        "peak_memory_mb": peak_memory_mb(),
        "versions": _versions(),
    }


def run_notes(outcome: Outcome) -> tuple[str, ...]:
    """What people should know of the run, a line each."""
    source, pipeline = outcome.source, outcome.pipeline
    notes = [] if source.ended_early is None else [source.ended_early]
    notes += source.notes()
    frames = pipeline.end if pipeline.exhausted else None
    for runner in outcome.task_runners:
        if runner.detector is not None:
            notes += [note for note in runner.detector.notes(frames) if note not in notes]
        notes += _without_objects(outcome, runner)
    for config, filled in zip(outcome.track.tasks, pipeline.filled, strict=True):
        if isinstance(config, TrackedConfig) and config.fill_gaps:
            notes.append(
                f"{config.task}: {count(filled, 'box', 'boxes')} put into gaps of up to "
                f"{config.fill_gaps:g} s (--{config.task}-fill-gaps), marked predicted"
            )
    notes += _format_notes(outcome)
    notes += _detector_notes(outcome)
    notes += outcome.log.notes()
    for name, lost in outcome.lost_frames.items():
        notes.append(f"{lost} frames are not in {name}, which could not be written")
    if source.dropped:
        late = count(source.dropped, "frame", "frames")
        was = "was" if source.dropped == 1 else "were"
        notes.append(f"{late} of the live source came too fast and {was} dropped")
    return tuple(notes)


def drop_notes(outcome: Outcome) -> tuple[str, ...]:
    """What no result holds, a line a reason; `run.json` has the numbers, a task's with it."""
    runners = outcome.task_runners
    notes: list[str] = []
    for runner in runners:
        found = [] if runner.detector is None else runner.detector.drop_notes()
        notes += [note for note in found if note not in notes]
        whose = f"{runner.task}: " if len(runners) > 1 else ""
        notes += [f"{whose}{note}" for note in runner.head.drop_notes()]
    return tuple(notes)


def _without_objects(outcome: Outcome, runner: TaskRunner) -> list[str]:
    """Why a task has no result, where no line on what was dropped says so."""
    detector, frames = runner.detector, outcome.pipeline.frames
    if runner.identities or not frames or detector is None:
        return []
    if detector.drop_notes() or runner.head.drop_notes():
        return []
    detections, chosen = outcome.config.detections, outcome.track.detector
    origin = detections or chosen.detector
    shown = count(frames, "frame", "frames")
    spoken = detector.numbered_frames()
    of_score, where, least = "", "", chosen.detector_confidence
    if detections is None and least is not None:
        of_score = f" of score {least:g} (--detector-confidence) or more"
    if spoken is not None and len(spoken[0]):
        first, last = (int(spoken[0][k]) + spoken[1] for k in (0, -1))
        frames_of = f"frame {first}" if first == last else f"frames {first} to {last}"
        where = f": it is about {frames_of}"
    return [f"{runner.task}: 0 objects, because {origin} gave none{of_score} in {shown}{where}"]


def _format_notes(outcome: Outcome) -> list[str]:
    """What stands for a class that is not known, in formats that have no word for that."""
    written = _UNKNOWN_IN.get(outcome.track.run.format or "")
    rows = sum(runner.unclassed for runner in outcome.task_runners)
    if written is None or not rows:
        return []
    fix = "" if outcome.config.detections is None else "; --detections-class NAME says which it is"
    return [
        f"--format {outcome.track.run.format}: the class of {count(rows, 'box', 'boxes')} is not "
        f"known: {written}{fix}"
    ]


def _detector_notes(outcome: Outcome) -> list[str]:
    """In how many frames the detector ran, where the user left that open or cannot know it."""
    every, pipeline = outcome.track.detector.detect_every, outcome.pipeline
    needed = pipeline.detected + pipeline.predicted
    info, notes = outcome.source.info, []
    if every == "auto" and pipeline.predicted and not info.live:
        fps, rate = frames_per_second(pipeline), info.fps or 0.0
        notes.append(
            f"--detect-every auto: the detector ran in {pipeline.detected} of "
            f"{needed} frames, to keep up with {rate:g} FPS"
            + (f"; the run came to {fps:g}" if fps < _KEPT_UP * rate else "")
        )
    if every != "1" and 0 < needed < pipeline.frames:
        notes.append(
            f"--detect-every {every} had no effect after the first {needed} of "
            f"{pipeline.frames} frames: what --init {outcome.config.init} found needs no detector"
        )
    return notes


def _inputs(task: str, track: TrackConfig, config: SourceConfig) -> dict[str, Any]:
    """Where a task's first frame or detections came from, and the models besides the bundle's."""
    spec, chosen = TASKS[task], track.detector
    init = {} if spec.prompt is None else {"init": config.init}
    if init and not starts_from_detector(config.init):
        return init
    models = {
        "detector": None if chosen.detector in BUILT_IN else chosen.detector,
        f"{spec.person_model}_model": chosen.person_model(spec),
    }
    return {
        **init,
        "detections": str(config.detections or chosen.detector),
        "models": {name: str(path) for name, path in models.items() if path is not None},
    }


def peak_memory_mb(status: Path = _STATUS) -> float | None:
    """Largest resident size of this process so far, in MB (1e6 bytes); None on Windows.

    On Linux from /proc: what `getrusage` says is inherited from the parent process.
    """
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    if sys.platform == "win32":
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6, 1)


def _pace(pipeline: Pipeline) -> dict[str, float] | None:
    """What is done at the end to keep up with a live source, and how many steps led there."""
    pace = pipeline.pace
    if pace is None:
        return None
    return {
        "detect_every": pipeline.detect_every,
        "image_scale": pace.scale,
        "steps_down": pace.down,
        "steps_up": pace.up,
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    packages = (
        "numpy",
        "opencv-python",
        "av",
        "pillow",
        "onnxruntime",
        "onnxruntime-gpu",
        "filterpy",
        "lap",
    )
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
