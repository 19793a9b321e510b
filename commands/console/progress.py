"""Progress and summary of a run on the terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ...errors import count, printable
from ...records import Frame, Tracks
from ...runtime.events import FrameEvent, SourceEvent
from ...runtime.pipeline import OnFrame
from ...runtime.sources.base import SourceInfo
from ...tracking.session import RunReport, SourceReport, Watch

_WINDOW = 30
"""Frames that the shown FPS is taken over."""

_OVERLAPPING = 1.2
"""Frames in work at the same time, from which on they are said to overlap."""


@contextmanager
def watch_run(task: str) -> Iterator[Watch]:
    """A bar with FPS and time left for files, a status line for live sources."""
    columns = [TextColumn("{task.description}"), TextColumn("{task.fields[state]}")]
    console = Console(stderr=True)
    progress = Progress(
        *columns[:1],
        BarColumn(bar_width=30),
        *columns[1:],
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def watch(info: SourceInfo) -> OnFrame:
        # Not earlier: fetching and exporting models have a display of their own.
        progress.start()
        shown = printable(info.name)
        name = shown if len(shown) <= 40 else "…" + shown[-39:]
        row = progress.add_task(f"{task} {name}", total=info.frame_count, state="")
        ends: deque[float] = deque(maxlen=_WINDOW)

        def on_frame(frame: Frame, tracks: Sequence[Tracks]) -> None:
            ends.append(time.perf_counter())
            span = ends[-1] - ends[0]
            fps = f"{(len(ends) - 1) / span:.1f} FPS" if span else ""
            state = f"frame {frame.index + 1}  {fps}  {sum(t.ids.size for t in tracks)} tracked"
            progress.update(row, advance=1, state=state)

        return on_frame

    try:
        yield watch
    finally:
        progress.stop()


def show_run(report: RunReport, *, err: bool = False) -> None:
    """Print the result of a run."""
    if "source" in report.data:
        (alone,) = report.sources.values()
        show_source(alone, err=err)
    else:
        show_sources(report, err=err)


def show_source(report: SourceReport, *, err: bool = False) -> None:
    """Print the result of a run, in a few lines."""
    data = report.data
    console = Console(highlight=False, stderr=err)
    ended = " (interrupted)" if data["interrupted"] else ""
    if data["predicted_frames"]:
        ended = f" ({data['predicted_frames']} of them predicted){ended}"
    backend = data["backend"]["in_use"].get("backbone", data["backend"]["asked"])
    memory = data["peak_memory_mb"]
    console.print(
        f"{data['task']}: {count(data['frames'], 'frame', 'frames')}{ended}, "
        f"{count(data['identities'], 'object', 'objects')}, "
        f"{data['fps']:.1f} FPS, {printable(data['bundle']['backbone'])} on {backend}"
        + (f", {memory:.0f} MB at most" if memory else ""),
        soft_wrap=True,
        markup=False,
    )
    if data["stages_ms"]:
        table = Table("ms", box=None, pad_edge=False)
        for stage in data["stages_ms"]:
            table.add_column(stage, justify="right")
        for figure in ("p50", "p95", "p99"):
            values = [f"{stage[figure]:.1f}" for stage in data["stages_ms"].values()]
            table.add_row(figure, *values)
        console.print(table)
    if said := pipelined(data):
        console.print(said, soft_wrap=True, markup=False)
    for note in report.notes:
        if note == data["source"]["ended_early"]:
            continue  # the command ends with it as its error
        console.print(f"note: {printable(note)}", soft_wrap=True, markup=False)
    console.print(f"results: {printable(str(report.output))}", soft_wrap=True, markup=False)


def pipelined(data: Mapping[str, Any]) -> str | None:
    """Why a run's frames come faster than one takes, in one line; None: they do not.

    Args:
        data: Of the `run.json` of a source.
    """
    latency_ms = data["stages_ms"].get("latency", {"p50": 0.0})["p50"]
    if data["fps"] * latency_ms < _OVERLAPPING * 1000:
        return None
    return (
        f"pipelined: frames overlap, so one is done every {1000 / data['fps']:.0f} ms, and each "
        f"takes {latency_ms:.0f} ms from its arrival to its result (latency)"
    )


class SourceLines:
    """Prints the events of the sources on standard error while they are tracked."""

    def on_frame(self, event: FrameEvent) -> None:
        """Nothing: the bar shows frames."""

    def on_source(self, event: SourceEvent) -> None:
        """Print one line for an event that a user may act on."""
        if event.kind in ("waiting", "lost", "returned", "changed", "warning"):
            click.echo(f"{event.source}: {printable(event.message)}", err=True)


def show_sources(report: RunReport, *, err: bool = False) -> None:
    """Print the results of a run over several sources: a row each."""
    data = report.data
    console = Console(highlight=False, stderr=err)
    table = Table("source", box=None, pad_edge=False)
    for column in ("frames", "FPS", "objects", "dropped", "outages", "latency p50 / p99 ms"):
        table.add_column(column, justify="right")
    for name, row in data["sources"].items():
        if name not in report.sources:
            table.add_row(name, "none")
            continue
        latency = report.sources[name].data["stages_ms"]["latency"]
        figures = (row["frames"], f"{row['fps']:.1f}", row["identities"], row["dropped"])
        table.add_row(
            name,
            *(str(figure) for figure in (*figures, row["outages"])),
            f"{latency['p50']:.1f} / {latency['p99']:.1f}",
        )
    console.print(table)
    ended = " (interrupted)" if data["interrupted"] else ""
    frames = count(data["frames"], "frame", "frames")
    console.print(f"{frames}{ended}, {data['fps']:.1f} FPS together")
    for name, single in report.sources.items():
        if said := pipelined(single.data):
            console.print(f"{name}: {said}", soft_wrap=True, markup=False)
    for name, single in report.sources.items():
        for note in single.notes:
            if note != single.data["source"]["ended_early"]:
                console.print(f"note: {name}: {printable(note)}", soft_wrap=True, markup=False)
    if report.sources:
        console.print(f"results: {printable(str(report.output))}", soft_wrap=True, markup=False)
