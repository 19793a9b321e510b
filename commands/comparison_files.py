"""The files of `cli compare`: CSV, Markdown, pictures and one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..evaluation.comparison import (
    Comparison,
    Correlation,
    correlation_table,
    headline_of,
    rank_table,
    task_table,
    to_csv,
)
from ..evaluation.comparison_page import comparison_page
from ..evaluation.tables import TextTable, markdown
from ..runtime.sinks import write_atomic
from .evaluation_jobs import make_folder

RANKS = "Ranks"
CORRELATIONS = "Correlation"

FEWEST_AXES = 3
"""A radar of two axes is a line."""


def write_comparison(
    output: Path,
    comparison: Comparison,
    correlations: list[Correlation],
    setting: Mapping[str, str],
    notes: list[str],
    *,
    plots: bool,
    label: str,
) -> None:
    """Write all files.

    Args:
        output: Folder, made if it is missing.
        comparison: The scores.
        correlations: With another accuracy; empty: none was given.
        setting: What was compared and how.
        notes: Remarks.
        plots: Whether pictures are drawn.
        label: Of the other accuracy.

    Raises:
        OutputError: A file cannot be written.
    """
    make_folder(output)
    tables = _tables(comparison, correlations, label)
    pictures = _pictures(output, comparison, correlations, label) if plots else {}
    title = "Representations compared"
    text = "\n".join(f"## {name}\n\n{markdown(table)}" for name, table in tables.items())
    remarks = "".join(f"\n* {note}" for note in notes)
    lines = "".join(f"* {name}: {value}\n" for name, value in setting.items())
    write_atomic(output / "comparison.csv", to_csv(comparison).encode())
    write_atomic(output / "comparison.md", f"# {title}\n\n{lines}\n{text}{remarks}\n".encode())
    page = comparison_page(title, setting, tables, pictures, notes)
    write_atomic(output / "comparison.html", page.encode())


def _tables(
    comparison: Comparison, correlations: list[Correlation], label: str
) -> dict[str, TextTable]:
    tables = {RANKS: rank_table(comparison)}
    if correlations:
        tables[f"{CORRELATIONS} with {label}"] = correlation_table(correlations)
    for task in comparison.tasks:
        tables[f"{task} (by {headline_of(task)})"] = task_table(comparison, task)
    return tables


def _pictures(
    output: Path, comparison: Comparison, correlations: list[Correlation], label: str
) -> dict[str, str]:
    """Draw and write; heading → SVG."""
    from ..evaluation.plots import accuracy_scatter, rank_radar, save_figure

    figures = {}
    if len(comparison.tasks) >= FEWEST_AXES:
        figures[RANKS] = rank_radar(comparison), output / "ranks"
    if correlations:
        heading = f"{CORRELATIONS} with {label}"
        figures[heading] = accuracy_scatter(comparison, correlations, label), output / "correlation"
    for figure, stem in figures.values():
        save_figure(figure, stem)
    return {
        heading: Path(f"{stem}.svg").read_text(encoding="utf-8")
        for heading, (_, stem) in figures.items()
    }
