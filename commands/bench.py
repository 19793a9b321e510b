"""`cli bench` and `cli tune`."""

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
from .console.report import Report, ReportOutput
from .options.shared import (
    FiniteRange,
    FormerReportFiles,
    backends_option,
    bundle_argument,
    check_size,
    report_options,
    size_option,
    threads_option,
    weights_option,
)
from .options.track import command_line, config_from, config_options, one_each, task_config

if TYPE_CHECKING:
    from ..evaluation.benchmark.measure import Side
    from ..evaluation.benchmark.tuning import Trial, Tuned
    from ..runtime.bundle.bundle import Bundle


TASKS = ("mot", "mots", "posetrack", "vos", "pose", "sot")
DETECTED = TASKS[:3]
DEFAULT_OBJECTS = 10


@click.command("bench", cls=FormerReportFiles)
@bundle_argument
@click.option(
    "--task", type=click.Choice(TASKS), help="What to measure; left out for a detector's bundle."
)
@click.option(
    "--source",
    help="Footage of your own: a video, a folder of images, a camera.  [default: a procedural "
    "scene]",
)
@click.option(
    "--objects",
    type=click.IntRange(min=1, max=64),
    help="Number of figures in the scene, or of synthetic objects on --source.  "
    f"[default: {DEFAULT_OBJECTS}]",
)
@click.option(
    "--detector",
    metavar="NAME|FILE",
    help="Detector that runs where overlapping stages are measured, for tasks mot, mots and "
    "posetrack: as of `cli track`.  [default: detections are given and take no time]",
)
@size_option(
    "Size of the scene's frames and of the network's image.  [default: what the task works at: "
    "608x1088, or 480x854 for vos, pose and sot]"
)
@backends_option("cpu")
@click.option(
    "--against",
    metavar="pytorch|BUNDLE2",
    help="Also measure PyTorch eager on the same graphs, or another bundle.",
)
@weights_option
@click.option(
    "--rounds",
    type=click.IntRange(2, 10_000),
    default=5,
    show_default=True,
    help="Rounds of frames.",
)
@click.option(
    "--frames",
    type=click.IntRange(2, 100_000),
    default=12,
    show_default=True,
    help="Frames per round and backend: forward and back over half as many.",
)
@threads_option
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw latency over time: a .png, .svg or .pdf.",
)
@report_options
def command(
    bundle: Path,
    task: str | None,
    source: str | None,
    objects: int | None,
    detector: str | None,
    size_hw: tuple[int, int] | None,
    backends: tuple[str, ...],
    against: str | None,
    weights: Path | None,
    rounds: int,
    frames: int,
    threads: int,
    plot_file: Path | None,
    report_to: ReportOutput,
) -> None:
    """Measure latency, memory and energy of a task, backends side by side.

    Of the bundle of a detector, pose or mask model, the latency of a frame: on its backends, and of
    another bundle or ONNX file with --against.

    All backends work on the same frames in memory, taking turns frame by frame after a warm-up;
    then each runs by itself for its memory and energy. Ratios are of neighbouring frames. It says
    so where the machine was too noisy to conclude.

    Timed is the full method. Beside it stand what the defaults of `cli track` save, how near
    overlapping stages come to what the slower one allows, and the backbone's operations and bytes a
    second beside a matrix product and a copy (roofline).

    \b
    Examples:
      cli bench bundles/efficientnet-lite0 --task mot --objects 30
      cli bench bundles/imagenet-r18 --task vos --against pytorch --plot vos.png
      cli bench bundles/efficientnet-lite0 --task mot --source street.mp4 --detector movenet
      cli bench bundles/mine --task mot --backend cpu --backend tensorrt --json-file mine.json
    """
    from ..evaluation.benchmark import report as bench
    from ..evaluation.benchmark.measure import BenchRequest
    from ..runtime.bundle.bundle import Bundle
    from .console.steps import progress_bar

    if against == "":
        raise RequestError("--against: got an empty value, expected pytorch or a bundle")
    if detector is not None and task not in DETECTED:
        given = "no --task" if task is None else f"--task {task}"
        raise RequestError(f"--detector belongs to --task {'|'.join(DETECTED)}, got {given}")
    if task is None:
        used = dict.fromkeys(backends or ("cpu",))
        _bench_detector(
            bundle, source, size_hw, tuple(used), against, rounds, frames, threads, report_to
        )
        return
    _check(task, source, objects, size_hw, against, weights)
    if plot_file is not None:
        bench.check_plotting(plot_file)
    sides = _sides(bundle, tuple(dict.fromkeys(backends or ("cpu",))), against, weights)
    loaded = [Bundle.load(path) for path in dict.fromkeys(side.bundle for side in sides)]
    request = BenchRequest(
        task,
        sides,
        source,
        objects or DEFAULT_OBJECTS,
        _image_size(task, source, size_hw, loaded),
        rounds,
        frames,
        threads=threads,
        detector=detector,
    )
    with progress_bar(lambda: "no report was written") as progress:
        measured = bench.run_bench(request, progress)
    if plot_file is not None:
        bench.plot_latency(measured, plot_file)
    report_to.show(
        Report(
            bench.report_data(measured),
            bench.tables(measured),
            [bench.headline(measured)],
            measured.notes(),
            document=bench.report_markdown(measured),
        )
    )


