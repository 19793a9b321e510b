"""`--mot-camera-motion` auto, off and flow where the camera moves: scores, and processor time.

    python -m unitrack_edge.benchmarks.accuracy.camera_motion --bundle bundles/efficientnet-lite0 \
        --format mot --data MOT15/train [--detections NAME.txt] [--camera pan] [--sequence NAME]
    python -m unitrack_edge.benchmarks.accuracy.camera_motion --bundle … --format otb --data OTB

Of a camera that stands still, `--camera pan` and `shake` see the images through a window of three
quarters of their size that moves: back and forth in 2 s by as far as it goes, or anew in every
frame, 1/80 of the image's size in standard deviation.  Data sets of single objects, `otb` and
`davis`, have cameras that really move, but no detections: the truth is given instead, its edges off
by 3 % of the box, and every object is missed for half of every second.

Scores are means of four runs, of which three lack 3 % of the detections; the first run of a clip
computes the features of an object, and the others take them over.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...evaluation.datasets.base import Sequence as DataSequence
from ...evaluation.datasets.base import choose
from ...evaluation.datasets.registry import FORMATS
from ...evaluation.metrics.mot import rows_of_tracks, score_mot
from ...heads.association.look_memory import Look
from ...heads.camera.motion import CameraMotion
from ...heads.config import CAMERA_MOTIONS, MotConfig
from ...heads.mot import MotHead
from ...records import Detections, FloatArray, Frame, IntArray
from ...runtime.boxes import box_areas, clip_boxes, mask_boxes, valid_rows, xywh_to_xyxy
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.davis import read_label_png
from ...runtime.formats.detections import open_detections
from ...runtime.formats.mot import read_mot_truth
from ...runtime.formats.otb import read_otb_boxes
from ...runtime.inference.base import Graphs
from ...runtime.inference.runner import GraphRunner
from ...runtime.sources.open import open_source
from ...tracking.registry import DEFAULT_FPS
from ..script import Script

Rows = dict[int, tuple[IntArray, FloatArray]]
CAMERAS = ("still", "pan", "shake")
WINDOW = 0.75
SHAKE = 1 / 80
PAN_S = 2.0
RUNS, LEFT_OUT = 4, 0.03


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames with detections, and the truth in a frame: ids and boxes in source pixels."""

    frames: list[Frame]
    detections: list[Detections]
    truth: Rows
    fps: float


def of_people(sequence: DataSequence) -> Clip:
    """A clip with detections of its own."""
    if sequence.detections is None or sequence.truth is None:
        raise DetectionError(f"{sequence.name}: no detections or no truth to score")
    frames, fps = _frames(sequence)
    with open_detections(sequence.detections, calibrate_scores=True) as detector:
        found = [detector.detect(frame) for frame in frames]
    return Clip(frames, found, dict(read_mot_truth(sequence.truth)), fps)


def of_objects(sequences: Sequence[DataSequence]) -> Clip:
    """A clip of single objects, given as one sequence each; see the top for the detections."""
    frames, fps = _frames(sequences[0])
    boxes = np.stack([_boxes(sequence, len(frames)) for sequence in sequences], axis=1)
    rng = np.random.default_rng(0)
    truth: Rows = {}
    found = []
    for frame, row in zip(frames, boxes, strict=True):
        ids = np.flatnonzero(valid_rows(row))
        truth[frame.index] = ids + 1, row[ids]
        seen = row[ids[(frame.time_s + 0.5 * (ids % 2)) % 1.0 < 0.5]]
        size = np.tile(seen[:, 2:] - seen[:, :2], 2)
        seen = (seen + rng.normal(0, 0.03, seen.shape) * size).astype(np.float32)
        count = len(seen)
        found.append(Detections(seen, np.full(count, 0.9, np.float32), np.zeros(count, np.int64)))
    return Clip(frames, found, truth, fps)


def _frames(sequence: DataSequence) -> tuple[list[Frame], float]:
    with open_source(str(sequence.images[0].parent), fps=sequence.fps) as source:
        return list(source), source.info.fps or DEFAULT_FPS


def _boxes(sequence: DataSequence, count: int) -> FloatArray:
    """(frames, 4) of the one object of a sequence; all 0 where it is not seen."""
    if sequence.truth is None:
        raise DetectionError(f"{sequence.name}: no truth to take detections from")
    if sequence.truth.is_dir():
        paths = sorted(sequence.truth.glob("*.png"))[:count]
        return np.concatenate([mask_boxes(read_label_png(path)[None] > 0) for path in paths])
    return np.nan_to_num(xywh_to_xyxy(read_otb_boxes(sequence.truth)[:count])).astype(np.float32)


