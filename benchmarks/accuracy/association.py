"""What each part of preset `memory` is worth: features once, then every variant on them.

    python -m unitrack_edge.benchmarks.accuracy.association --bundle bundles/efficientnet-lite0 \
        --task mot --data MOT15/train [--detections FOLDER] [--sequence NAME] [--max-frames N]

Backbone and object features are computed once a sequence, for all detections that any variant
could want; a variant then replays the association alone, which takes seconds.  Printed are the
scores that `cli eval` gives (the same files, scored by the same code), a row a variant.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...evaluation.datasets.base import Sequence, choose, first_frames
from ...evaluation.datasets.registry import FORMAT_OF_TASK, FORMATS
from ...heads.association.fused_matching import FusedAssociator
from ...heads.association.kalman import RIGID
from ...heads.association.tracklets import ObjectFeatures
from ...heads.mot import MotHead
from ...heads.mots import MotsHead
from ...heads.posetrack import PosetrackHead
from ...heads.tracked import TrackedHead
from ...records import Detections, Frame, Tracks
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.detections import open_detections
from ...runtime.inference.runner import GraphRunner
from ...runtime.preprocessing import FeatureExtractor
from ...runtime.sources.open import open_source
from ...tracking.registry import DEFAULT_FPS, TASKS
from ..script import Script

HEADS: dict[str, Callable[..., TrackedHead[Any]]] = {
    "mot": MotHead,
    "mots": MotsHead,
    "posetrack": PosetrackHead,
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table.

    Attributes:
        name: For people.
        config: Parameters of the task's configuration.
        numbers: Of `FusedConfig`, where it has no such parameter.
        calibrate_scores: Whether raw scores of text files become probabilities.
    """

    name: str
    config: dict[str, Any]
    numbers: dict[str, Any]
    calibrate_scores: bool = True


