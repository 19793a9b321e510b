"""The known formats of detection files, and how a file's format is recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import DetectionError
from .text import DetectionFile, parse_number, read_lines


def _mot(path: Path) -> DetectionFile:
    from .mot import read_mot

    return read_mot(path)


def _mots(path: Path) -> DetectionFile:
    from .mots import MotsFile

    return MotsFile(path)


def _posetrack(path: Path) -> DetectionFile:
    from .posetrack import PosetrackFile

    return PosetrackFile(path)


def _coco(path: Path) -> DetectionFile:
    from .coco import CocoFile

    return CocoFile(path)


FILE_FORMATS: dict[str, Callable[[Path], DetectionFile]] = {
    "mot": _mot,
    "mots": _mots,
    "posetrack": _posetrack,
    "coco-results": _coco,
}
"""Readers of detection files by the format's name; each is imported when it reads."""


def open_detections(
    path: Path,
    *,
    file_format: str | None = None,
    first_frame: int | None = None,
    calibrate_scores: bool = False,
    default_class: str | None = None,
) -> DetectionFile:
    """Read a file of detections.

    Args:
        path: The file.
        file_format: A key of `FILE_FORMATS`; None looks at the file.
        first_frame: Number of the first frame in a MOTS file, 0 or 1; None finds out.
        calibrate_scores: Whether raw scores of a MOTChallenge file become probabilities.
        default_class: Name of the class of detections for which a MOTChallenge or COCO file says
            none; None: see `mot.read_mot`.

    Raises:
        DetectionError: The file is absent, damaged, or of no known format.
    """
    name = file_format or find_format(path)
    if name not in FILE_FORMATS:
        raise DetectionError(f"format {name!r}: expected one of {', '.join(FILE_FORMATS)}")
    if name == "mots" and first_frame is not None:
        from .mots import MotsFile

        return MotsFile(path, first_frame)
    if name == "mot":
        from .mot import read_mot

        return read_mot(path, calibrate_scores=calibrate_scores, default_class=default_class)
    if name == "coco-results":
        from .coco import CocoFile

        return CocoFile(path, default_class)
    return FILE_FORMATS[name](path)


def find_format(path: Path) -> str:
    """The format of a detection file.

    JSON files end in `.json` or begin with a bracket; one that begins with a list of objects is of
    COCO results, any other PoseTrack's.  Of the text formats, only MOTS has rows of six columns
    without a comma whose last is not a number; an empty file counts as MOTChallenge.

    Raises:
        DetectionError: The file is absent or not text.
    """
    if path.suffix.lower() == ".json":
        return _json_format(path)
    for _, line in read_lines(path):
        if line[0] in "{[":
            return _json_format(path)
        if "," in line:
            return "mot"
        fields = line.split()
        if len(fields) == 6 and parse_number(fields[5]) is None:
            return "mots"
    return "mot"


def _json_format(path: Path) -> str:
    from .coco import is_coco_results

    return "coco-results" if is_coco_results(path) else "posetrack"
