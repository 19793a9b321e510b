"""The table of layouts, and which of them a graph has."""

from __future__ import annotations

from ....errors import RequestError
from .base import Graph, Layout, Roles
from .chosen import CHOSEN_LAYOUTS, OWN_LAYOUT
from .yolo import YOLO_LAYOUTS

LAYOUTS: dict[str, Layout] = {row.name: row for row in (OWN_LAYOUT, *YOLO_LAYOUTS, *CHOSEN_LAYOUTS)}
"""By name, in the order in which they are tried."""


def find_layout(name: str) -> Layout:
    """A row of the table.

    Raises:
        RequestError: There is none of that name.
    """
    if name not in LAYOUTS:
        raise RequestError(f"--detector-layout {name}: expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def recognise(graph: Graph, chosen: Layout | None = None) -> tuple[Layout, Roles] | None:
    """The layout of a graph, and which output is what.

    Args:
        graph: What is known of it.
        chosen: The only layout to try; None: all, in their order.

    Returns:
        None where no layout fits.
    """
    for layout in LAYOUTS.values() if chosen is None else (chosen,):
        roles = layout.read(graph)
        if roles is not None:
            return layout, roles
    return None
