"""MOTChallenge's layout (MOT15 to MOT20): `NAME/img1`, `gt/gt.txt`, `det/det.txt`, `seqinfo.ini`.

Scores are those of TrackEval's own MotChallenge2DBox: distractors are taken out, rows flagged 0
and other classes are no truth.  Files are first read and checked here, and handed over clean,
since they come with commas, tabs or blanks, with 7 to 10 columns, and with frames left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...runtime.formats.mot import MotRow, read_mot_rows, read_seqinfo
from ..metrics.scores import Score, read_by_trackeval, score_of
from .base import Sequence, check_result_frames, frame_notes, images_in, numbers_of, split_folder

COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "FP", "FN", "IDs")


def read_mot(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder, or of its folder `split` (`train`, `test`).

    Raises:
        DetectionError: None there, or a `seqinfo.ini` that says nothing.
    """
    return [_sequence(folder) for folder in split_folder(root, split, is_challenge_folder)]


def is_challenge_folder(folder: Path) -> bool:
    """Whether a folder is a sequence in MOTChallenge's layout."""
    return any((folder / name).exists() for name in ("img1", "gt/gt.txt", "seqinfo.ini"))


def _sequence(folder: Path) -> Sequence:
    truth, detections = folder / "gt" / "gt.txt", folder / "det" / "det.txt"
    info = read_seqinfo(folder / "seqinfo.ini")
    images = images_in(folder / info.get("imdir", "img1"))
    numbers = numbers_of(images, 1)
    notes: tuple[str, ...] = ()
    length = int(info.get("seqlength", 0))
    if not images:
        last = max((r.frame for r in read_mot_rows(truth)), default=0) if truth.is_file() else 0
        numbers = tuple(range(1, (length or last) + 1))
    elif length and length != len(images):
        notes = (
            f"{folder.name}: {len(images)} images, seqinfo.ini says {length}: "
            "only frames with an image are tracked and scored",
        )
    return Sequence(
        folder.name,
        images,
        numbers,
        truth if truth.is_file() else None,
        detections=detections if detections.is_file() else None,
        fps=float(info["framerate"]) if "framerate" in info else None,
        notes=notes,
    )


def score_mot_files(sequence: Sequence, results: Path) -> list[Score]:
    """HOTA, CLEAR and Identity of one sequence by TrackEval.

    Args:
        sequence: With truth.
        results: Rows frame,id,x,y,w,h[,score,…].

    Raises:
        DetectionError: A file is malformed, or the results are of another sequence.
        UnitrackError: TrackEval is not installed.
    """
    if sequence.truth is None:
        return []
    truth, found = read_mot_rows(sequence.truth), read_mot_rows(results)
    check_result_frames(sequence, results, (row.frame for row in found))
    notes = frame_notes(sequence, (row.frame for row in truth))
    data = _trackeval_data(benchmark_of(sequence.name, truth), sequence, truth, found)
    return [score_of(data, COLUMNS, notes=notes)]


def benchmark_of(name: str, truth: Iterable[MotRow]) -> str:
    """Whose rules count: MOT20 has one more distractor, MOT15 no classes at all."""
    if all(row.label in (None, -1) for row in truth):
        return "MOT15"
    return "MOT20" if name.startswith("MOT20") else "MOT17"


def _trackeval_data(
    benchmark: str, sequence: Sequence, truth: list[MotRow], found: list[MotRow]
) -> dict[str, Any]:
    name = "sequence"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "tracker").mkdir()
        _write(folder / "gt.txt", sequence, truth, is_truth=True)
        _write(folder / "tracker" / f"{name}.txt", sequence, found, is_truth=False)
        config = {
            "TRACKER_SUB_FOLDER": "",
            "BENCHMARK": benchmark,
            "SEQ_INFO": {name: len(sequence.numbers)},
            "GT_LOC_FORMAT": "{gt_folder}/gt.txt",
            "SKIP_SPLIT_FOL": True,
        }
        people = ("pedestrian",)
        dataset = "MotChallenge2DBox"
        return read_by_trackeval(dataset, folder, name, people, config, sequence.name)[people[0]]


def _write(path: Path, sequence: Sequence, rows: list[MotRow], is_truth: bool) -> None:
    """A file in TrackEval's strict form, frames counted from 1 without gaps."""
    position = {number: place for place, number in enumerate(sequence.numbers, 1)}
    lines = []
    for row in rows:
        if row.frame not in position:
            continue
        x, y, w, h = (repr(value) for value in row.box_xywh)
        label = row.label if row.label not in (None, -1) else 1
        # Results have no class there: all that was tracked is taken for people, as on the server.
        end = f"{int(row.flag)},{label},1" if is_truth else f"{row.flag!r},-1,-1,-1"
        lines.append(f"{position[row.frame]},{row.identity},{x},{y},{w},{h},{end}\n")
    path.write_text("".join(lines), encoding="ascii")
