"""The formats of detection files that are known, and how one is told from another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import DetectionError
from .coco import CocoFile, is_coco_results
from .mot import read_mot
from .mots import MotsFile
from .posetrack import PosetrackFile
from .text import DetectionFile, parse_number, read_lines

FILE_FORMATS: dict[str, Callable[[Path], DetectionFile]] = {
    "mot": read_mot,
    "mots": MotsFile,
    "posetrack": PosetrackFile,
    "coco-results": CocoFile,
}
"""Readers of detection files by the format's name."""


def open_detections(
    path: Path,
    *,
    file_format: str | None = None,
    first_frame: int | None = None,
    calibrate_scores: bool = False,
) -> DetectionFile:
    """Read a file of detections.

    Args:
        path: The file.
        file_format: A key of `FILE_FORMATS`; None looks at the file.
        first_frame: Number of the first frame in a MOTS file, 0 or 1; None finds out.
        calibrate_scores: Whether raw scores of a MOTChallenge file become probabilities.

    Raises:
        DetectionError: The file is absent, damaged, or of no known format.
    """
    name = file_format or find_format(path)
    if name not in FILE_FORMATS:
        raise DetectionError(f"format {name!r}: expected one of {', '.join(FILE_FORMATS)}")
    if name == "mots":
        return MotsFile(path, first_frame)
    if name == "mot":
        return read_mot(path, calibrate_scores=calibrate_scores)
    return FILE_FORMATS[name](path)


def find_format(path: Path) -> str:
    """The format of a detection file.

    JSON files end in `.json` or begin with a bracket; one that begins with a list of objects is of
    COCO results, any other PoseTrack's.  Of the text formats, only MOTS has rows of six columns
    without a comma whose last is not a number; an empty file counts as MOTChallenge.

    Raises:
        DetectionError: The file is absent or not text.
    """
    json_format = "coco-results" if is_coco_results(path) else "posetrack"
    if path.suffix.lower() == ".json":
        return json_format
    for _, line in read_lines(path):
        if line[0] in "{[":
            return json_format
        if "," in line:
            return "mot"
        fields = line.split()
        if len(fields) == 6 and parse_number(fields[5]) is None:
            return "mots"
    return "mot"
