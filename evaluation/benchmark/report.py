"""A measurement from start to end, and how it is shown: plain data, tables, Markdown."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RequestError, UnitrackError
from ...runtime.bundle.bundle import Bundle
from ...runtime.detectors.base import Detector
from ...runtime.detectors.open import open_detector
from ...runtime.events import StopRequest
from ...runtime.inference.registry import BACKENDS
from ...runtime.tables import TextTable, markdown
from ...runtime.writers.base import write_atomic
from ...version import __version__
from .defaults import Overlap, Saved, defaults_table, measure_overlap, measure_saved
from .figures import NOISY, PERCENTILES, Ratio, SideFigures, noise_notes, ratio, side_figures
from .isolated import Alone, measure_alone
from .measure import (
    BenchRequest,
    Runner,
    Side,
    WatchedGraphs,
    interleave,
    load_workload,
    model_bytes,
    open_graphs,
)
from .roofline import Roofline, measure_roofline, roofline_table
from .workload import full_and_default, make_task_runner

Progress = Callable[[str, int, int], None]
"""Called with the current step, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The result of a measurement.

    Attributes:
        request: What was asked for.
        clip: Name, size, objects in a frame.
        sides: Figures by side.
        alone: Memory and energy by side.
        model_bytes: Size of the files by side.
        in_use: What really ran each graph, by side.
        base: The side that ratios are against: the last one.
        ratios: How many times faster each other side is than `base`.
        machine: What it ran on.
        saved: What the defaults save, by side, where they differ from the full method.
        overlaps: What overlapping stages gain, by side.
        rooflines: The backbone beside the machine's ceilings, by side.
        lacking: Why something was not measured.
    """

    request: BenchRequest
    clip: Mapping[str, Any]
    sides: Mapping[str, SideFigures]
    alone: Mapping[str, Alone]
    model_bytes: Mapping[str, int]
    in_use: Mapping[str, Mapping[str, str]]
    base: str
    ratios: Mapping[str, Ratio]
    machine: Mapping[str, Any]
    saved: Mapping[str, Saved]
    overlaps: Mapping[str, Overlap | None]
    rooflines: Mapping[str, Roofline]
    lacking: Sequence[str] = ()

    def notes(self) -> list[str]:
        """What cannot be concluded, or was not measured."""
        return [*noise_notes(self.sides, self.ratios, self.base), *self.lacking]


def run_bench(
    request: BenchRequest, progress: Progress = lambda _step, _done, _of: None
) -> BenchReport:
    """Measure all sides, first in turn and then each by itself.

    Raises:
        UnitrackError: A bundle, a backend, the frames or PyTorch's weights cannot be used.
        Stopped: The user asked to stop.
    """
    machine = describe_machine()
    workload = load_workload(request)
    with ExitStack() as stack:
        runners = []
        for number, side in enumerate(request.sides):
            progress(f"loading {side.name}", number, len(request.sides))
            graphs = stack.enter_context(open_graphs(side, request.threads))
            task_runner = make_task_runner(request.task, graphs, workload, request.size_hw)
            runners.append(Runner(side.name, graphs, task_runner, workload))
        stop = stack.enter_context(StopRequest())
        measured = interleave(
            runners, request, stop, lambda done, of: progress("taking turns", done, of)
        )
        pairs = list(zip(request.sides, runners, strict=True))
        lacking: list[str] = []
        saved, overlaps, rooflines = {}, {}, {}
        for number, (side, runner) in enumerate(pairs):
            progress(f"{side.name}: defaults, overlap, roofline", number, len(pairs))
            if not isinstance(runner.graphs, WatchedGraphs):
                continue
            on_host = BACKENDS[side.backend].onnx_device == "cpu"
            if on_host:
                try:
                    rooflines[side.name] = _roofline(request, side, runner.graphs)
                except UnitrackError as error:
                    lacking.append(f"no roofline: {error}")
            methods = full_and_default(request.size_hw)
            if request.task not in methods:
                continue
            _, _, usual = methods[request.task]
            with _detector(request, side) as detector:
                make = partial(
                    make_task_runner,
                    *(request.task, runner.graphs, workload, request.size_hw, usual),
                )
                default = Runner(f"{side.name} defaults", runner.graphs, make(), workload)
                saved[side.name] = measure_saved(runner, default, request, stop)
                if on_host:
                    overlaps[side.name] = measure_overlap(
                        runner.graphs, partial(make, detector), workload, request, stop
                    )
        sizes = {side.name: model_bytes(runner, side) for side, runner in pairs}
        in_use = {side.name: runner.graphs.backends_in_use for side, runner in pairs}
    alone = {}
    for number, side in enumerate(request.sides):
        progress(f"{side.name} by itself", number, len(request.sides))
        alone[side.name] = measure_alone(request, side)
    base = request.sides[-1].name
    ratios = {name: ratio(measured[base], measured[name]) for name in measured if name != base}
    clip = {
        "name": workload.name,
        "size_hw": list(workload.size_hw),
        "objects": round(workload.objects(request.task), 1),
    }
    figures = {name: side_figures(rounds) for name, rounds in measured.items()}
    return BenchReport(
        *(request, clip, figures, alone, sizes, in_use, base, ratios, machine),
        *(saved, overlaps, rooflines, tuple(dict.fromkeys(lacking))),
    )


def _roofline(request: BenchRequest, side: Side, graphs: WatchedGraphs) -> Roofline:
    """Of the backbone, for the image that it was given most often."""
    bundle = Bundle.load(side.bundle)
    spec, shape = bundle.graph("backbone"), graphs.shapes.most_common(1)[0][0]
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return measure_roofline(
        lambda: graphs.run("backbone", image),
        *(bundle.path / spec.file, spec.inputs[0].name, shape, request.threads),
    )


def _detector(request: BenchRequest, side: Side) -> AbstractContextManager[Detector | None]:
    """What finds the objects where stages overlap; None: they are given."""
    if request.detector is None:
        return nullcontext()
    return open_detector(
        detector=request.detector, backend=side.backend, threads=request.threads, max_detections=500
    )


def describe_machine() -> dict[str, Any]:
    """What was measured on, and how busy it was before."""
    versions = {"python": platform.python_version(), "unitrack-edge": __version__}
    for package in ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": cores,
        "load_average_before": load,
        "versions": versions,
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report_data(report: BenchReport) -> dict[str, Any]:
    """Everything as plain data for `--json`."""
    request = report.request
    return {
        "task": request.task,
        "clip": dict(report.clip),
        "network_hw": None if request.size_hw is None else list(request.size_hw),
        "rounds": request.rounds,
        "frames_a_round": request.frames,
        "warm_up": request.warm_up,
        "threads": request.threads or "all",
        "machine": dict(report.machine),
        "sides": {side.name: _side_data(report, side) for side in request.sides},
        "base": report.base,
        "ratios": {
            name: {"value": one.value, "rounds": list(one.rounds), "spread": one.spread}
            for name, one in report.ratios.items()
        },
        "noisy_above": NOISY,
        "conclusive": not report.notes(),
        "notes": report.notes(),
    }


def _side_data(report: BenchReport, side: Side) -> dict[str, Any]:
    figures = report.sides[side.name]
    spec = Bundle.load(side.bundle).spec
    return {
        "bundle": {"backbone": spec.backbone, "layer": spec.layer, "precision": spec.precision},
        "backend": side.backend,
        "in_use": dict(report.in_use[side.name]),
        "stages_ms": {stage: dict(values) for stage, values in figures.stages_ms.items()},
        "fps": figures.fps,
        "jitter_ms": figures.jitter_ms,
        "rounds_ms": list(figures.rounds_ms),
        "spread": figures.spread,
        "latencies_ms": list(figures.latencies_ms),
        "model_bytes": report.model_bytes[side.name],
        "defaults": _plain(report.saved.get(side.name)),
        "overlap": _plain(report.overlaps.get(side.name)),
        "roofline": _plain(report.rooflines.get(side.name)),
        **asdict(report.alone[side.name]),
    }


def _plain(one: Saved | Overlap | Roofline | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return one.to_json() if isinstance(one, Roofline) else asdict(one)


def tables(report: BenchReport) -> list[TextTable]:
    """Those that have anything to show."""
    found = [stage_table(report), side_table(report)]
    found += [defaults_table(report.saved, report.overlaps)] if report.saved else []
    return found + ([roofline_table(report.rooflines)] if report.rooflines else [])


def stage_table(report: BenchReport) -> TextTable:
    """A row a stage; p50 / p95 / p99 of every side in milliseconds."""
    percentiles = " / ".join(f"p{p}" for p in PERCENTILES)
    names = list(report.sides)
    stages = list(next(iter(report.sides.values())).stages_ms)
    rows = []
    for stage in stages:
        cells = []
        for name in names:
            values = report.sides[name].stages_ms[stage]
            cells.append(" / ".join(f"{values[f'p{p}']:.1f}" for p in PERCENTILES))
        rows.append((_STAGE_NAMES.get(stage, stage), *cells))
    return TextTable((f"ms, {percentiles}", *names), rows)


_STAGE_NAMES = {"latency": "capture to result"}


def side_table(report: BenchReport) -> TextTable:
    """A row a side: speed, memory, size, and what the device reports."""
    columns: list[tuple[str, dict[str, str]]] = [
        ("FPS", {name: f"{one.fps:.1f}" for name, one in report.sides.items()}),
        ("jitter ms", {name: f"{one.jitter_ms:.1f}" for name, one in report.sides.items()}),
    ]
    for title, field, form in (
        ("peak MB", "memory_mb", ".0f"),
        ("GPU MB", "gpu_memory_mb", ".0f"),
        ("W", "power_w", ".1f"),
        ("mJ a frame", "energy_mj", ".0f"),
        ("°C", "temperature_c", ".0f"),
    ):
        values = {name: getattr(one, field) for name, one in report.alone.items()}
        if any(value is not None for value in values.values()):
            shown = {n: "–" if v is None else format(v, form) for n, v in values.items()}
            columns.append((title, shown))
    columns.append(("model MB", {n: f"{size / 1e6:.1f}" for n, size in report.model_bytes.items()}))
    if report.ratios:
        times = {name: f"{one.value:.2f}×" for name, one in report.ratios.items()}
        columns.append((f"faster than {report.base}", {**times, report.base: "1"}))
    rows = [(name, *(cells[name] for _, cells in columns)) for name in report.sides]
    return TextTable(("", *(title for title, _ in columns)), rows)


def headline(report: BenchReport) -> str:
    """What was measured, in one line."""
    request, (height, width) = report.request, report.clip["size_hw"]
    return (
        f"task {request.task}, {report.clip['name']}, {width}x{height}, "
        f"objects a frame: {report.clip['objects']:g}; {request.rounds} rounds of {request.frames} "
        f"frames, threads {request.threads or 'all'}"
    )


def report_markdown(report: BenchReport) -> str:
    """The same as Markdown for `--markdown`."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        f"{headline(report)}\n",
        *(markdown(table) for table in tables(report)),
        f"{machine['date']}, {machine['cpu']}, cores: {machine['cores']}, load before "
        f"{machine['load_average_before']}; {versions}\n",
        *(f"Note: {note}.\n" for note in report.notes()),
    ]
    return "\n".join(parts)


SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = ("#2f6db3", "#d9822b", "#3a8f5c", "#a33b7c", "#6b6b6b")


def check_plotting(path: Path) -> None:
    """Check before the measurement that its plot can be drawn.

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
    """Draw the latency of every frame; rounds have backgrounds of alternating shade.

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
