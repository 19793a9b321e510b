"""One comparison of a bundle with a reference: every graph, then whole tasks; and its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import BackendError
from ...records import UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.registry import BACKENDS
from ...runtime.inference.runner import GraphRunner
from ...runtime.tables import TextTable
from ...runtime.writers.base import write_json_atomic
from ...version import __version__
from ..benchmark.workload import TASKS, Workload, scene_workload
from .feeds import SHARES, feeds_of
from .graphs import (
    GRAPH_BOUNDS,
    TASK_BOUNDS,
    GraphBounds,
    GraphParity,
    Rounded,
    bounds_of,
    compare_graph,
)
from .tasks import (
    DefaultParity,
    TaskParity,
    bound_of,
    compare_defaults,
    compare_tasks,
    run_from_same_state,
    run_tasks,
)

PARITY_FILE = "parity.json"
"""Its name in the bundle; nothing reads it back."""

Progress = Callable[[str], None]
"""Called with what is compared next."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The result of a comparison.

    Attributes:
        precision: Of the bundle: which bounds count.
        reference: What it was compared with.
        clip: Name of the frames, their number and size.
        graphs: In the order of the pipeline, one backend after the other.
        tasks: Likewise.
        absent: Backends that are not here, and why.
        defaults: Of the tasks whose default looks only where it must, how far it is from the full
            method; no bound applies.
    """

    precision: str
    reference: str
    clip: Mapping[str, Any]
    graphs: tuple[GraphParity, ...]
    tasks: tuple[TaskParity, ...]
    absent: Mapping[str, str]
    defaults: tuple[DefaultParity, ...] = ()

    def excesses(self) -> list[str]:
        """Every bound that is exceeded, in words, graphs before tasks; empty: all is well."""
        found = []
        for graph in self.graphs:
            text = graph.excess(bounds_of(self.precision, graph.graph))
            found += [] if text is None else [f"graph {graph.graph} on {graph.backend}: {text}"]
        for task in self.tasks:
            text = task.excess(TASK_BOUNDS[self.precision])
            found += [] if text is None else [f"task {task.task} on {task.backend}: {text}"]
        return found

    def to_json(self, bundle: Bundle) -> dict[str, Any]:
        """As plain data, with the files that it is true of."""
        backbone, features, others = GRAPH_BOUNDS[self.precision]
        excesses = self.excesses()
        return {
            "toolkit": __version__,
            "passed": not excesses,
            "first_exceeded": excesses[0] if excesses else None,
            "precision": self.precision,
            "reference": self.reference,
            "clip": dict(self.clip),
            "bounds": {
                "backbone": asdict(backbone),
                "features": asdict(features),
                "other_graphs": asdict(others),
                "tasks": asdict(TASK_BOUNDS[self.precision]),
            },
            "graphs": [row.to_json() for row in self.graphs],
            "tasks": [row.to_json() for row in self.tasks],
            "defaults": [row.to_json() for row in self.defaults],
            "absent": dict(self.absent),
            "sha256": {name: graph.sha256 for name, graph in bundle.spec.graphs.items()},
        }


def present_backends(bundle: Bundle, threads: int = 0) -> tuple[list[str], dict[str, str]]:
    """The backends that run a bundle here, and why the others do not.

    Args:
        bundle: Its first graph, the backbone or the detector, is loaded once by each.
        threads: Of the CPU; 0 takes all.
    """
    present, absent = [], {}
    for name in BACKENDS:
        try:
            with GraphRunner(bundle, name, threads) as graphs:
                graphs.engine(next(iter(bundle.spec.graphs)))
        except BackendError as error:
            absent[name] = str(error)
        else:
            present.append(name)
    return present, absent


def compare(
    bundle: Bundle,
    reference: GraphRunner,
    backends: Sequence[str],
    workload: Workload,
    *,
    name: str,
    threads: int = 0,
    size_hw: tuple[int, int] | None = None,
    tasks: Sequence[str] = TASKS,
    shares: Sequence[float] = SHARES,
    rounded: Rounded | None = None,
    absent: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
) -> ParityReport:
    """Compare a bundle's graphs and tasks on every backend with a reference.

    Args:
        bundle: What is judged.
        reference: What is right; stays open.
        backends: Keys of `BACKENDS`.
        workload: Frames for the backbone and the tasks.
        name: What to call the reference.
        threads: Of CPU backends; 0 takes all.
        size_hw: Of the network's image in tasks; None: the heads' defaults.
        tasks: Which; none: graphs alone.
        shares: Sizes of the graphs' inputs; see `feeds_of`.
        rounded: What float16 costs the reference's backbone; None: it cannot tell.
        absent: Backends that are left out, and why, for the record.
        progress: Called with what is compared next.

    Raises:
        BackendError: A backend is absent or fails.
        UnitrackError: Whatever a head raises.
    """
    images = [frame.image for frame in workload.frames]
    graphs: list[GraphParity] = []
    found: list[TaskParity] = []
    defaults: list[DefaultParity] = []
    with ExitStack() as stack:
        runners: dict[str, GraphRunner] = {}
        for backend in backends:
            runner = stack.enter_context(GraphRunner(bundle, backend, threads))
            runners[backend] = runner
            for graph in bundle.spec.graphs:
                progress(f"{graph} on {backend}")
                feeds = feeds_of(bundle, graph, images, shares)
                if graph == "backbone":
                    # A clip that shows little would hide what the network does wrong.
                    feeds += feeds_of(bundle, graph, [_texture()], shares[:1])
                due = rounded if graph == "backbone" and bundle.spec.precision == "fp16" else None
                graphs.append(compare_graph(graph, reference, runner, backend, feeds, due))
        if tasks:
            progress(f"tasks on {name}")
            # Once for all backends: of all sides, the reference is the slowest.
            expected, decided = run_from_same_state(reference, runners, workload, size_hw, tasks)
        for backend, runner in runners.items() if tasks else ():
            progress(f"tasks on {backend}")
            results = run_tasks(runner, workload, size_hw, tasks)
            found += compare_tasks(expected, results, decided[backend], backend)
            progress(f"defaults on {backend}")
            defaults += compare_defaults(runner, workload, backend, size_hw, tasks)
    height, width = workload.size_hw
    clip = {"name": workload.name, "frames": len(workload.frames), "size": f"{width}x{height}"}
    precision = bundle.spec.precision
    return ParityReport(
        *(precision, name, clip, tuple(graphs), tuple(found), absent or {}, tuple(defaults))
    )


def _texture() -> UInt8Array:
    """(288, 512, 3) uint8: a frame of the procedural scene, which has people, edges and colours."""
    return scene_workload(2, (288, 512), 5, ()).frames[0].image


def write_report(report: ParityReport, bundle: Bundle) -> Path:
    """Keep a report in its bundle, in place of the last one.

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    path = bundle.path / PARITY_FILE
    write_json_atomic(path, report.to_json(bundle))
    return path


