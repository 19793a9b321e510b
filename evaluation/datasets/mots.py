"""MOTS in both layouts: MOTSChallenge (people) and KITTI-MOTS (cars and people).

MOTSChallenge is like MOTChallenge: `NAME/img1`, `gt/gt.txt`, frames from 1.  KITTI has
`image_02/NAME/000000.png` and `instances_txt/NAME.txt` (or `NAME/image_02` and `NAME/gt/gt.txt`),
frames from 0, and every class is scored by itself.  Rows are `frame id class height width RLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import DetectionError
from ...runtime.formats.mot import read_seqinfo
from ...runtime.formats.mots import MaskRows, read_mots
from ..metrics.mots import compare_frame
from ..metrics.scores import Score, score_of, trackeval_data
from .base import (
    Sequence,
    check_result_frames,
    dirs,
    frame_notes,
    images_in,
    numbers_of,
    split_folder,
)
from .mot import is_challenge_folder

COLUMNS = ("HOTA", "IDF1", "sMOTSA", "MOTSA", "MOTSP", "FP", "FN", "IDs")
KITTI = "kitti"
CHALLENGE = "challenge"

CLASSES: dict[str, dict[str, int]] = {
    KITTI: {"car": 1, "pedestrian": 2},
    CHALLENGE: {"": 2},
}
"""What is scored by itself in either variant, and its number in the files."""

_KITTI_FPS = 10.0


def read_mots_data(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder, or of its folder `split` (`training`, `train`).

    Raises:
        DetectionError: None there, or truth that cannot be read.
    """
    folder = root / split if split else root
    if (folder / "image_02").is_dir() and not (folder / "gt").is_dir():
        return [_kitti(folder, path.name) for path in dirs(folder / "image_02")]
    return [_sequence(path) for path in split_folder(root, split, _is_sequence)]


def _is_sequence(folder: Path) -> bool:
    return is_challenge_folder(folder) or (folder / "image_02").is_dir()


def _kitti(root: Path, name: str) -> Sequence:
    """A sequence of the official layout, whose parts lie in folders beside one another."""
    folders = [root, root.parent]
    truths = [folder / "instances_txt" / f"{name}.txt" for folder in folders]
    return _make(name, root / "image_02" / name, truths, root / "det_02" / f"{name}.txt", KITTI)


def _sequence(folder: Path) -> Sequence:
    variant = KITTI if (folder / "image_02").is_dir() else CHALLENGE
    images = folder / ("image_02" if variant == KITTI else "img1")
    truths, detections = [folder / "gt" / "gt.txt"], folder / "det" / "det.txt"
    info = read_seqinfo(folder / "seqinfo.ini")
    fps = float(info["framerate"]) if "framerate" in info else None
    return _make(folder.name, images, truths, detections, variant, fps)


def _make(
    name: str,
    folder: Path,
    truths: list[Path],
    detections: Path,
    variant: str,
    fps: float | None = None,
) -> Sequence:
    first = 0 if variant == KITTI else 1
    images = images_in(folder)
    truth = next((path for path in truths if path.is_file()), None)
    numbers = numbers_of(images, first)
    if not images and truth is not None:
        numbers = tuple(range(first, max(read_mots(truth, 0), default=first - 1) + 1))
    if not numbers:
        raise DetectionError(f"{folder}: no image, and no ground truth of {name} either")
    return Sequence(
        name,
        images,
        numbers,
        truth,
        detections=detections if detections.is_file() else None,
        fps=fps or (_KITTI_FPS if variant == KITTI else None),
        variant=variant,
    )


def score_mots_files(sequence: Sequence, results: Path) -> list[Score]:
    """HOTA, CLEAR and Identity of the masks of one sequence, class by class.

    Raises:
        DetectionError: A file is malformed, masks are of two sizes, or the results are of
            another sequence.
        UnitrackError: TrackEval is not installed.
    """
    if sequence.truth is None:
        return []
    scores: list[Score] = []
    for name, number in CLASSES[sequence.variant].items():
        truth = read_mots(sequence.truth, 0, (number,))
        found = read_mots(results, 0, (number,))
        check_result_frames(sequence, results, found)
        notes = frame_notes(sequence, truth) if not scores else ()
        scores.append(_class_score(sequence, truth, found, name, notes))
    return scores


def _class_score(
    sequence: Sequence,
    truth: Mapping[int, MaskRows],
    found: Mapping[int, MaskRows],
    group: str,
    notes: tuple[str, ...],
) -> Score:
    parts = [
        compare_frame(number, found.get(number), truth.get(number)) for number in sequence.numbers
    ]
    ids, result_ids, overlaps = (list(part) for part in zip(*parts, strict=True))
    return score_of(trackeval_data(ids, result_ids, overlaps), COLUMNS, group, notes)
