"""A comparison as one HTML page that needs nothing else: tables and SVG pictures inside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .tables import TextTable

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
    pictures: Mapping[str, str],
    notes: list[str],
) -> str:
    """The page.

    Args:
        title: Of the page.
        setting: What was compared and how; label → text.
        tables: Heading → table, in this order.
        pictures: Heading of the table that it follows → SVG document.
        notes: Remarks for the end.

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
        if heading in pictures:
            svg = pictures[heading]
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
