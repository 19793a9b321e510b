"""Images of a comparison: the radar of ranks (Figure 1) and scatters (Figure 6).

The only module that imports matplotlib.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnitrackError
from ...runtime.writers.base import output_error
from .comparison import Comparison, Correlation, headline_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SVG: dict[str, Any] = {"svg.fonttype": "none"}
"""Letters stay letters: the page can be searched, and the file is small."""

_MARKERS = "os^Dvphd*X"


def check_matplotlib() -> None:
    """Check that plots can be drawn before hours of tracking.

    Raises:
        UnitrackError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UnitrackError(
            f"plots need matplotlib, which cannot be imported ({error}): "
            "pip install 'unitrack-edge[eval]', or give --no-plots"
        ) from None


def rank_radar(comparison: Comparison) -> Figure:
    """One axis a task, one line a representation; the outermost ring is the first place.

    Args:
        comparison: Of at least three tasks.
    """
    from matplotlib.figure import Figure

    tasks, count = comparison.tasks, len(comparison.entries)
    angles = np.linspace(0, 2 * math.pi, len(tasks), endpoint=False)
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes: Any = figure.add_subplot(projection="polar")
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    ranks = [comparison.ranks(task) for task in tasks]
    for entry in comparison.in_order():
        # An entry without a score in a task is drawn in the middle, outside all places.
        radius = [count + 1 - of_task.get(entry, count + 1.0) for of_task in ranks]
        style = _style(comparison, entry)
        axes.plot([*angles, angles[0]], [*radius, radius[0]], label=entry, linewidth=1.6, **style)
        axes.fill(angles, radius, color=style["color"], alpha=0.06)
    axes.set_ylim(0, count + 0.15)
    axes.set_yticks(range(1, count + 1), [f"{count + 1 - ring}." for ring in range(1, count + 1)])
    axes.set_rlabel_position(180 / len(tasks))
    axes.set_xticks(angles, [f"{task}\n{headline_of(task)}" for task in tasks])
    axes.tick_params(axis="x", pad=12)
    axes.set_title("rank by task (outer is better)", pad=24)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def accuracy_scatter(comparison: Comparison, correlations: list[Correlation], label: str) -> Figure:
    """Scores of every task over another accuracy, with both correlations.

    Args:
        comparison: For the order of its entries.
        correlations: One a task.
        label: Of the other accuracy.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(correlations), 3.6), layout="constrained")
    named: set[str] = set()
    for place, found in enumerate(correlations, 1):
        axes = figure.add_subplot(1, len(correlations), place)
        for name, (x, y) in found.points.items():
            new = None if name in named else name
            axes.plot(x, y, linestyle="", label=new, **_style(comparison, name))
            named.add(name)
        axes.set_title(
            f"{found.task}\nPearson {_number(found.pearson)}, Spearman {_number(found.spearman)}",
            fontsize=10,
        )
        axes.set_xlabel(label)
        axes.set_ylabel(headline_of(found.task))
        axes.margins(0.12)
        axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=max(1, min(6, len(named))), frameon=False)
    return figure


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as PNG and SVG, the same bytes for the same figure.

    Args:
        figure: The figure.
        stem: The two paths without their endings.

    Raises:
        OutputError: They cannot be written.
    """
    import matplotlib

    try:
        # The salt keeps the ids in the file the same from run to run.
        salted: Any = _SVG | {"svg.hashsalt": stem.name}
        with matplotlib.rc_context(salted):
            figure.savefig(f"{stem}.png", dpi=160, facecolor="white")
            figure.savefig(f"{stem}.svg", metadata={"Date": None})
    except OSError as error:
        raise output_error(stem, error) from None


def _style(comparison: Comparison, entry: str) -> dict[str, Any]:
    """Colour and marker of a representation, the same in all images."""
    number = comparison.entries.index(entry)
    return {"color": f"C{number % 10}", "marker": _MARKERS[number % len(_MARKERS)]}


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
