"""Appearance where it decides against appearance of every frame: scores, times, work.

    python -m unitrack_edge.benchmarks.accuracy.appearance --bundle bundles/efficientnet-lite0 \
        --task mot --data MOT15/train [--detections FOLDER] [--sequence NAME] [--max-frames N]

Both take every frame in turn, so that whatever else the machine does slows both alike.  A time is
that of all but the detector and the decoder: letterbox, backbone, head.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...evaluation.datasets.base import Sequence
from ...heads.tracked import TrackedHead
from ...records import Detections, Frame, Tracks
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.detections import open_detections
from ...runtime.inference.base import Graphs
from ...runtime.inference.runner import GraphRunner
from ...runtime.preprocessing import FeatureExtractor
from ...runtime.sources.open import open_source
from ...tracking.registry import DEFAULT_FPS, TASKS
from ..script import Script
from .association import HEADS, add_data, score, sequences_of
from .tradeoff import keep

WAYS = ("always", "auto")


@dataclass(slots=True)
class Way:
    """One head on its way through a sequence.

    Attributes:
        head: It.
        extractor: For whole frames.
        results: Every frame with its tracks.
        seconds: What each took.
        cpu: Processor time of each, of all threads, in seconds.
        pixels: That the backbone saw in each.
    """

    head: TrackedHead[Any]
    extractor: FeatureExtractor
    results: list[tuple[Frame, Tracks]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)

    def step(self, frame: Frame, detections: Detections) -> None:
        """Take the next frame."""
        before, seen = self.head.backbone_pixels, 0
        start, busy = time.perf_counter(), time.process_time()
        features: Any = None
        if self.head.needs_features:
            size = self.head.network_hw(frame.size_hw)
            features = self.extractor.extract(*self.extractor.prepare(frame, size))
            seen = size[0] * size[1]
        tracks = self.head.step(frame, features, detections)
        self.seconds.append(time.perf_counter() - start)
        self.cpu.append(time.process_time() - busy)
        self.pixels.append(seen + self.head.backbone_pixels - before)
        # A mask's writer wants the frame's size only: images would fill the memory.
        small = np.broadcast_to(np.zeros(1, np.uint8), frame.image.shape)
        self.results.append((replace(frame, image=small), tracks))


def run(graphs: Graphs, task: str, sequence: Sequence) -> dict[str, Way]:
    """Take a sequence both ways."""
    if sequence.detections is None:
        raise DetectionError(f"{sequence.name}: no detections to associate")
    folder, make_config = str(sequence.images[0].parent), TASKS[task].config
    with (
        open_detections(sequence.detections, calibrate_scores=True) as detections,
        open_source(folder, fps=sequence.fps) as source,
    ):
        fps = source.info.fps or DEFAULT_FPS
        ways = {}
        for name in WAYS:
            config: Any = make_config(appearance=name)  # type: ignore[call-arg]
            ways[name] = Way(HEADS[task](graphs, config, fps), FeatureExtractor(graphs))
        for frame in islice(source, len(sequence.images)):
            found = detections.detect(frame)
            for way in ways.values():
                way.step(frame, found)
    return ways


def lines(task: str, sequence: Sequence, ways: dict[str, Way]) -> Iterator[str]:
    """The table of a sequence."""
    whole = ways["always"]
    for name, way in ways.items():
        values = score(task, sequence, iter(way.results))
        cells = [f"{values[c]:.3f}" for c in ("HOTA", "IDF1")] + [f"{values['IDs']:.0f}"]
        median, base = np.median(way.seconds), np.median(whole.seconds)
        share = np.sum(way.pixels) / np.sum(whole.pixels)
        yield (
            f"  {name:8s} {'/'.join(cells):18s} median {1e3 * median:7.1f} ms "
            f"({median / base:.3f} x), p95 {1e3 * np.percentile(way.seconds, 95):7.1f} ms, "
            f"{share:.1%} of the pixels, {np.mean(np.equal(way.pixels, 0)):.0%} of the frames "
            "without backbone"
        )


script = Script(__doc__, threads=0)
add_data(script)
script.add_argument("--json", type=Path, help="where to keep what was measured")


@script.does
def main(options: argparse.Namespace) -> None:
    """Print the table of every sequence."""
    rows: list[dict[str, Any]] = []
    bundle = Bundle.load(options.bundle)
    graphs = GraphRunner(bundle, "cpu", options.threads)
    for sequence in sequences_of(options):
        print(f"{sequence.name}, {len(sequence.images)} frames")
        ways = run(graphs, options.task, sequence)
        for line in lines(options.task, sequence, ways):
            print(line, flush=True)
        for name, way in ways.items():
            hota = score(options.task, sequence, iter(way.results))["HOTA"]
            cpu_ms = 1e3 * float(np.mean(way.cpu[1:]))
            shown = "full" if name == "always" else name
            rows.append({"clip": sequence.name, "way": shown, "score": hota, "cpu_ms": cpu_ms})
    if options.json is not None:
        keep(options.json, "HOTA", bundle.spec.backbone, options.threads, rows)
