"""What `run.json` says of a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from ..heads.config import PresetNumber
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


def run_report(
    track: TrackConfig,
    config: SourceConfig,
    outputs: Mapping[str, Path],
    source: Source,
    bundle: Bundle,
    graphs: GraphRunner,
    pipeline: Pipeline,
    task_runners: Sequence[TaskRunner],
    log: SourceLog,
) -> dict[str, Any]:
    """The contents of a source's `run.json`; no credentials are among them.

    Args:
        track: What the run was asked for.
        config: The source.
        outputs: Folder of results by task.
        source: Where the frames came from.
        bundle: Whose graphs ran.
        graphs: What ran them.
        pipeline: What drove the tasks.
        task_runners: One a task, in the order of `track.tasks`.
        log: What happened to the source.
    """
    return {
        "toolkit": __version__,
        "task": "+".join(track.task_names),
        "source": {
            **{
                k: v
                for k, v in asdict(source.info).items()
                if k not in ("numbers", "counted", "names")
            },
            "dropped": source.dropped,
            "outages": log.outages,
            "ended_early": source.ended_early,
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
                track.tasks, task_runners, pipeline.filled, strict=True
            )
        },
        "frames": pipeline.written,
        "predicted_frames": pipeline.predicted,
        "pace": _pace(pipeline),
        "backbone": {
            "frames_without": pipeline.without_backbone,
            "pixels_per_frame": round(pipeline.backbone_pixels / max(1, pipeline.frames)),
        },
        "identities": sum(runner.identities for runner in task_runners),
        "interrupted": pipeline.interrupted,
        "elapsed_s": round(pipeline.elapsed_s, 3),
        "fps": frames_per_second(pipeline),
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


def source_summary(
    source: Source, pipeline: Pipeline, task_runners: Sequence[TaskRunner], log: SourceLog
) -> dict[str, Any]:
    """What the common `run.json` of several sources says of one that was opened."""
    return {
        "frames": pipeline.written,
        "fps": frames_per_second(pipeline),
        "elapsed_s": round(pipeline.elapsed_s, 3),
        "identities": sum(runner.identities for runner in task_runners),
        "dropped": source.dropped,
        "outages": log.outages,
        "ended_early": source.ended_early,
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
        "lap",
    )
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
