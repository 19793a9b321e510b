"""Recall, precision and AP50 of detectors on sequences with true boxes, and what a frame costs.

python -m unitrack_edge.benchmarks.detector_accuracy movenet ../shared/models/yolox_nano.onnx
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError, UnitrackError
from ..evaluation.datasets.posetrack import read_poses
from ..export.detectors.exporter import export_model
from ..export.detectors.table import MODELS
from ..records import BoolArray, Detections, FloatArray, Frame
from ..runtime.boxes import xywh_to_xyxy
from ..runtime.detectors.base import PERSON
from ..runtime.detectors.decoded import LONGEST
from ..runtime.detectors.model import ModelDetector, ModelSettings, open_model
from ..runtime.formats.keypoints import POSETRACK_JOINTS
from ..runtime.paths import model_file
from .detection_metrics import (
    DetectionScores,
    FrameMatch,
    PckhCount,
    match_frame,
    score_detections,
)
from .timing import limit_threads

DATA = Path(__file__).parents[1].parent / "shared/data"

LOWEST = 1e-4
"""Detections down to here count for AP."""

VISIBLE = 0.25
"""MOT17: people who are less visible need not be found."""

_IGNORED = (2, 7, 8, 12)
"""MOT17's classes that need not be found: persons on vehicles, static ones, distractors,
reflections."""


@dataclass(frozen=True, slots=True)
class TrueFrame:
    """One image with its true boxes.

    Attributes:
        path: The image.
        boxes: (M, 4) float32 left, top, right, bottom.
        ignored: (M,) bool: need not be found.
        keypoints: (M, 17, 3) float32 in PoseTrack18's layout, or None.
        head_sizes: (M,) in pixels, or None.
    """

    path: Path
    boxes: FloatArray
    ignored: BoolArray
    keypoints: FloatArray | None = None
    head_sizes: FloatArray | None = None


def mot_frames(folder: Path) -> list[TrueFrame]:
    """People of a MOTChallenge sequence; rows of seven columns are all people."""
    rows: dict[int, list[tuple[FloatArray, bool]]] = {}
    for line in (folder / "gt/gt.txt").read_text(encoding="utf-8").splitlines():
        values = [float(field) for field in line.split(",") if field.strip()]
        ignored = False
        if len(values) in (8, 9):  # with a class; older files have world coordinates there
            label, visible = int(values[7]), values[8] if len(values) == 9 else 1.0
            if label not in (1, *_IGNORED):
                continue
            ignored = label != 1 or visible < VISIBLE or values[6] == 0
        box = np.array(values[2:6], np.float32) - np.array([1, 1, 0, 0], np.float32)
        rows.setdefault(int(values[0]), []).append((box, ignored))
    frames = []
    for path in sorted((folder / "img1").glob("*.jpg")):
        here = rows.get(int(path.stem), [])
        boxes = np.array([box for box, _ in here], np.float32).reshape(-1, 4)
        frames.append(
            TrueFrame(path, xywh_to_xyxy(boxes), np.array([i for _, i in here], np.bool_))
        )
    return frames


def posetrack_frames(folder: Path) -> list[TrueFrame]:
    """People of a PoseTrack18 sequence: the file's boxes and joints."""
    import json

    path = folder / "gt.json"
    images, people = read_poses(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    boxes: dict[int, list[list[float]]] = {}
    for row in data["annotations"]:
        boxes.setdefault(row["image_id"], []).append(row["bbox"])
    frames = []
    for image in images:
        number = int(image["id"])
        true = np.array(boxes.get(number, []), np.float32).reshape(-1, 4)
        poses = people.get(number)
        frames.append(
            TrueFrame(
                folder / "images" / Path(str(image["file_name"])).name,
                xywh_to_xyxy(true),
                np.zeros(len(true), np.bool_),
                None if poses is None else poses.keypoints,
                None if poses is None else poses.head_sizes,
            )
        )
    return frames


def sequences(root: Path) -> Iterator[tuple[str, list[TrueFrame]]]:
    """The sequences of `../shared/data`; those that are absent are left out."""
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        if (root / "mot" / name).is_dir():
            yield name, mot_frames(root / "mot" / name)
    crowd = [f for folder in sorted((root / "mot").glob("MOT17*")) for f in mot_frames(folder)]
    if crowd:
        yield "MOT17 frames", crowd
    if (root / "posetrack/060470979").is_dir():
        yield "posetrack/060470979", posetrack_frames(root / "posetrack/060470979")


def open_detector(
    name: str, threads: int, size_hw: tuple[int, int] | None, longest: int
) -> tuple[ModelDetector, float]:
    """A detector that reports even what is improbable, and the score from which it would report."""
    path = model_file(name)
    if name in MODELS and not path.is_file():
        export_model(name, path)
    settings = ModelSettings(confidence=LOWEST, classes=(PERSON,), size_hw=size_hw, longest=longest)
    detector = open_model(path, settings, threads=threads)
    return detector, detector.facts.confidence


@dataclass(frozen=True, slots=True)
class Result:
    """One detector on one sequence.

    Attributes:
        scores: At the detector's threshold.
        pckh: Share of true joints within half a head: the twelve of the body, all; None where the
            truth or the detector has none.
        milliseconds: Fastest and median time of a frame, resizing included.
    """

    scores: DetectionScores
    pckh: tuple[float, float] | None
    milliseconds: tuple[float, float]


def measure(detector: ModelDetector, frames: Sequence[TrueFrame], threshold: float) -> Result:
    """Run a detector over frames."""
    matches: list[FrameMatch] = []
    times: list[float] = []
    joints = PckhCount()
    poses = False
    for index, true in enumerate(frames):
        image = cv2.imread(str(true.path))
        if image is None:
            raise SourceError(f"{true.path} cannot be read")
        frame = Frame(index, 0.0, np.asarray(image, np.uint8))
        start = time.perf_counter()
        seen = detector.detect(frame)
        times.append((time.perf_counter() - start) * 1000)
        matches.append(match_frame(seen.boxes_xyxy, seen.scores, true.boxes, true.ignored))
        poses |= _count_joints(joints, seen, true, threshold)
    body = range(5, len(POSETRACK_JOINTS))
    pckh = (joints.share(body), joints.share(range(len(POSETRACK_JOINTS)))) if poses else None
    return Result(score_detections(matches, threshold), pckh, (min(times), float(np.median(times))))


def _count_joints(joints: PckhCount, seen: Detections, true: TrueFrame, threshold: float) -> bool:
    """Count the joints of a frame: of a person that was not found, all are wrong."""
    if seen.keypoints is None or true.keypoints is None or true.head_sizes is None:
        return False
    rows = seen.scores >= threshold
    kept = seen[rows]
    match = match_frame(kept.boxes_xyxy, kept.scores, true.boxes)
    order = np.argsort(-kept.scores.astype(np.float64), kind="stable")
    found = np.zeros_like(true.keypoints)
    assert kept.keypoints is not None
    for place, row in zip(order, match.truth_rows, strict=True):
        if row >= 0:
            found[row] = kept.keypoints[place]
    for person, truth, size in zip(found, true.keypoints, true.head_sizes, strict=True):
        joints.add(person, truth, float(size))
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("detectors", nargs="+", help="names of `cli models` or ONNX files")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", help="HxW of the network's image; default: follows the source")
    parser.add_argument("--longest", type=int, default=LONGEST)
    parser.add_argument("--threshold", type=float, help="default: the detector's own")
    parser.add_argument("--sequence", action="append", help="only sequences that contain this")
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    size = None
    if options.size is not None:
        height, width = options.size.lower().split("x")
        size = int(height), int(width)
    print("detector | sequence | recall | precision | AP50 | PCKh body / all | ms min / median")
    try:
        for name in options.detectors:
            detector, threshold = open_detector(name, options.threads, size, options.longest)
            if options.threshold is not None:
                threshold = options.threshold
            with detector:
                for sequence, frames in sequences(options.data):
                    if options.sequence and not any(s in sequence for s in options.sequence):
                        continue
                    result = measure(detector, frames, threshold)
                    s, pckh = result.scores, result.pckh
                    poses = "-" if pckh is None else f"{pckh[0]:.3f} / {pckh[1]:.3f}"
                    print(
                        f"{Path(name).stem} | {sequence} | {s.recall:.3f} | {s.precision:.3f} | "
                        f"{s.ap:.3f} | {poses} | {result.milliseconds[0]:.0f} / "
                        f"{result.milliseconds[1]:.0f}",
                        flush=True,
                    )
    except UnitrackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
