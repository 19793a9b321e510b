"""Masks in focus against the whole frame: overlap, processor time and pixels, on the same frames.

Processor time, of all threads, is compared and not the clock, so that what else a machine does
changes little.  The first frame, which is prepared, is left out of both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...evaluation.datasets.base import ONE_OBJECT
from ...evaluation.datasets.davis import read_labels
from ...evaluation.metrics.davis import vos_j_mean
from ...evaluation.synthetic.scene import Scene, SceneConfig
from ...heads.config import FOCUS, VosConfig
from ...heads.vos import VosHead
from ...records import Frame, UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.base import Graphs
from ...runtime.inference.runner import GraphRunner
from ...runtime.pipeline import Viewer
from ...runtime.sources.open import open_source
from ..script import Script
from .tradeoff import keep

MOST_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames with their true label maps (H, W) uint8."""

    name: str
    frames: Sequence[Frame]
    truth: Sequence[UInt8Array]


def davis_clips(root: Path, frames: int) -> Iterator[Clip]:
    """The sequences of a DAVIS folder, one object each."""
    for folder in sorted((root / "Annotations" / "480p").iterdir()):
        files = sorted(folder.glob("*.png"))[:frames]
        truth = [read_labels(file, ONE_OBJECT) for file in files]
        with open_source(str(root / "JPEGImages" / "480p" / folder.name)) as source:
            shown = [frame for frame, _ in zip(source, files, strict=False)]
        yield Clip(folder.name, shown, truth)


def scene_clips(frames: int) -> Iterator[Clip]:
    """The demo's scene; and in 1080p one of its figures, which covers some two hundredths."""
    for name, config in (
        ("demo", SceneConfig(frames)),
        ("1080p", SceneConfig(frames, 1080, 1920, objects=3)),
    ):
        scene = Scene(config)
        truth = [scene.truth(index).label_map() for index in range(frames)]
        if name == "1080p":
            shares = np.bincount(truth[0].ravel(), minlength=4)[1:] / truth[0].size
            one = 1 + int(np.abs(shares - 0.02).argmin())
            truth = [(labels == one).astype(np.uint8) for labels in truth]
        yield Clip(name, list(scene), truth)


def measure(graphs: Graphs, clip: Clip, focus: str) -> tuple[float, float, float]:
    """J, milliseconds of processor time a frame, and pixels of the backbone a frame."""
    head = VosHead(graphs, clip.truth[0], VosConfig(focus=focus))
    viewer, found, pixels, start = Viewer(graphs, [head]), [], 0, 0.0
    for number, frame in enumerate(clip.frames):
        if number == 1:
            pixels, start = 0, time.process_time()
        views = viewer.views(frame, [head.request(frame)])
        features: Any = views.given(viewer.features(views))[0]
        tracks = head.step(frame, features)
        pixels += sum(image.shape[1] * image.shape[2] for image in views.images)
        found.append(cast(UInt8Array, tracks.label_map))
    spent = (time.process_time() - start) / (len(clip.frames) - 1)
    return vos_j_mean(found, clip.truth), spent * 1e3, pixels / (len(clip.frames) - 1)


script = Script(__doc__, threads=2)
script.add_argument("--bundle", type=Path, required=True)
script.add_argument("--data", type=Path, help="DAVIS folder; without it, the procedural scenes")
script.number("--frames", MOST_FRAMES, "of a clip, at most", least=2)
script.add_argument("--json", type=Path, help="where to keep what was measured")


@script.does
def main(options: argparse.Namespace) -> None:
    """Measure and print a table."""
    clips = (
        scene_clips(options.frames)
        if options.data is None
        else davis_clips(options.data, options.frames)
    )
    bundle, rows = Bundle.load(options.bundle), []
    print("clip              J off   auto | ms off   auto  ratio | pixels auto / off")
    with GraphRunner(bundle, "cpu", options.threads) as graphs:
        for clip in clips:
            auto, off = (measure(graphs, clip, focus) for focus in FOCUS)
            ways = {"full": off, "focus": auto}
            rows += [
                {"clip": clip.name, "way": way, "score": found[0], "cpu_ms": found[1]}
                for way, found in ways.items()
            ]
            print(
                f"{clip.name:16} {off[0]:6.3f} {auto[0]:6.3f} | {off[1]:6.0f} {auto[1]:6.0f} "
                f"{auto[1] / off[1]:6.2f} | {auto[2] / off[2]:.2f}",
                flush=True,
            )
    if options.json is not None:
        keep(options.json, "J", bundle.spec.backbone, options.threads, rows)
