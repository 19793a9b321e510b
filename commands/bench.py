"""`cli bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import RequestError
from ..runtime.inference.registry import BACKENDS
from .console.report import Report, ReportOutput
from .options.shared import (
    FormerReportFiles,
    backends_option,
    bundle_argument,
    check_size,
    report_options,
    size_option,
    threads_option,
    weights_option,
)

if TYPE_CHECKING:
    from ..evaluation.benchmark.measure import Side
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
    "--rounds", type=click.IntRange(min=2), default=5, show_default=True, help="Rounds of frames."
)
@click.option(
    "--frames",
    type=click.IntRange(min=2),
    default=12,
    show_default=True,
    help="Frames per round and backend: forward and back over half as many.",
)
@threads_option
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(path_type=Path),
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
    with progress_bar(lambda: "nothing was written") as progress:
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
