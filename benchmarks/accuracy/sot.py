"""AUC of single-object tracking on OTB sequences, beside OpenCV's CSRT where it is to be had.

Processor time, of all threads, is what is compared, and not the clock, so that what else a machine
does changes little.  The sides take turns frame by frame; each one's first frame is left out.  CSRT
is in `opencv-contrib-python-headless`, which stands in the way of `opencv-python`: install that in
an environment of its own and name it by `--peer-packages` (its site-packages); it then runs in a
process of its own, of which the same is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import SourceError, UnitrackError
from ...evaluation.metrics.sot import success_auc
from ...heads.config import FOCUS, SOT_HEADS, SotConfig
from ...heads.sot import Box, SotHead
from ...records import Frame, UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.otb import read_otb_boxes
from ...runtime.inference.base import Graphs
from ...runtime.inference.runner import GraphRunner
from ..script import Script, read_json

DATA = Path(__file__).parents[2].parent / "shared/data/sot"

FRAMES = {"jogging": 90, "Car4": 120, "Bike": 120, "Drone1": 120}
"""From the first one, of every sequence; jogging is of its first target."""

PEER = """
import json, sys, time
import cv2
cv2.setNumThreads(int(sys.argv[1]))
tracker = None
for line in sys.stdin:
    path, box = json.loads(line)
    image = cv2.imread(path)
    start = time.process_time()
    if box is not None:
        tracker = cv2.TrackerCSRT_create()
        tracker.init(image, [round(value) for value in box])
    else:
        found, box = tracker.update(image)
    print(json.dumps([list(map(float, box)), time.process_time() - start]), flush=True)
"""

Step = Callable[[Path, int, Box | None], tuple[Box, float]]
"""Image file, its number, in the first one the box → the box, and seconds of processor time."""


@dataclass(slots=True)
class Score:
    """What a side found in a sequence so far."""

    boxes: list[Box]
    seconds: list[float]


def read_image(path: Path) -> UInt8Array:
    """An image as (H, W, 3) uint8 BGR.

    Raises:
        SourceError: It cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise SourceError(f"{path} cannot be read")
    return np.asarray(image, np.uint8)


def ours(graphs: Graphs, config: SotConfig) -> Step:
    """This project's head."""
    head: list[SotHead] = []

    def step(path: Path, number: int, box: Box | None) -> tuple[Box, float]:
        frame = Frame(number, number / 30, read_image(path))
        start = time.process_time()
        if box is not None:
            head[:] = [SotHead(graphs, box, config)]
        left, top, right, bottom = head[0].step(frame).detections.boxes_xyxy[0].tolist()
        spent = time.process_time() - start
        return (left, top, right - left, bottom - top), spent

    return step


@contextmanager
def peer(packages: Path, threads: int) -> Iterator[Step]:
    """CSRT, in a process that finds OpenCV in a folder of packages."""
    process = subprocess.Popen(
        [sys.executable, "-c", PEER, str(threads)],
        env={**os.environ, "PYTHONPATH": str(packages)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("the pipes to CSRT are not there")

    def step(path: Path, _number: int, box: Box | None) -> tuple[Box, float]:
        print(json.dumps([str(path), box]), file=stdin, flush=True)
        line = stdout.readline()
        if not line:
            raise UnitrackError(f"CSRT did not run with the packages of {packages}")
        (x, y, width, height), spent = json.loads(line)
        return (x, y, width, height), spent

    try:
        yield step
    finally:
        stdin.close()
        process.wait()


def track(
    sides: dict[str, Step], folder: Path, most: int
) -> tuple[npt.NDArray[np.float64], dict[str, Score]]:
    """The truth (N, 4), and what every side finds, in turns."""
    truth_files = sorted(folder.glob("groundtruth_rect*.txt"))
    if not truth_files:
        raise UnitrackError(
            f"no groundtruth_rect*.txt in {folder}: give the folder of OTB's sequences with --data"
        )
    truth = read_otb_boxes(truth_files[0])[:most]
    paths = sorted((folder / "img").glob("*.jpg"))[: len(truth)]
    scores = {name: Score([], []) for name in sides}
    for number, path in enumerate(paths):
        first: Box | None = tuple(truth[0].tolist()) if number == 0 else None
        for name, step in sides.items():
            box, spent = step(path, number, first)
            scores[name].boxes.append(box)
            scores[name].seconds.append(spent)
    return truth[: len(paths)], scores


script = Script(__doc__, threads=2)
script.add_argument("--bundle", type=Path, required=True)
script.add_argument("--data", type=Path, default=DATA, help="default: ../shared/data/sot")
script.add_argument("--sequence", action="append", help="default: all of the four")
script.number("--frames", None, "at most", least=2)
script.add_argument("--head", action="append", choices=SOT_HEADS, help="default: both")
script.add_argument("--focus", action="append", choices=FOCUS, help="default: both")
script.add_argument("--peer-packages", type=Path, help="site-packages with opencv-contrib")
script.add_argument("--json", type=Path, help="add the results to this file")


@script.does
def main(options: argparse.Namespace) -> None:
    """Track, print a line a sequence and side, and keep the result where that is asked for."""
    cv2.setNumThreads(options.threads)
    rows = read_json(options.json, list) if options.json and options.json.exists() else []
    with GraphRunner(Bundle.load(options.bundle), "cpu", options.threads) as graphs:
        sides = {
            f"{head} {focus}": ours(graphs, SotConfig(head=head, focus=focus))
            for head in options.head or SOT_HEADS
            for focus in options.focus or FOCUS
        }
        print(f"{'sequence':10}{'frames':>7}  {'side':10}{'AUC':>7}{'ms median':>11}")
        for name in options.sequence or FRAMES:
            most = min(options.frames or 10**6, FRAMES.get(name, 10**6))
            if options.peer_packages is None:
                truth, scores = track(sides, options.data / name, most)
            else:
                with peer(options.peer_packages, options.threads) as csrt:
                    both = {**sides, "CSRT": csrt}
                    truth, scores = track(both, options.data / name, most)
            for side, score in scores.items():
                auc = success_auc(np.array(score.boxes), truth)
                spent = 1e3 * float(np.median(score.seconds[1:]))
                print(f"{name:10}{len(truth):7}  {side:10}{auc:7.3f}{spent:11.1f}", flush=True)
                row = {"bundle": options.bundle.name, "threads": options.threads}
                row |= {"sequence": name, "frames": len(truth), "side": side}
                rows.append(row | {"auc": round(auc, 4), "cpu_ms": round(spent, 2)})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
