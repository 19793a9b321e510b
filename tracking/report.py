"""What `run.json` says of a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from .. import __version__
from ..runtime.bundle.bundle import Bundle
from ..runtime.detectors.base import MOTION
from ..runtime.events import SourceLog
from ..runtime.inference.runner import GraphRunner
from ..runtime.pipeline import Pipeline, TaskRunner
from ..runtime.sources.base import Source
from .config import TrackRequest


def run_report(
    requests: Sequence[TrackRequest],
    source: Source,
    bundle: Bundle,
    graphs: GraphRunner,
    pipeline: Pipeline,
    task_runners: Sequence[TaskRunner],
    log: SourceLog,
) -> dict[str, Any]:
    """The contents of `run.json`; no credentials are among them."""
    info, request = source.info, requests[0]
    return {
        "toolkit": __version__,
        "task": "+".join(r.task for r in requests),
        "source": {
            **asdict(info),
            "dropped": source.dropped,
            "outages": log.outages,
            "ended_early": source.ended_early,
        },
        "bundle": {
            "path": str(request.bundle),
            "backbone": bundle.spec.backbone,
            "layer": bundle.spec.layer,
            "precision": bundle.spec.precision,
            "sha256": {name: graph.sha256 for name, graph in bundle.spec.graphs.items()},
        },
        "backend": {"asked": request.backend, "in_use": graphs.backends_in_use},
        "engines": graphs.reports,
        "threads": request.threads or "all",
        "tasks": {
            r.task: {
                "parameters": asdict(r.config),
                "detections": str(r.detections or r.detector or r.init),
                "models": _models(r),
                "identities": len(task_runner.ids),
                "output": str(r.output),
            }
            for r, task_runner in zip(requests, task_runners, strict=True)
        },
        "frames": pipeline.frames,
        "identities": sum(len(task_runner.ids) for task_runner in task_runners),
        "interrupted": pipeline.interrupted,
        "elapsed_s": round(pipeline.elapsed_s, 3),
        "fps": frames_per_second(pipeline),
        "stages_ms": pipeline.times.summary_ms(),
        "peak_memory_mb": peak_memory_mb(),
        "versions": _versions(),
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


def _models(request: TrackRequest) -> dict[str, str]:
    """The models besides the bundle's that ran for a task, by their flag's name."""
    detector = None if request.detector == MOTION else request.detector
    named = {
        "detector": detector,
        "pose_model": request.person_pose_model,
        "mask_model": request.person_mask_model,
    }
    return {name: str(path) for name, path in named.items() if path is not None}


def peak_memory_mb() -> float | None:
    """Largest resident size of this process so far, in MB (1e6 bytes); None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6, 1)


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