def _bench_detector(
    bundle: Path,
    source: str | None,
    size_hw: tuple[int, int] | None,
    backends: tuple[str, ...],
    against: str | None,
    rounds: int,
    frames: int,
    threads: int,
    report_to: ReportOutput,
) -> None:
    from ..evaluation.benchmark.detectors import (
        DetectorSide,
        measure_detectors,
        times_data,
        times_table,
    )
    from ..evaluation.benchmark.workload import footage_workload, scene_workload
    from ..runtime.bundle.bundle import Bundle

    spec = Bundle.load(bundle).spec
    if spec.kind == "backbone":
        raise RequestError(f"{bundle} is the bundle of a backbone: add --task {'|'.join(TASKS)}")
    tasks = () if spec.kind == "detector" else ("mot",)
    if source is None:
        workload = scene_workload(frames, size_hw or (480, 640), DEFAULT_OBJECTS, tasks)
    else:
        workload = footage_workload(source, frames, DEFAULT_OBJECTS, tasks)
    models = [bundle, *([] if against is None else [Path(against)])]
    several = len(spec.graphs) > 1
    sides = [
        DetectorSide(
            f"{model.name} {graph} {name}" if several else f"{model.name} {name}",
            *(model, name, graph),
        )
        for graph in spec.graphs
        for model in models
        for name in backends
    ]
    seen = workload.detected.get("mot", ())
    measured = measure_detectors(sides, workload.frames, rounds, threads, seen)
    clip = {"name": workload.name, "size": "x".join(map(str, workload.size_hw))}
    headline = f"{workload.name}, {clip['size']}: {rounds} rounds of {len(workload.frames)} frames"
    report_to.show(Report(times_data(measured, clip), [times_table(measured)], [headline]))


def _check(
    task: str,
    source: str | None,
    objects: int | None,
    size_hw: tuple[int, int] | None,
    against: str | None,
    weights: Path | None,
) -> None:
    if source is not None and size_hw is not None:
        raise RequestError("--size is that of the scene, a --source has its own: give one of them")
    if task == "sot" and objects is not None:
        raise RequestError("task sot follows one object: leave out --objects")
    if weights is not None and against != "pytorch":
        raise RequestError("--weights are for PyTorch: add --against pytorch, or leave them out")


def _sides(
    bundle: Path, backends: tuple[str, ...], against: str | None, weights: Path | None
) -> tuple[Side, ...]:
    from ..evaluation.benchmark.measure import PYTORCH, Side

    sides = [Side(name, bundle, name) for name in backends]
    if against is None:
        return tuple(sides)
    if against == PYTORCH:
        # What runs on a GPU is compared with PyTorch on that GPU.
        on_gpu = any(BACKENDS[name].onnx_device != "cpu" for name in backends)
        device = "cuda" if on_gpu else "cpu"
        return (*sides, Side(f"{PYTORCH} ({device})", bundle, PYTORCH, weights, device))
    other = Path(against)
    names = [path.absolute().name for path in (bundle, other)]
    if names[0] == names[1]:
        names = [str(bundle), against]
    both = [Side(f"{names[0]} {name}", bundle, name) for name in backends]
    both += [Side(f"{names[1]} {name}", other, name) for name in backends]
    return tuple(both)