VARIANTS = (
    Variant("the paper's (unitrack)", {"preset": "unitrack"}, {}, calibrate_scores=False),
    Variant("memory", {}, {}),
    Variant("appearance always", {}, {"clear_overlap": 2.0}),
    Variant("direction not counted", {}, {"direction_weight": 0.0}),
    Variant("anywhere within reach", {}, {"reach": 1e6}),
    Variant("doubles start tracks", {}, {"start_overlap": 1.0}),
    Variant("crowd: 100 pairs", {}, {"most_pairs": 100}),
    Variant("newest feature only", {"memory": 1}, {}),
    Variant("three features", {"memory": 3}, {}),
    Variant("costs not scaled", {}, {"other_cost": 0.0}),
    Variant("overlap alone", {"appearance_weight": 0.0}, {}),
    Variant("appearance alone", {"appearance_weight": 1.0}, {}),
    Variant("appearance weight 0.6", {"appearance_weight": 0.6}, {}),
    Variant("cost limit 0.7", {"cost_limit": 0.7}, {}),
    Variant("no low scores", {"low_confidence": 0.5}, {}),
    Variant("lost for 1 s at most", {"buffer": 30.0}, {}),
    Variant("no coasting (mot)", {}, {"coast_s": 0.0}),
    Variant("rigid aspect", {}, {"aspect": RIGID}),
    Variant("filters as agile as JDE's", {}, {"least_change": 1.0}),
    Variant("raw scores", {}, {}, calibrate_scores=False),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A sequence without its images.

    Attributes:
        frames: Each with its detections and their features.
        fps: Frames per second.
    """

    frames: list[tuple[Frame, Detections, ObjectFeatures | None]]
    fps: float


def record(graphs: GraphRunner, task: str, sequence: Sequence, calibrate_scores: bool) -> Recorded:
    """Detections of every frame with their features; frames without their images."""
    extractor = FeatureExtractor(graphs)
    make_config: Any = TASKS[task].config
    head = HEADS[task](graphs, make_config(confidence=-1e9))
    recorded: list[tuple[Frame, Detections, ObjectFeatures | None]] = []
    if sequence.detections is None:
        raise DetectionError(f"{sequence.name}: no detections to associate")
    folder = sequence.images[0].parent
    with (
        open_detections(sequence.detections, calibrate_scores=calibrate_scores) as detections,
        open_source(str(folder), fps=sequence.fps) as source,
    ):
        for frame in islice(source, len(sequence.images)):
            image, letterbox = extractor.prepare(frame, head.network_hw(frame.size_hw))
            seen = head._usable(detections.detect(frame), frame.size_hw)
            found = None
            if len(seen):
                found = head._describe(seen, extractor.extract(image, letterbox))
            recorded.append((frame, seen, found))
        return Recorded(recorded, source.info.fps or DEFAULT_FPS)


def replayed(head: TrackedHead[Any], recorded: Recorded) -> Iterator[tuple[Frame, Tracks]]:
    """The tracks that a head makes of recorded features."""
    for frame, seen, features in recorded.frames:
        yield frame, head.associate(frame, *_wanted(head, frame, seen, features))


def _wanted(
    head: TrackedHead[Any], frame: Frame, seen: Detections, features: ObjectFeatures | None
) -> tuple[Detections, ObjectFeatures | None]:
    """What the head would have kept of all detections, and their features."""
    kept = head._usable(seen, frame.size_hw)
    if features is None or not len(kept):
        return kept, None
    place = {
        box.tobytes() + score.tobytes(): row
        for row, (box, score) in enumerate(zip(seen.boxes_xyxy, seen.scores, strict=True))
    }
    rows = [
        place[b.tobytes() + s.tobytes()] for b, s in zip(kept.boxes_xyxy, kept.scores, strict=True)
    ]
    return kept, ObjectFeatures(np.asarray(features.points)[rows], features.mask[rows])


def score(
    task: str, sequence: Sequence, tracks: Iterator[tuple[Frame, Tracks]]
) -> dict[str, float]:
    """The scores of `cli eval`."""
    row, spec = FORMATS[FORMAT_OF_TASK[task]], TASKS[task]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with spec.open_writer(folder / spec.result) as writer:
            for frame, found in tracks:
                writer.write(frame, found)
        row.collect(sequence, folder / spec.result, folder / "result")
        return row.score(sequence, folder / "result")[0].values


def run_variant(
    graphs: GraphRunner, task: str, sequence: Sequence, recorded: Recorded, variant: Variant
) -> dict[str, float]:
    """Track and score a sequence in one way."""
    make_config: Any = TASKS[task].config
    config = make_config(**({"preset": "memory"} | variant.config))
    head = HEADS[task](graphs, config, recorded.fps)
    if variant.numbers:
        numbers = replace(head.fused_numbers(recorded.fps), **variant.numbers)
        head._fused = FusedAssociator(graphs, numbers)
    return score(task, sequence, replayed(head, recorded))


def add_data(script: Script) -> None:
    """Add the options that say what is tracked, and with which bundle."""
    script.add_argument("--bundle", type=Path, required=True)
    script.add_argument("--task", choices=sorted(HEADS), default="mot")
    script.add_argument("--data", type=Path, required=True)
    script.add_argument("--split")
    script.add_argument("--detections", type=Path, help="folder of SEQUENCE.txt")
    script.add_argument("--sequence", action="append", default=[])
    script.number("--max-frames", None, "of a sequence", least=2)


def sequences_of(options: argparse.Namespace) -> Iterator[Sequence]:
    """What the options of `add_data` name."""
    read = FORMATS[FORMAT_OF_TASK[options.task]].read
    for found in choose(read(options.data, options.split), options.sequence):
        sequence = first_frames(found, options.max_frames)
        if options.detections is not None:
            sequence = replace(sequence, detections=options.detections / f"{sequence.name}.txt")
        yield sequence


script = Script(__doc__, threads=1)
add_data(script)


@script.does
def main(options: argparse.Namespace) -> None:
    """Print the table of every sequence."""
    graphs = GraphRunner(Bundle.load(options.bundle), "cpu", options.threads)
    for sequence in sequences_of(options):
        by_scores = {c: record(graphs, options.task, sequence, c) for c in (False, True)}
        print(f"{sequence.name}, {len(sequence.images)} frames")
        for variant in VARIANTS:
            recorded = by_scores[variant.calibrate_scores]
            values = run_variant(graphs, options.task, sequence, recorded, variant)
            cells = [f"{values[c]:.3f}" for c in ("HOTA", "IDF1")] + [f"{values['IDs']:.0f}"]
            print(f"  {variant.name:28s} " + "  ".join(cells), flush=True)
