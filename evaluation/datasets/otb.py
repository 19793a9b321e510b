"""OTB-2015's layout: `NAME/img/0001.jpg` and `NAME/groundtruth_rect.txt`, boxes counted from 1.

A folder with several targets has `groundtruth_rect.1.txt`, `.2.txt`, and gives the sequences
`NAME-1`, `NAME-2`.  Eight sequences of the benchmark begin or end within their folder of images.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...runtime.formats.otb import read_otb_boxes
from ..metrics.scores import Score
from ..metrics.sot import normalised_precision, precision, success_auc
from .base import Sequence, images_in, numbers_of, split_folder

RANGES = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
"""First and last image of the sequences whose folder holds more."""

_TRUTH = re.compile(r"groundtruth_rect(?:\.(\d+))?\.txt")
COLUMNS = ("AUC", "P@20", "NP")


def read_otb(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a folder.

    Raises:
        DetectionError: None there, or images and truth do not go together.
    """
    return [
        sequence
        for folder in split_folder(root, split, _is_sequence)
        for sequence in _targets(folder)
    ]


def _is_sequence(folder: Path) -> bool:
    return (folder / "img").is_dir() or bool(_truths(folder))


def _truths(folder: Path) -> list[tuple[str, Path]]:
    found = [(_TRUTH.fullmatch(path.name), path) for path in sorted(folder.glob("groundtruth*"))]
    return [(match[1] or "", path) for match, path in found if match]


def _targets(folder: Path) -> list[Sequence]:
    images = images_in(folder / "img")
    truths = _truths(folder)
    if not truths:
        # OTB's tracker starts from the truth: without a first box there is nothing to be done.
        raise DetectionError(
            f"{folder}: no groundtruth_rect.txt, whose first row says what to track: "
            "choose others with --sequence, or add it"
        )
    return [_target(folder.name, which, path, images) for which, path in truths]


def _target(folder: str, which: str, truth: Path, images: tuple[Path, ...]) -> Sequence:
    boxes = read_otb_boxes(truth)
    name = f"{folder}-{which}" if which else folder
    if not len(boxes) or not np.isfinite(boxes[0]).all() or (boxes[0, 2:] <= 0).any():
        raise DetectionError(f"{truth}: its first row is no box, expected x,y,w,h to start from")
    numbers = numbers_of(images, 1) or tuple(range(1, len(boxes) + 1))
    if len(boxes) != len(numbers) and folder in RANGES:
        first, last = RANGES[folder]
        keep = [i for i, number in enumerate(numbers) if first <= number <= last]
        images = tuple(images[i] for i in keep)
        numbers = tuple(numbers[i] for i in keep)
    if len(boxes) != len(numbers):
        raise DetectionError(
            f"{truth}: {len(boxes)} rows for {len(numbers)} images, expected one an image: "
            "an image or a row is missing"
        )
    # Pixels count from 0 on the command line: `read_otb_boxes` has taken 1 off already.
    init = ",".join(f"{value:g}" for value in boxes[0].tolist())
    return Sequence(name, images, numbers, truth, init=init)


def score_otb(sequence: Sequence, results: Path) -> list[Score]:
    """Success AUC, precision at 20 pixels and normalised precision of one sequence.

    Args:
        sequence: With truth.
        results: Rows x,y,w,h, one a frame, the first frame included.

    Raises:
        DetectionError: Another number of rows than frames.
    """
    if sequence.truth is None:
        return []
    truth, found = (box_rows(path, sequence) for path in (sequence.truth, results))
    # The official tool calls a frame whose truth has no area not annotated.
    truth[(truth[:, 2:] <= 0).any(axis=1)] = np.nan
    values = (
        success_auc(found, truth),
        precision(found, truth),
        normalised_precision(found, truth),
    )
    return [Score(dict(zip(COLUMNS, values, strict=True)))]


def box_rows(path: Path, sequence: Sequence) -> npt.NDArray[np.float64]:
    """A box a frame, (N, 4) float64 left, top, width, height.

    Raises:
        DetectionError: The file cannot be read, or has another number of rows than the sequence
            has frames.
    """
    boxes = read_otb_boxes(path)
    frames = len(sequence.numbers)
    if len(boxes) < frames or (len(boxes) > frames and not sequence.cut):
        raise DetectionError(
            f"{path}: {len(boxes)} rows, expected {frames}, one for each frame of {sequence.name}"
        )
    return boxes[:frames]
