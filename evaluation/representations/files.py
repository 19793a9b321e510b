"""The files of `cli compare`: CSV, Markdown, images and one page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from ...runtime.tables import TextTable, markdown
from ...runtime.writers.base import make_folder, write_atomic
from .comparison import (
    Comparison,
    Correlation,
    correlation_table,
    headline_of,
    rank_table,
    task_table,
    to_csv,
)

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
) -> str:
    """Write all files.

    Args:
        output: Folder, made if it is missing.
        comparison: The scores.
        correlations: With another accuracy; empty: none was given.
        setting: What was compared and how.
        notes: One-line notes.
        plots: Whether images are drawn.
        label: Of the other accuracy.

    Returns:
        The content of `comparison.md`.

    Raises:
        OutputError: A file cannot be written.
    """
    make_folder(output)
    tables = _tables(comparison, correlations, label)
    images = _images(output, comparison, correlations, label) if plots else {}
    title = "Representations compared"
    text = "\n".join(f"## {name}\n\n{markdown(table)}" for name, table in tables.items())
    warnings = "".join(f"\n* {note}" for note in notes)
    lines = "".join(f"* {name}: {value}\n" for name, value in setting.items())
    write_atomic(output / "comparison.csv", to_csv(comparison).encode())
    document = f"# {title}\n\n{lines}\n{text}{warnings}\n"
    write_atomic(output / "comparison.md", document.encode())
    page = comparison_page(title, setting, tables, images, notes)
    write_atomic(output / "comparison.html", page.encode())
    return document


def _tables(
    comparison: Comparison, correlations: list[Correlation], label: str
) -> dict[str, TextTable]:
    tables = {RANKS: rank_table(comparison)}
    if correlations:
        tables[f"{CORRELATIONS} with {label}"] = correlation_table(correlations)
    for task in comparison.tasks:
        tables[f"{task} (by {headline_of(task)})"] = task_table(comparison, task)
    return tables


def _images(
    output: Path, comparison: Comparison, correlations: list[Correlation], label: str
) -> dict[str, str]:
    """Draw and write; heading → SVG."""
    from .plots import accuracy_scatter, rank_radar, save_figure

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


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.scroll { overflow-x: auto; } figure { margin: 1rem 0; background: white; border-radius: 6px; }
figure svg { max-width: 100%; height: auto; } dt { float: left; clear: left; width: 9rem; }
dd { margin-left: 9.5rem; overflow-wrap: anywhere; } .note { opacity: .75; }
"""


def comparison_page(
    title: str,
    setting: Mapping[str, str],
    tables: Mapping[str, TextTable],
    images: Mapping[str, str],
    notes: list[str],
) -> str:
    """The page.

    Args:
        title: Of the page.
        setting: What was compared and how; label → text.
        tables: Heading → table, in this order.
        images: Heading of the table that it follows → SVG document.
        notes: One-line notes for the end.

    Returns:
        HTML without any reference to another file or place.
    """
    parts = [
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        "<dl>",
        *(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in setting.items()),
        "</dl>",
    ]
    for heading, table in tables.items():
        parts.append(f"<h2>{escape(heading)}</h2>{_table(table)}")
        if heading in images:
            svg = images[heading]
            # The document's head names its grammar at an address; the drawing alone is enough.
            parts.append(f"<figure>{svg[svg.index('<svg') :]}</figure>")
    parts += [f"<p class=note>{escape(note)}</p>" for note in notes]
    return "\n".join((*parts, "</body></html>\n"))


def _table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in table.head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n"
        for row in table.rows
    )
    return f"<div class=scroll><table><tr>{head}</tr>\n{body}</table></div>"
