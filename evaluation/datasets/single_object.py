"""Large benchmarks of single-object tracking: LaSOT, GOT-10k and TrackingNet.

| | images | truth |
|---|---|---|
| LaSOT | `[CLASS/]NAME/img` | `groundtruth.txt`, `full_occlusion.txt`, `out_of_view.txt` |
| GOT-10k | `NAME/00000001.jpg` | `groundtruth.txt`, `absence.label`, `cover.label` |
| TrackingNet | `frames/NAME/0.jpg` | `anno/NAME.txt` |

Rows are `x,y,w,h`.  A test split has the first row alone, and is tracked and not scored.  Each is
scored by its own rule: frames in which the object is absent do not count in LaSOT and GOT-10k;
GOT-10k leaves out the first frame, cuts boxes to the image, and averages over all frames of all
sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import BoolArray
from ...runtime.formats.otb import read_otb_boxes
from ...runtime.formats.text import read_text
from ..metrics.scores import Score
from ..metrics.sot import normalised_precision, overlaps, precision, success_auc
from .base import Sequence, dirs, images_in, numbers_of
from .otb import COLUMNS as COLUMNS
from .otb import box_rows

GOT_COLUMNS = ("AO", "SR@0.5", "SR@0.75")
LASOT, GOT10K, TRACKINGNET = "lasot", "got10k", "trackingnet"

_GOT_FPS = 10.0
_Boxes = npt.NDArray[np.float64]


def holds_lasot(root: Path, split: str | None) -> bool:
    """Whether a folder is of LaSOT's layout."""
    del split
    return bool(_lasot_folders(root))


def holds_got10k(root: Path, split: str | None) -> bool:
    """Whether a folder, or its folder `split`, is of GOT-10k's layout."""
    return bool(_got_folders(root / split if split else root))


def holds_trackingnet(root: Path, split: str | None) -> bool:
    """Whether a folder, or its folder `split`, is of TrackingNet's layout."""
    folder = root / split if split else root
    return (folder / "frames").is_dir() and (folder / "anno").is_dir()


