"""Draws processor time against accuracy, from what `focus` and `appearance` keep with `--json`.

    python -m unitrack_edge.benchmarks.accuracy.tradeoff *.json --output tradeoff.png

A panel a measure (J of masks, HOTA of boxes), a line a backbone from the full method to the one
that looks only where it must; small marks are single clips, large ones their means.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ...evaluation.benchmark.report import describe_machine
from ..script import Script, read_json

COLOURS = {"efficientnet-lite0": "#2f6db3", "imagenet-r18": "#d9822b"}
MARKS = {"full": "s", "focus": "o", "auto": "o"}
TITLES = {"J": "vos: masks", "PCK@0.1": "pose: joints", "HOTA": "mot: boxes"}
_KEPT = "measure", "backbone", "rows"
LABELS = {"full": "whole frames", "focus": "in focus", "auto": "on demand"}


def keep(
    path: Path, measure: str, backbone: str, threads: int, rows: Sequence[dict[str, Any]]
) -> None:
    """Write what was measured of one backbone.

    Args:
        path: A JSON file.
        measure: `J` or `HOTA`.
        backbone: Its name.
        threads: Of the CPU.
        rows: `clip`, `way`, `score`, and `cpu_ms` a frame, of every clip and way.
    """
    data = {"measure": measure, "backbone": backbone, "threads": threads, "rows": list(rows)}
    data |= {"machine": describe_machine(), "date": datetime.date.today().isoformat()}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def draw(measured: Sequence[dict[str, Any]], output: Path) -> None:
    """Draw the figure; a point's place is what was measured and nothing else."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    measures = list(dict.fromkeys(one["measure"] for one in measured))
    figure = Figure(figsize=(4.6 * len(measures), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        those = [one for one in measured if one["measure"] == measure]
        for number, one in enumerate(those):
            colour = COLOURS.get(one["backbone"], "#6b6b6b")
            ways = list(dict.fromkeys(row["way"] for row in one["rows"]))
            means = []
            for way in ways:
                rows = [row for row in one["rows"] if row["way"] == way]
                times, scores = [r["cpu_ms"] for r in rows], [r["score"] for r in rows]
                axes.plot(times, scores, MARKS[way], color=colour, ms=4, alpha=0.35, mew=0)
                means.append((fmean(times), fmean(scores)))
                axes.annotate(
                    f"{LABELS[way]}\n{means[-1][0]:.0f} ms, {means[-1][1]:.3f}",
                    means[-1],
                    # The lines of two backbones cross: one has its labels below.
                    xytext=(0, -9 if number % 2 else 9),
                    textcoords="offset points",
                    ha="center",
                    va="top" if number % 2 else "bottom",
                    fontsize=7,
                    color=colour,
                )
            axes.plot(*zip(*means, strict=True), "-", color=colour, lw=1.5, label=one["backbone"])
            for way, mean in zip(ways, means, strict=True):
                axes.plot(*mean, MARKS[way], color=colour, ms=9, mec="white")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(TITLES[measure], fontsize=10, loc="left")
        axes.set_xlabel("processor time a frame, ms (log)")
        axes.set_ylabel(f"{measure}, higher is better")
        axes.margins(0.12, 0.18)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(output)


script = Script(__doc__)
script.add_argument("files", nargs="+", type=Path)
script.add_argument("--output", type=Path, required=True)


@script.does
def main(options: argparse.Namespace) -> None:
    """Read the files and draw."""
    draw([read_json(path, dict, _KEPT) for path in options.files], options.output)
