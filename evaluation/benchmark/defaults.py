"""What the defaults of `cli track` save beside the full method, and what overlapping stages gain.

Both are measured in the pipeline of `cli track` on frames in memory, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ...records import Frame, Tracks
from ...runtime.events import StopRequest
from ...runtime.inference.runner import GraphRunner
from ...runtime.pipeline import Pipeline, TaskRunner
from ...runtime.tables import TextTable
from .figures import ratio
from .measure import BenchRequest, FrameTimes, Runner, Stages, interleave
from .workload import EndlessClip, Workload

AHEAD = ("read", "detect", "letterbox")
"""Stages of a frame that a second thread does while the one before is in the others."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The defaults beside the full method on the same frames.

    Attributes:
        pixels: Of those that the backbone sees for the full method, the share it sees.
        without_backbone: Share of the frames in which it does not run.
        faster: How many times faster a frame is.
    """

    pixels: float
    without_backbone: float
    faster: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """Neighbouring frames at once, in two threads, beside one after the other.

    Attributes:
        detector: What found the objects; None: they were given.
        ahead_ms: Of a frame: reading, detector and letterbox, alone.
        behind_ms: Backbone, head and writing, alone.
        reached: Of the throughput that the slower of the two has alone.
        faster: Throughput over that of one frame after the other.
    """

    detector: str | None
    ahead_ms: float
    behind_ms: float
    reached: float
    faster: float


def measure_saved(full: Runner, usual: Runner, request: BenchRequest, stop: StopRequest) -> Saved:
    """Let the full method and the defaults take turns frame by frame; the warm-up is left out."""
    begun = len(full.pixels), len(usual.pixels)
    measured = interleave([full, usual], request, stop)
    seen, without = (
        runner.pixels[start + request.warm_up :]
        for runner, start in zip((full, usual), begun, strict=True)
    )
    return Saved(
        sum(without) / sum(seen),
        sum(not pixels for pixels in without) / len(without),
        ratio(measured[full.name], measured[usual.name]).value,
    )


def measure_overlap(
    graphs: GraphRunner,
    make: Callable[[], TaskRunner],
    workload: Workload,
    request: BenchRequest,
    stop: StopRequest,
) -> Overlap | None:
    """Let two pipelines take turns in blocks of frames, one of which overlaps its stages.

    Args:
        graphs: Runs the backbone, on the CPU.
        make: Makes the task, once for each of the two.
        workload: The frames.
        request: How many rounds, and frames of each.
        stop: Ends it.

    Returns:
        None for a task whose next image depends on its last result: nothing can overlap.

    Raises:
        Stopped: The user asked to stop.
    """
    runners = [make(), make()]
    if not runners[0].head.asks_ahead:
        return None
    times = FrameTimes()
    alone, together = (
        Pipeline(EndlessClip(workload), graphs, [runner], overlap=overlap)
        for runner, overlap in zip(runners, (False, True), strict=True)
    )
    alone.times = times
    for pipeline in (alone, together):
        _interval_s(pipeline, request.warm_up + 2, stop)
    rounds: list[tuple[float, float, float, float]] = []
    for number in range(request.rounds):
        times.frames = []
        order = (alone, together) if number % 2 else (together, alone)
        taken = {id(one): _interval_s(one, request.frames, stop) for one in order}
        ahead, behind = stage_seconds(times.frames)
        rounds.append((ahead, behind, taken[id(alone)], taken[id(together)]))
    return Overlap(
        request.detector,
        median(ahead for ahead, _, _, _ in rounds) * 1e3,
        median(behind for _, behind, _, _ in rounds) * 1e3,
        median(max(ahead, behind) / overlapped for ahead, behind, _, overlapped in rounds),
        median(one_by_one / overlapped for _, _, one_by_one, overlapped in rounds),
    )


def stage_seconds(frames: Sequence[Stages]) -> tuple[float, float]:
    """Mean seconds of a frame in the stages of `AHEAD`, and in the others."""
    ahead = fmean(sum(s for stage, s in one.items() if stage in AHEAD) for one in frames)
    both = fmean(sum(s for stage, s in one.items() if stage != "latency") for one in frames)
    return ahead, both - ahead


def _interval_s(pipeline: Pipeline, frames: int, stop: StopRequest) -> float:
    """Mean time from one result to the next; the first frame, which fills the stages, is left out.

    Raises:
        Stopped: The user asked to stop.
    """
    ends: list[float] = []

    def note(_frame: Frame, _tracks: Sequence[Tracks]) -> None:
        ends.append(time.perf_counter())

    pipeline.run(stop, max_frames=pipeline.frames + frames, on_frame=note)
    stop.raise_if_set()
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def defaults_table(saved: Mapping[str, Saved], overlaps: Mapping[str, Overlap | None]) -> TextTable:
    """A row a side: what the defaults save, and what overlap gives them."""
    rows = []
    for name, one in saved.items():
        row = (name, f"{one.pixels:.1%}", f"{one.without_backbone:.0%}", f"{one.faster:.2f}×")
        rows.append((*row, *_overlap_cells(overlaps.get(name))))
    head = ("with the defaults of track", "backbone's pixels", "frames without it", "faster")
    return TextTable((*head, "overlap: of the slower stage", "faster"), rows)


def _overlap_cells(overlap: Overlap | None) -> tuple[str, str]:
    if overlap is None:
        return "–", "–"
    slower = max(overlap.ahead_ms, overlap.behind_ms)
    stage = "before the backbone" if slower == overlap.ahead_ms else "from the backbone on"
    return f"{overlap.reached:.0%} of {slower:.1f} ms {stage}", f"{overlap.faster:.2f}×"
