"""The picture of a measurement: latency over time, one line a side."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from ..errors import RequestError, UnitrackError
from ..runtime.sinks import write_atomic
from .bench_report import BenchReport, headline

SUFFIXES = (".png", ".svg", ".pdf")

_COLOURS = ("#2f6db3", "#d9822b", "#3a8f5c", "#a33b7c", "#6b6b6b")


def check_plotting(path: Path) -> None:
    """Find out before the measurement that it can be drawn.

    Raises:
        RequestError: The file's ending names no format.
        UnitrackError: Matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RequestError(f"--plot {path}: expected a name ending in {', '.join(SUFFIXES)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UnitrackError(
            f"--plot needs Matplotlib, which cannot be imported ({error}): pip install matplotlib"
        ) from None


def plot_latency(report: BenchReport, path: Path) -> None:
    """Draw the latency of every frame; rounds are told apart by their background.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib.figure import Figure

    # No pyplot: it would look for a display.
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, side) in enumerate(report.sides.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        latencies = side.latencies_ms
        median = side.stages_ms["latency"]["p50"]
        label = f"{name}: {median:.1f} ms, {side.fps:.1f} FPS"
        axes.plot(range(1, len(latencies) + 1), latencies, color=colour, lw=1.2, label=label)
        axes.axhline(median, color=colour, lw=0.8, ls=":")
    frames = report.request.frames
    for start in range(frames, report.request.rounds * frames, 2 * frames):
        axes.axvspan(start + 0.5, start + frames + 0.5, color="#000000", alpha=0.04, lw=0)
    highest = max(max(side.latencies_ms) for side in report.sides.values())
    axes.set_ylim(0, highest * 1.08)
    axes.set_xlim(0.5, report.request.rounds * frames + 0.5)
    axes.set_xlabel("frame; rounds shaded in turn")
    axes.set_ylabel("capture to result, ms")
    axes.set_title(headline(report), fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    drawn = BytesIO()
    form = path.suffix.lower().removeprefix(".")
    figure.savefig(drawn, format=form, metadata={"Date": None} if form == "svg" else None)
    write_atomic(path, drawn.getvalue())