def read_lasot(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder.

    Args:
        root: Folder of sequences, of classes, or one sequence.
        split: `testing` or `training`: those that `SPLIT_set.txt` names.

    Raises:
        DetectionError: None there, or images and truth do not go together.
    """
    folders = _lasot_folders(root)
    if split is not None:
        names = _listed(root, split)
        folders = [folder for folder in folders if folder.name in names]
    if not folders:
        raise DetectionError(f"--data {root}: no sequence of LaSOT's layout in it")
    return [_sequence(f.name, images_in(f / "img"), f / "groundtruth.txt", LASOT) for f in folders]


def _lasot_folders(root: Path) -> list[Path]:
    def is_one(folder: Path) -> bool:
        return (folder / "groundtruth.txt").is_file() and (folder / "img").is_dir()

    if is_one(root):
        return [root]
    inner = dirs(root)
    return [f for f in inner if is_one(f)] or [f for c in inner for f in dirs(c) if is_one(f)]


def _listed(root: Path, split: str) -> set[str]:
    path = root / f"{split.removesuffix('_set')}_set.txt"
    try:
        return set(read_text(path).split())
    except (OSError, ValueError):
        raise DetectionError(
            f"--split {split}: {path} cannot be read, expected the names of sequences"
        ) from None


def read_got10k(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder, or of its folder `split` (`val`, `train`, `test`).

    Raises:
        DetectionError: None there, or images and truth do not go together.
    """
    folder = root / split if split else root
    folders = _got_folders(folder)
    if not folders:
        raise DetectionError(f"--data {folder}: no sequence of GOT-10k's layout in it")
    return [_sequence(f.name, images_in(f), f / "groundtruth.txt", GOT10K) for f in folders]


def _got_folders(root: Path) -> list[Path]:
    def is_one(folder: Path) -> bool:
        return (folder / "groundtruth.txt").is_file() and any(folder.glob("0*.jpg"))

    return [root] if is_one(root) else [folder for folder in dirs(root) if is_one(folder)]


def read_trackingnet(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder, or of its folder `split` (`TEST`, `TRAIN_0` …).

    Raises:
        DetectionError: None there, or images and truth do not go together.
    """
    folder = root / split if split else root
    folders = dirs(folder / "frames")
    if not folders:
        raise DetectionError(f"--data {folder}: no sequence of TrackingNet's layout in it")
    return [
        _sequence(f.name, images_in(f), folder / "anno" / f"{f.name}.txt", TRACKINGNET)
        for f in folders
    ]


def _sequence(name: str, images: tuple[Path, ...], truth: Path, variant: str) -> Sequence:
    boxes = read_otb_boxes(truth)
    if not len(boxes) or not np.isfinite(boxes[0]).all() or (boxes[0, 2:] <= 0).any():
        raise DetectionError(f"{truth}: its first row is no box, expected x,y,w,h to start from")
    if len(boxes) not in (1, len(images)):
        raise DetectionError(
            f"{truth}: {len(boxes)} rows for {len(images)} images, expected one an image, or the "
            "first alone"
        )
    init = ",".join(f"{value:g}" for value in boxes[0].tolist())
    return Sequence(
        name,
        images,
        numbers_of(images, 0 if variant == TRACKINGNET else 1),
        truth if len(boxes) == len(images) else None,
        init=init,
        fps=_GOT_FPS if variant == GOT10K else None,
        variant=variant,
    )


def score_ope(sequence: Sequence, results: Path) -> list[Score]:
    """Success AUC, precision at 20 pixels and normalised precision of one sequence.

    Raises:
        DetectionError: Another number of rows than frames, or no frame counts.
    """
    if sequence.truth is None:
        return []
    truth, found = box_rows(sequence.truth, sequence), box_rows(results, sequence)
    shown = _flags(sequence, ("full_occlusion.txt", "out_of_view.txt"), lambda flag: flag == 0)
    truth[~shown | (truth[:, 2:] <= 0).any(axis=1)] = np.nan
    values = (
        success_auc(found, truth),
        precision(found, truth),
        normalised_precision(found, truth),
    )
    return [Score(dict(zip(COLUMNS, values, strict=True)))]


def score_got10k(sequence: Sequence, results: Path) -> list[Score]:
    """Average overlap and success rates of one sequence.

    Raises:
        DetectionError: Another number of rows than frames, or no frame counts.
    """
    if sequence.truth is None:
        return []
    image = cv2.imread(str(sequence.images[0])) if sequence.images else None
    size_hw = (np.inf, np.inf) if image is None else image.shape[:2]
    truth, found = (_cut(box_rows(path, sequence), size_hw) for path in (sequence.truth, results))
    folder = sequence.truth.parent
    if (folder / "cover.label").is_file():
        shown = _flags(sequence, ("cover.label",), lambda cover: cover > 0)
    else:
        shown = _flags(sequence, ("absence.label",), lambda absent: absent == 0)
    overlap = overlaps(found, truth)[1:][shown[1:]]
    if not len(overlap):
        raise DetectionError(f"{sequence.truth}: no frame after the first shows the object")
    return [_got_score({"frames": len(overlap), "sums": _sums(overlap)})]


def combine_got10k(scores: list[Score]) -> Score:
    """All frames of all sequences count alike."""
    frames = sum(score.counts["frames"] for score in scores)
    sums = np.sum([score.counts["sums"] for score in scores], axis=0).tolist()
    return _got_score({"frames": frames, "sums": sums})


def _sums(overlap: npt.NDArray[np.float64]) -> list[float]:
    return [float(overlap.sum()), float((overlap > 0.5).sum()), float((overlap > 0.75).sum())]


def _got_score(counts: dict[str, float | int | list[float]]) -> Score:
    frames, sums = counts["frames"], counts["sums"]
    means = np.array(sums) / float(np.sum(frames))
    return Score(dict(zip(GOT_COLUMNS, means.tolist(), strict=True)), counts=dict(counts))


def _cut(boxes: _Boxes, size_hw: tuple[float, float]) -> _Boxes:
    """Boxes x, y, w, h as GOT-10k's toolkit cuts them to the image.

    It takes the files' numbers as they are, from 1, and keeps the width of what begins left of the
    image.
    """
    limits = np.array([size_hw[1], size_hw[0]], np.float64)
    low = np.clip(boxes[:, :2] + 1.0, 0, limits)
    return np.concatenate([low, np.clip(boxes[:, 2:], 0, limits - low)], axis=1)


def _flags(
    sequence: Sequence, names: tuple[str, ...], counts: Callable[[_Boxes], BoolArray]
) -> BoolArray:
    """(N,) bool: the frames that count by every one of some files beside the truth.

    Raises:
        DetectionError: A file holds other than a number a frame.
    """
    frames = len(sequence.numbers)
    shown = np.ones(frames, np.bool_)
    if sequence.truth is None or sequence.variant == TRACKINGNET:
        return shown
    for name in names:
        path = sequence.truth.parent / name
        if not path.is_file():
            continue
        try:
            text = read_text(path).replace(",", " ")
            flags = np.array([float(value) for value in text.split()])
        except (OSError, ValueError):
            flags = np.zeros(0)
        if len(flags) < frames or (len(flags) > frames and not sequence.cut):
            raise DetectionError(f"{path}: expected a number for each of {frames} frames")
        shown &= np.asarray(counts(flags[:frames]), np.bool_)
    return shown
