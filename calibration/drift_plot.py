"""The plot of a calibration: drift and sensitivity, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import CalibrationError
from .outcome import LayerFacts

_INT8, _FLOAT, _ALONE = "#2f6db3", "#c2c8d0", "#d9822b"


def check_plotting() -> None:
    """Find out before the work that its plot can be drawn.

    Raises:
        CalibrationError: Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise CalibrationError(
            f"the report's plot needs Matplotlib, which cannot be imported ({error}): "
            "pip install 'unitrack-edge[calibrate]'"
        ) from None


def plot_drift(facts: Sequence[LayerFacts], title: str, path: Path) -> None:
    """Draw a bar of drift for each layer, and a dot for what it does alone.

    Args:
        facts: Of all layers, in the order of the graph.
        title: Above the plot.
        path: A PNG.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would look for a display.
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(facts)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = range(len(facts))
    colours = [_FLOAT if fact.in_float else _INT8 for fact in facts]
    axes.barh(rows, [fact.drift for fact in facts], color=colours)
    alone = [(row, f.sensitivity) for row, f in enumerate(facts) if f.sensitivity is not None]
    axes.plot([max(s, 0.0) for _, s in alone], [r for r, _ in alone], "o", color=_ALONE, ms=4)
    axes.set_yticks(rows, [fact.name for fact in facts], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("1 − cosine, float against int8")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(
        handles=[
            axes.barh(0, 0, color=_INT8, label="drift of an int8 layer's results"),
            axes.barh(0, 0, color=_FLOAT, label="drift behind a layer left in float"),
            *axes.plot([], [], "o", color=_ALONE, ms=4, label="feature drop if int8 alone"),
        ],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, metadata={"Software": None})