def graph_table(report: ParityReport) -> TextTable:
    """Errors and cosines of every graph with what they may be, in the order of the pipeline."""
    rows = []
    for row in report.graphs:
        bounds = bounds_of(report.precision, row.graph)
        rows.append(
            (
                row.backend,
                row.graph,
                row.tensor,
                f"{row.max_error:.1e}",
                f"{row.mean_error:.1e}",
                f"{row.cosine:.6f}",
                f"{row.lowest_cosine:.6f}",
                _rounding_text(row.mean_rounding, row.worst_rounding),
                _bounds_text(bounds),
                "ok" if row.excess(bounds) is None else "EXCEEDED",
            )
        )
    head = ("backend", "graph", "worst tensor", "max error", "mean error", "cosine")
    return TextTable((*head, "lowest cosine", "roundings", "bounds", ""), rows, left=3)


def _rounding_text(mean: float | None, worst: float | None) -> str:
    """Mean and worst error in multiples of what float16 costs the reference."""
    return "" if mean is None or worst is None else f"{mean:.2f}, worst {worst:.2f}"


def _bounds_text(bounds: GraphBounds) -> str:
    parts = []
    if bounds.max_error is not None:
        parts.append(f"max {bounds.max_error:g}")
    if bounds.mean_error is not None:
        parts.append(f"mean {bounds.mean_error:g}")
    if bounds.cosine is not None:
        parts.append(f"cosine {bounds.cosine:g}")
    if bounds.lowest_cosine is not None:
        parts.append(f"lowest {bounds.lowest_cosine:g}")
    if bounds.mean_rounding is not None:
        parts.append(f"roundings {bounds.mean_rounding:g}, worst {bounds.worst_rounding:g}")
    return ", ".join(parts)


def task_table(report: ParityReport) -> TextTable:
    """Every task: frames from the same state with what they may differ by, and whole clips."""
    rows = []
    for row in report.tasks:
        bound, most = bound_of(row.task, TASK_BOUNDS[report.precision])
        ok = row.excess(TASK_BOUNDS[report.precision]) is None
        rows.append(
            (
                row.backend,
                row.task,
                row.measure,
                f"{row.value:.1e}" if most else f"{row.value:.6f}",
                f"{'≤' if most else '≥'} {bound:g}",
                "nothing to compare" if not row.compared else "ok" if ok else "EXCEEDED",
                _outcome_text(row),
            )
        )
    head = ("backend", "task", "from the same state", "value", "bound", "", "whole clip")
    return TextTable(head, rows, left=3)


def defaults_table(report: ParityReport) -> TextTable:
    """The tasks whose default looks only where it must, beside the full method."""
    rows = []
    for row in report.defaults:
        values = ", ".join(f"{name} {value:.4f}" for name, value in row.agreement.items())
        rows.append(
            (row.backend, row.task, row.what, values or "no TrackEval", f"{row.pixels:.1%}")
        )
    head = ("backend", "task", "default", "agreement with the full method", "backbone's pixels")
    return TextTable(head, rows, left=3)


def _outcome_text(row: TaskParity) -> str:
    if row.outcome_value is None:
        return f"{row.outcome}: no TrackEval"
    return f"{row.outcome} {row.outcome_value:.4f}"