def _image_size(
    task: str, source: str | None, size_hw: tuple[int, int] | None, bundles: list[Bundle]
) -> tuple[int, int] | None:
    """The network's image; None: what the head itself asks for."""
    from ..evaluation.benchmark.workload import DEFAULT_SIZE

    if source is not None or task == "sot":
        return size_hw
    size = size_hw or next((b.spec.sizes_hw[0] for b in bundles if b.spec.sizes_hw), None)
    size = size or DEFAULT_SIZE[task]
    for bundle in bundles:
        check_size(bundle, size)
    return size


_TUNED_SOURCE = ("init", "detections", "detections_class", "strict", "value_range", "frame_numbers")
_TUNED_DETECTOR = tuple(one.name for one in fields(DetectorConfig) if one.name != "detect_every")


@click.command("tune")
@bundle_argument
@click.option("--task", type=click.Choice(TASKS), required=True, help="What to track.")
@click.option(
    "--source", required=True, help="A clip of yours: a video file or a folder of images."
)
@click.option(
    "--fps",
    "wanted_fps",
    type=FiniteRange(min=0, min_open=True),
    help="Frames a second to keep up with.  [default: the source's own]",
)
@click.option(
    "--budget",
    type=FiniteRange(min=1),
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
@config_options(SourceConfig, "Sources", only=_TUNED_SOURCE)
@config_options(DetectorConfig, "Detections", only=_TUNED_DETECTOR)
@report_options
def tune(
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
    from ..evaluation.benchmark import tuning
    from ..runtime.sources.open import open_source
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
    # What is not there is said before any model is fetched.
    present = _present(bundle)
    tuning.check_clip(config.sources[0])
    with open_source(source):
        pass
    prepare_models(config)
    request = tuning.TuneRequest(config, wanted_fps, budget, frames, backends or present)
    with progress_bar(lambda: "no report was written") as progress:
        tuned = tuning.tune(request, progress)
    proposed = tuned.proposed
    found = command_line(proposed.setting.of(config))
    report_to.show(
        Report(
            _tuned_data(tuned, config),
            [tuning.tune_table(tuned)],
            [_tuned_heading(tuned)],
            _tuned_notes(tuned),
            [f"proposed: {proposed.setting.name}", found],
        )
    )


def _present(bundle: Path) -> tuple[str, ...]:
    """The backends that run a bundle here; the CPU where none does, which then says why."""
    from ..evaluation.parity.report import present_backends
    from ..runtime.bundle.bundle import Bundle

    return tuple(present_backends(Bundle.load(bundle))[0]) or tuple(BACKENDS)[:1]


def _tuned_heading(tuned: Tuned) -> str:
    height, width = tuned.clip.size_hw or (0, 0)
    return (
        f"{Path(tuned.clip.name).name}, {width}x{height}; {tuned.frames} frames a setting, to keep "
        f"up with {tuned.wanted_fps:g} FPS; {tuned.spent_s:.0f} s"
    )


def _tuned_notes(tuned: Tuned) -> list[str]:
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


def _tuned_data(tuned: Tuned, config: TrackConfig) -> dict[str, Any]:
    from ..evaluation.benchmark.report import describe_machine

    (task,) = config.task_names
    return {
        "task": task,
        "source": Path(tuned.clip.name).name,
        "size_hw": None if tuned.clip.size_hw is None else list(tuned.clip.size_hw),
        "frames": tuned.frames,
        "wanted_fps": tuned.wanted_fps,
        "spent_s": tuned.spent_s,
        "settings": [_tuned_row(trial, config) for trial in tuned.trials],
        "proposed": tuned.proposed.setting.name,
        "keeps_up": bool(tuned.keeping_up),
        "command": command_line(tuned.proposed.setting.of(config)),
        "not_tried": tuned.not_tried,
        "failed": tuned.failed,
        "machine": describe_machine(),
    }


def _tuned_row(trial: Trial, config: TrackConfig) -> dict[str, Any]:
    return {
        "setting": trial.setting.name,
        "fps": trial.fps,
        "cpu_ms": trial.cpu_ms,
        "agreement": dict(trial.agreement),
        "backbone_pixels": trial.pixels,
        "frames_without_backbone": trial.without_backbone,
        "command": command_line(trial.setting.of(config)),
    }