def through_window(clip: Clip, camera: str) -> Clip:
    """What a window that moves over the images sees; half of an object or more is one."""
    rng = np.random.default_rng(0)
    frames, found, truth = [], [], {}
    for frame, seen in zip(clip.frames, clip.detections, strict=True):
        size = np.array(frame.size_hw[::-1])
        inner = (WINDOW * size).astype(int)
        free = size - inner
        if camera == "pan":
            place = free / 2 * (1 + np.sin(2 * np.pi * frame.time_s / PAN_S) * np.array([1, 0]))
        else:
            place = free / 2 + rng.normal(0, SHAKE * size)
        x, y = np.clip(np.round(place), 0, free).astype(int).tolist()
        image = np.ascontiguousarray(frame.image[y : y + inner[1], x : x + inner[0]])
        frames.append(replace(frame, image=image))
        boxes, kept = _moved(seen.boxes_xyxy, (x, y), frames[-1].size_hw)
        found.append(replace(seen[kept], boxes_xyxy=boxes[kept]))
        ids, boxes = clip.truth.get(
            frame.index, (np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
        )
        boxes, kept = _moved(boxes, (x, y), frames[-1].size_hw)
        truth[frame.index] = ids[kept], boxes[kept]
    return Clip(frames, found, truth, clip.fps)


def _moved(
    boxes: FloatArray, left_top: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[FloatArray, Any]:
    """Boxes in a window, cut at its border, and which of them are half in it or more."""
    moved = boxes - np.tile(left_top, 2)
    cut = clip_boxes(moved, size_hw)
    return cut.astype(np.float32), box_areas(cut) >= box_areas(moved) / 2


class Head(MotHead):
    """Takes over the features of objects that another one had to compute."""

    known: dict[bytes, Look]

    def looks(self, frame: Frame, seen: Detections) -> list[Look]:
        """See the base class."""
        looks = super().looks(frame, seen)
        keys = [b"%d " % frame.index + box.tobytes() for box in seen.boxes_xyxy]
        return [self.known.setdefault(*pair) for pair in zip(keys, looks, strict=True)]


def run(
    graphs: Graphs, clip: Clip, motion: str, seed: int, known: dict[bytes, Look]
) -> list[float]:
    """HOTA, IDF1 and switches; from the second seed on some detections are left out."""
    head = Head(graphs, MotConfig(camera_motion=motion), clip.fps)
    head.known = known
    rng = np.random.default_rng(seed)
    tracks = []
    for frame, seen in zip(clip.frames, clip.detections, strict=True):
        some = seen[rng.random(len(seen)) >= LEFT_OUT] if seed else seen
        tracks.append(head.step(frame, None, some))  # type: ignore[arg-type]
    scores = score_mot(rows_of_tracks(tracks), clip.truth, range(len(tracks)))
    return [scores.hota, scores.idf1, scores.id_switches]


def camera_ms(clip: Clip) -> tuple[float, int, float]:
    """Median processor time of a frame in ms, frames not seen, median motion in pixels."""
    camera, spent, moved = CameraMotion(), [], []
    for frame, seen in zip(clip.frames, clip.detections, strict=True):
        start = time.process_time()
        camera.watch(frame.image, seen.boxes_xyxy)
        spent.append(time.process_time() - start)
        height, width = frame.size_hw
        centre = np.array([width / 2, height / 2, 1])
        moved.append(float(np.linalg.norm(camera.take() @ centre - centre[:2])))
    return 1e3 * float(np.median(spent)), camera.unknown, float(np.median(moved))


script = Script(__doc__)
script.add_argument("--bundle", type=Path, required=True)
script.add_argument("--format", choices=("mot", "otb", "davis"), required=True)
script.add_argument("--data", type=Path, required=True)
script.add_argument("--detections", help="their name in the folder det of a sequence")
script.add_argument("--camera", choices=CAMERAS, default="still")
script.add_argument("--sequence", action="append", default=[])


@script.does
def main(options: argparse.Namespace) -> None:
    """Print a line a clip and way."""
    graphs = GraphRunner(Bundle.load(options.bundle), "cpu", 1)
    folders: dict[Path, list[DataSequence]] = {}
    for found in choose(FORMATS[options.format].read(options.data, None), options.sequence):
        folders.setdefault(found.images[0].parent, []).append(found)
    for sequences in folders.values():
        first = sequences[0]
        if options.detections is not None and first.detections is not None:
            first = replace(first, detections=first.detections.with_name(options.detections))
        clip = of_people(first) if options.format == "mot" else of_objects(sequences)
        if options.camera != "still":
            clip = through_window(clip, options.camera)
        spent_ms, unknown, moved = camera_ms(clip)
        known: dict[bytes, Look] = {}
        cells = []
        for motion in CAMERA_MOTIONS:
            runs = [run(graphs, clip, motion, seed, known) for seed in range(RUNS)]
            hota, idf1, switches = np.mean(runs, axis=0)
            cells.append(f"{motion} {hota:.3f}/{idf1:.3f}/{switches:.1f}")
        print(
            f"{first.name:16s} {len(clip.frames)} frames, {'  '.join(cells)}  flow: "
            f"{spent_ms:.1f} ms a frame, {moved:.1f} px a frame, not seen in {unknown} frames",
            flush=True,
        )
