"""A comparison with a reference as tables: a row a graph, a row a task."""

from __future__ import annotations

from .parity import TASK_BOUNDS, GraphBounds, bounds_of
from .parity_report import ParityReport
from .parity_tasks import bound_of
from .tables import TextTable


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
                _bounds_text(bounds),
                "ok" if row.excess(bounds) is None else "EXCEEDED",
            )
        )
    head = ("backend", "graph", "worst tensor", "max error", "mean error", "cosine")
    return TextTable((*head, "lowest cosine", "bounds", ""), rows, left=3)


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
    return ", ".join(parts)


def task_table(report: ParityReport) -> TextTable:
    """Agreement of every task with what it may be."""
    rows = []
    for row in report.tasks:
        bound, most = bound_of(row.task, TASK_BOUNDS[report.precision])
        rows.append(
            (
                row.backend,
                row.task,
                row.measure,
                f"{row.value:.4f}",
                f"{'≤' if most else '≥'} {bound:g}",
                "ok" if row.excess(TASK_BOUNDS[report.precision]) is None else "EXCEEDED",
            )
        )
    return TextTable(("backend", "task", "measure", "value", "bound", ""), rows, left=3)
