"""A frame of single-object tracking without focus against the backbone on its crops alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from ...heads.config import SOT_HEADS, SotConfig
from ...heads.correlation.geometry import crop_window
from ...heads.sot import Box, SotHead
from ...records import Frame
from ...runtime.inference.base import Graphs
from ..clip import walking_clip
from ..script import Result, Script
from ..timing import Stages, Stopwatch, interleave, limit_threads, ratios, stage_table, summary
from ..weights import add_options, bundled, weights_of

HEIGHT, WIDTH = 480, 854
LIMIT = 1.15
"""Largest share of a frame in its crops' backbone time."""

WARM_UP = 2
SIDE = 520

Timed = Callable[[int], Stages]


def whole_frame(graphs: Graphs, head: str, frames: Sequence[Frame], box: Box) -> Timed:
    """Crops, backbone, response, learning: all that a step does."""
    tracker = SotHead(graphs, box, SotConfig(head=head, focus="off"))
    tracker.step(frames[0])
    watch = Stopwatch()

    def step(number: int) -> Stages:
        with watch.stage("frame"):
            tracker.step(frames[number + 1])
        return watch.take()

    return step


def crops_alone(graphs: Graphs, head: str, frames: Sequence[Frame], box: Box) -> Timed:
    """The backbone on as many crops in as many calls, cut out beforehand."""
    x, y, width, height = box
    centre = np.array([x + width / 2, y + height / 2])
    window = np.array([width, height]) * 4.5
    batches = (3, 1) if head == "dcf" else (3,)
    watch = Stopwatch()

    def step(number: int) -> Stages:
        crop = crop_window(frames[number + 1].image, centre, window, SIDE)
        feeds = [np.repeat(crop[None], size, axis=0) for size in batches]
        with watch.stage("frame"):
            for feed in feeds:
                graphs.run("backbone", feed)
        return watch.take()

    return step


script = Script(__doc__, rounds=12, threads=2, saves=True)
add_options(script)


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure both heads, each against its crops alone."""
    frames, mask = walking_clip(HEIGHT, WIDTH, 1 + WARM_UP + options.rounds)
    rows, columns = np.nonzero(mask)
    box: Box = (
        float(columns.min()),
        float(rows.min()),
        float(np.ptp(columns) + 1),
        float(np.ptp(rows) + 1),
    )
    weights = weights_of(options.backbone, options.weights)
    limit_threads(options.threads)
    with bundled(options.backbone, weights, options.threads) as graphs:
        sides: dict[str, Timed] = {}
        for head in SOT_HEADS:
            sides[head] = whole_frame(graphs, head, frames, box)
            sides[f"{head}_crops"] = crops_alone(graphs, head, frames, box)
        measured = interleave(sides, warm_up=WARM_UP, rounds=options.rounds)
    pairs = [(head, f"{head}_crops") for head in SOT_HEADS]
    record = {"backbone": options.backbone, "frame_hw": [HEIGHT, WIDTH]}
    record |= summary(measured, pairs)
    slow = [pair[0] for pair in pairs if ratios(measured, *pair)["total"]["median"] > LIMIT]
    complaint = f"more than {LIMIT} of its crops: {', '.join(slow)}" if slow else ""
    return Result("sot_speed", stage_table(measured, pairs), record, complaint)
