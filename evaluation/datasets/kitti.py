"""KITTI's tracking benchmark: `image_02/NAME/000000.png`, `label_02/NAME.txt`.

Cars and pedestrians are scored apart by TrackEval's own Kitti2DBox: vans and people who sit, and
what is occluded or truncated, are taken out, and so is what lies in `DontCare` regions or is at
most 25 pixels high.  Detections are `det_02/NAME.txt`, in KITTI's columns or MOTChallenge's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...errors import DetectionError
from ...runtime.formats.boxes.kitti import KittiRow, read_kitti_rows
from ..metrics.scores import Score, read_by_trackeval, score_of
from .base import Sequence, check_result_frames, dirs, frame_notes, images_in, numbers_of
from .mot import COLUMNS as COLUMNS

CLASSES = ("car", "pedestrian")
FPS = 10.0

# What TrackEval knows; any other type would be an error there.
_KNOWN = ("car", "van", "truck", "pedestrian", "person", "cyclist", "tram", "misc", "dontcare")


def read_kitti_data(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder, or of its folder `split` (`training`, `testing`).

    Raises:
        DetectionError: None there, or truth that cannot be read.
    """
    folder = root / split if split else root
    names = {path.name for path in dirs(folder / "image_02")}
    names |= {path.stem for path in (folder / "label_02").glob("*.txt")}
    if not names:
        raise DetectionError(f"--data {folder}: holds no image_02/NAME and no label_02/NAME.txt")
    return [_sequence(folder, name) for name in sorted(names)]


def _sequence(folder: Path, name: str) -> Sequence:
    truth, detections = folder / "label_02" / f"{name}.txt", folder / "det_02" / f"{name}.txt"
    images = images_in(folder / "image_02" / name)
    numbers = numbers_of(images, 0)
    if not images:
        numbers = tuple(range(max((row.frame for row in read_kitti_rows(truth)), default=-1) + 1))
    return Sequence(
        name,
        images,
        numbers,
        truth if truth.is_file() else None,
        detections=detections if detections.is_file() else None,
        fps=FPS,
    )


def score_kitti_files(sequence: Sequence, results: Path) -> list[Score]:
    """HOTA, CLEAR and Identity of one sequence by TrackEval, class by class.

    Args:
        sequence: With truth.
        results: KITTI's rows with a score.

    Raises:
        DetectionError: A file is malformed, or the results are of another sequence.
        UnitrackError: TrackEval is not installed.
    """
    if sequence.truth is None:
        return []
    truth, found = read_kitti_rows(sequence.truth), read_kitti_rows(results)
    check_result_frames(sequence, results, (row.frame for row in found))
    notes = frame_notes(sequence, (row.frame for row in truth))
    others = sum(row.type.lower() not in CLASSES for row in found)
    if others:
        notes = (*notes, f"{sequence.name}: {others} rows of other types than Car and Pedestrian")
    every = _trackeval_data(sequence, truth, found)
    return [
        score_of(data, COLUMNS, name, notes if name == CLASSES[0] else ())
        for name, data in every.items()
    ]


def _trackeval_data(
    sequence: Sequence, truth: list[KittiRow], found: list[KittiRow]
) -> dict[str, dict[str, Any]]:
    name, frames = "0000", len(sequence.numbers)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels, own = folder / "label_02", folder / "tracker" / "data"
        labels.mkdir()
        own.mkdir(parents=True)
        _write(labels / f"{name}.txt", sequence, truth, is_truth=True)
        _write(own / f"{name}.txt", sequence, found, is_truth=False)
        seqmap = f"{name} empty 000000 {frames:06d}\n"
        (folder / "evaluate_tracking.seqmap.training").write_text(seqmap, encoding="ascii")
        return read_by_trackeval("Kitti2DBox", folder, name, CLASSES, {}, sequence.name)


def _write(path: Path, sequence: Sequence, rows: list[KittiRow], is_truth: bool) -> None:
    """A file in TrackEval's strict form, frames counted from 0 without gaps."""
    position = {number: place for place, number in enumerate(sequence.numbers)}
    lines = []
    for row in rows:
        kind = row.type.lower().replace("person_sitting", "person")
        if row.frame not in position or kind not in _KNOWN:
            continue
        box = " ".join(repr(value) for value in row.box_xyxy)
        hidden = f"{int(row.truncated)} {int(row.occluded)}" if is_truth else "-1 -1"
        tail = "-1 -1 -1 -1000 -1000 -1000 -10" + ("" if is_truth else f" {row.score!r}")
        place = position[row.frame]
        lines.append(f"{place} {row.identity} {kind} {hidden} -10 {box} {tail}\n")
    path.write_text("".join(lines), encoding="ascii")
