"""Masks or poses in focus against the whole frame: accuracy, processor time and pixels.

Processor time, of all threads, is compared and not the clock, so that what else a machine does
changes little.  The first frame, which is given, is left out of both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UnitrackError
from ...evaluation.datasets.base import ONE_OBJECT
from ...evaluation.datasets.davis import read_labels
from ...evaluation.datasets.posetrack import read_poses
from ...evaluation.metrics.davis import vos_j_mean
from ...evaluation.metrics.pose import pck
from ...evaluation.synthetic.scene import Scene, SceneConfig
from ...heads.config import FOCUS, PoseConfig, VosConfig
from ...heads.pose import PoseHead
from ...heads.vos import VosHead
from ...records import FloatArray, Frame, Tracks
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.base import Graphs
from ...runtime.inference.runner import GraphRunner
from ...runtime.pipeline import Viewer
from ...runtime.sources.open import open_source
from .tradeoff import keep

MOST_FRAMES = 50

PCK_LIMIT = 0.1
"""Body sizes within which a joint is right."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames with their truth: label maps (H, W) uint8, or joints (N, 17, 3) of the same people."""

    name: str
    frames: Sequence[Frame]
    truth: Sequence[Any]


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


def posetrack_clips(root: Path, frames: int) -> Iterator[Clip]:
    """The sequences of a folder with NAME/gt.json and NAME/images, people of the first frame."""
    for file in sorted(root.glob("*/gt.json")):
        images, poses = read_poses(file)
        seen = [poses.get(image["id"]) for image in images[:frames]]
        people = [
            {} if one is None else dict(zip(one.ids.tolist(), one.keypoints, strict=True))
            for one in seen
        ]
        with open_source(str(file.parent / "images")) as source:
            shown = [frame for frame, _ in zip(source, people, strict=False)]
        yield Clip(file.parent.name, shown, followed(people))


def posed_scenes(frames: int) -> Iterator[Clip]:
    """The demo's scene and two of other seeds; and in 1080p each of the two figures in front."""
    small = [(f"seed {seed}", SceneConfig(150, seed=seed), slice(None)) for seed in (0, 3, 7)]
    large = SceneConfig(150, 1080, 1920, objects=3)
    one = [(f"1080p, figure {k + 1}", large, slice(k, k + 1)) for k in (0, 2)]
    for name, config, chosen in [*small, *one]:
        scene = Scene(config)
        truth = [scene.truth(index) for index in range(frames)]
        ids = truth[0].ids[truth[0].visible >= np.float32(0.5)][chosen]
        people = [
            {int(k): joints for k, joints in zip(t.ids, t.keypoints, strict=True) if k in ids}
            for t in truth
        ]
        yield Clip(name, [scene.frame(index) for index in range(frames)], followed(people))


def followed(people: Sequence[dict[int, FloatArray]]) -> Sequence[FloatArray]:
    """(N, 17, 3) a frame, of the people and joints that the first frame shows."""
    nobody = np.zeros((17, 3), np.float32)
    rows = [np.stack([one.get(k, nobody) for k in people[0]]) for one in people]
    return [joints * (rows[0][..., 2:] > 0) for joints in rows]


def measure(graphs: Graphs, clip: Clip, focus: str) -> tuple[float, float, float]:
    """J or PCK@0.1, milliseconds of processor time a frame, and pixels of the backbone a frame."""
    first, posed = clip.truth[0], clip.truth[0].ndim == 3
    head: Any = (
        PoseHead(graphs, first, PoseConfig(focus=focus))
        if posed
        else VosHead(graphs, first, VosConfig(focus=focus))
    )
    viewer, pixels, start = Viewer(graphs, [head]), 0, 0.0
    found: list[Any] = []
    for number, frame in enumerate(clip.frames):
        if number == 1:
            pixels, start = 0, time.process_time()
        views = viewer.views(frame, [head.request(frame)])
        features: Any = views.given(viewer.features(views))[0]
        tracks = head.step(frame, features)
        pixels += sum(image.shape[1] * image.shape[2] for image in views.images)
        found.append(joints_of(tracks, first) if posed else tracks.label_map)
    spent = (time.process_time() - start) / (len(clip.frames) - 1)
    if posed:
        score = pck(np.stack(found[1:]), np.stack(clip.truth[1:]), PCK_LIMIT)
    else:
        score = vos_j_mean(found, clip.truth)
    return score, spent * 1e3, pixels / (len(clip.frames) - 1)


def joints_of(tracks: Tracks, first: FloatArray) -> FloatArray:
    """(N, 17, 3), zeros for who is not in the tracks."""
    joints = np.zeros_like(first)
    if tracks.detections.keypoints is not None:
        joints[tracks.ids - 1] = tracks.detections.keypoints
    return joints


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--task", choices=("vos", "pose"), default="vos")
    parser.add_argument(
        "--data",
        type=Path,
        help="DAVIS folder, or of pose one with NAME/gt.json and NAME/images; without it, the "
        "procedural scenes",
    )
    parser.add_argument("--frames", type=int, default=MOST_FRAMES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to keep what was measured")
    options = parser.parse_args(arguments)
    try:
        scenes, files = (
            (scene_clips, davis_clips) if options.task == "vos" else (posed_scenes, posetrack_clips)
        )
        clips = (
            scenes(options.frames) if options.data is None else files(options.data, options.frames)
        )
        measure_name = "J" if options.task == "vos" else f"PCK@{PCK_LIMIT:g}"
        print(f"{measure_name:16} off     auto | ms off   auto  ratio | pixels auto / off")
        bundle, rows = Bundle.load(options.bundle), []
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
            keep(options.json, measure_name, bundle.spec.backbone, options.threads, rows)
    except UnitrackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
