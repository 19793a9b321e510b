"""`cli parity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import BackendError, ExportError, RequestError, UnitrackError
from .console.report import Report, ReportOutput
from .options.shared import (
    backends_option,
    bundle_argument,
    check_size,
    report_options,
    size_option,
    threads_option,
    weights_option,
)

if TYPE_CHECKING:
    from ..evaluation.benchmark.workload import Workload
    from ..evaluation.parity.graphs import Rounded
    from ..evaluation.parity.report import ParityReport
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.inference.runner import GraphRunner


_OBJECTS = 5


@click.command("parity")
@bundle_argument
@click.option(
    "--frames",
    "source",
    metavar="SOURCE",
    help="Footage to compare on: a video, a folder of images, a camera.  [default: a procedural "
    "scene]",
)
@click.option(
    "--count",
    type=click.IntRange(2, 100_000),
    default=12,
    show_default=True,
    help="Number of frames to compare tasks on.",
)
@size_option(
    "Network image of the tasks, and size of the scene's frames.  [default: 288x512, or the "
    "bundle's own size]"
)
@backends_option("every one that runs here")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="BUNDLE2",
    help="Compare with another bundle on the CPU, instead of PyTorch; needs no PyTorch.",
)
@weights_option
@threads_option
@click.option("--graphs-only", is_flag=True, help="Compare graphs only, no tasks.")
@report_options
def command(
    bundle: Path,
    source: str | None,
    count: int,
    size_hw: tuple[int, int] | None,
    backends: tuple[str, ...],
    against: Path | None,
    weights: Path | None,
    threads: int,
    graphs_only: bool,
    report_to: ReportOutput,
) -> None:
    """Compare a bundle with PyTorch, graph by graph and task by task.

    The bundle of a detector, pose or mask model is compared with the ONNX file that it was made
    from (--weights FILE.onnx), with --against BUNDLE2, or with itself on the CPU.

    Every graph runs on every backend at several sizes, then all six tasks on the same frames, by
    the full method. Rows of their own, which are not judged, say how far the defaults that look
    only where they must are from it: masks in focus, appearance on demand. The result is kept as
    parity.json in the bundle. Exit status 1 where a bound of the bundle's precision is exceeded;
    the first graph that diverges is named.

    \b
    Examples:
      cli parity bundles/efficientnet-lite0
      cli parity bundles/street-int8 --against bundles/street --frames street.mp4
      cli parity bundles/mine --weights checkpoint.pth --backend cpu --backend tensorrt
    """
    from rich.console import Console

    from ..evaluation.benchmark.workload import TASKS
    from ..evaluation.parity.report import PARITY_FILE, compare, write_report
    from ..runtime.bundle.bundle import Bundle
    from .console.steps import interruptible, not_written

    if against is not None and weights is not None:
        raise RequestError("--weights are for PyTorch, --against takes its place: give one of them")
    loaded = Bundle.load(bundle)
    untouched = interruptible(lambda: not_written(bundle / PARITY_FILE))
    if loaded.spec.kind != "backbone":
        with untouched:
            _compare_model(
                loaded, source, count, size_hw, backends, against, weights, threads, report_to
            )
        return
    size_hw = _image_size(loaded, size_hw)
    workload = _workload(source, count, size_hw, () if graphs_only else TASKS)
    tasks = () if graphs_only else _tasks(loaded, TASKS)
    with untouched, Console(stderr=True).status("comparing") as status:
        status.update("looking for backends")
        chosen, absent = _backends(loaded, backends, threads)
        name, reference, rounded = _reference(loaded, against, weights, threads)
        with reference:
            report = compare(
                loaded,
                reference,
                chosen,
                workload,
                name=name,
                threads=threads,
                size_hw=size_hw,
                tasks=tasks,
                rounded=rounded,
                absent=absent,
                progress=lambda step: status.update(f"comparing {step}"),
            )
    path = write_report(report, loaded)
    report_to.show(
        _report(report, loaded, skipped=[t for t in TASKS if t not in tasks and not graphs_only])
    )
    excesses = report.excesses()
    if excesses:
        more = f" ({len(excesses)} bounds in all)" if len(excesses) > 1 else ""
        raise UnitrackError(
            f"{excesses[0]} for precision {report.precision}{more}: see {path}; export or "
            "calibrate the bundle again, or choose another --backend"
        )


def _compare_model(
    bundle: Bundle,
    source: str | None,
    count: int,
    size_hw: tuple[int, int] | None,
    backends: tuple[str, ...],
    against: Path | None,
    weights: Path | None,
    threads: int,
    report_to: ReportOutput,
) -> None:
    from ..evaluation.parity import detectors, persons

    person = bundle.spec.kind == "person"
    workload = _workload(source, count, size_hw or (480, 640), ("mot",) if person else ())
    chosen, absent = _backends(bundle, backends, threads)
    reference, frames = against or weights or bundle.path, workload.frames
    if person:
        seen = workload.detected["mot"]
        of_persons = persons.compare_persons(bundle, reference, chosen, frames, seen, threads)
        rows, table = persons.rows_data(bundle, of_persons), persons.parity_table(of_persons)
    else:
        found = detectors.compare_detector(bundle, reference, chosen, frames, threads)
        rows, table = detectors.rows_data(bundle, found), detectors.parity_table(found)
    named = "itself" if reference == bundle.path else reference.absolute().name
    clip = {
        "name": workload.name,
        "frames": len(workload.frames),
        "size": "x".join(map(str, workload.size_hw)),
    }
    data = detectors.parity_data(bundle, f"{named} on cpu", clip, rows)
    path = detectors.write_parity(bundle, data)
    notes = [f"not available: {', '.join(absent)}; `cli doctor` says why"] if absent else []
    headline = f"{bundle.path} ({bundle.spec.precision}) against {named} on cpu"
    report_to.show(Report(data, [table], [headline], notes))
    if data["first_exceeded"]:
        raise UnitrackError(
            f"{data['first_exceeded']} for precision {bundle.spec.precision}: see {path}; export "
            "the bundle again, or choose another --backend"
        )


def _image_size(bundle: Bundle, size_hw: tuple[int, int] | None) -> tuple[int, int]:
    sizes = bundle.spec.sizes_hw
    if size_hw is None:
        return sizes[0] if sizes else (288, 512)
    check_size(bundle, size_hw)
    return size_hw


def _workload(
    source: str | None, count: int, size_hw: tuple[int, int], tasks: Sequence[str]
) -> Workload:
    from ..evaluation.benchmark.workload import footage_workload, scene_workload

    if source is not None:
        return footage_workload(source, count, _OBJECTS, tasks)
    return scene_workload(count, size_hw, _OBJECTS, tasks)


def _tasks(bundle: Bundle, tasks: tuple[str, ...]) -> tuple[str, ...]:
    """All that the bundle can do: `sot` looks at crops of its own size."""
    sizes = bundle.spec.sizes_hw
    cells = bundle.graph("dcf_update").inputs[0].shape[1]
    side = int(cells) * bundle.spec.stride
    return tuple(t for t in tasks if t != "sot" or not sizes or (side, side) in sizes)


def _backends(
    bundle: Bundle, asked: tuple[str, ...], threads: int
) -> tuple[list[str], dict[str, str]]:
    from ..evaluation.parity.report import present_backends

    if asked:
        return list(dict.fromkeys(asked)), {}
    present, absent = present_backends(bundle, threads)
    if not present:
        raise BackendError(f"no backend runs this bundle here: {'; '.join(absent.values())}")
    return present, absent


def _reference(
    bundle: Bundle, against: Path | None, weights: Path | None, threads: int
) -> tuple[str, GraphRunner, Rounded | None]:
    """Its name, what runs it, and what float16 costs it where it can tell."""
    from ..runtime.bundle.bundle import Bundle as Loaded
    from ..runtime.inference.runner import GraphRunner

    if against is not None:
        other = Loaded.load(against)
        check_comparable(bundle, other)
        # The report travels with the bundle: a path of this machine means nothing elsewhere.
        return f"bundle {against.absolute().name} on cpu", GraphRunner(other, "cpu", threads), None
    try:
        from ..evaluation.parity.torch import TorchGraphs
    except ImportError as error:
        raise ExportError(
            f"comparing with PyTorch needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]', or compare with --against BUNDLE2"
        ) from error
    graphs = TorchGraphs(bundle, weights, threads)
    return "PyTorch eager, fp32, cpu", graphs, graphs.rounded


def check_comparable(bundle: Bundle, other: Bundle) -> None:
    """Refuse two bundles that do not compute the same.

    Raises:
        RequestError: They differ in backbone, layer, weights or graphs.
    """
    for what, one, two in (
        ("backbone", bundle.spec.backbone, other.spec.backbone),
        ("layer", bundle.spec.layer, other.spec.layer),
        ("weights", bundle.spec.weights.get("sha256"), other.spec.weights.get("sha256")),
        ("top-k", bundle.spec.parameters["top_k"], other.spec.parameters["top_k"]),
        ("graphs", sorted(bundle.spec.graphs), sorted(other.spec.graphs)),
    ):
        if one != two:
            raise RequestError(
                f"--against {other.path}: its {what} is {two!s:.60}, that of {bundle.path} is "
                f"{one!s:.60}: give a bundle of the same network"
            )


def _report(report: ParityReport, bundle: Bundle, skipped: list[str]) -> Report:
    from ..evaluation.parity.report import defaults_table, graph_table, task_table

    clip = report.clip
    absent = ", ".join(report.absent)
    notes = [f"not available: {absent}; `cli doctor` says why"] if absent else []
    notes += [f"not compared: {task}, whose crops this bundle does not take" for task in skipped]
    tables = [graph_table(report)]
    tables += [task_table(report)] if report.tasks else []
    tables += [defaults_table(report)] if report.defaults else []
    return Report(
        report.to_json(bundle),
        tables,
        [
            f"{bundle.path} ({report.precision}) against {report.reference}; {clip['frames']} "
            f"frames of {clip['size']}, {clip['name']}"
        ],
        notes,
    )
