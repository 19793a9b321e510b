"""The known formats of detection files, and how a file's format is recognised by its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import DetectionError
from ..paths import is_folder
from .text import DetectionFile, ReadOptions, UnreadableError, parse_number, read_lines


def _mot(path: Path, options: ReadOptions) -> DetectionFile:
    from .mot import read_mot

    return read_mot(path, options)


def _mots(path: Path, options: ReadOptions) -> DetectionFile:
    from .mots import MotsFile

    return MotsFile(path, options)


def _mots_png(path: Path, options: ReadOptions) -> DetectionFile:
    from .masks.mots_png import MotsPngFolder

    return MotsPngFolder(path, options)


def _posetrack(path: Path, options: ReadOptions) -> DetectionFile:
    from .posetrack import PosetrackFile

    return PosetrackFile(path, options)


def _coco_results(path: Path, options: ReadOptions) -> DetectionFile:
    from .coco import CocoFile

    return CocoFile(path, options)


def _coco(path: Path, options: ReadOptions) -> DetectionFile:
    from .coco import CocoImagesFile

    return CocoImagesFile(path, options)


def _kitti(path: Path, options: ReadOptions) -> DetectionFile:
    from .boxes.kitti import read_kitti

    return read_kitti(path, options)


def _yolo(path: Path, options: ReadOptions) -> DetectionFile:
    from .boxes.yolo import YoloFolder

    return YoloFolder(path, options)


def _columns(path: Path, options: ReadOptions) -> DetectionFile:
    from .boxes.columns import read_columns

    return read_columns(path, options)


def _alphapose(path: Path, options: ReadOptions) -> DetectionFile:
    from .poses.alphapose import read_alphapose

    return read_alphapose(path, options)


def _openpose(path: Path, options: ReadOptions) -> DetectionFile:
    from .poses.openpose import read_openpose

    return read_openpose(path, options)


def _jsonl(path: Path, options: ReadOptions) -> DetectionFile:
    from .jsonl import JsonLinesFile

    return JsonLinesFile(path, options)


FILE_FORMATS: dict[str, Callable[[Path, ReadOptions], DetectionFile]] = {
    "mot": _mot,
    "mots": _mots,
    "mots-png": _mots_png,
    "posetrack": _posetrack,
    "coco-results": _coco_results,
    "coco": _coco,
    "kitti": _kitti,
    "yolo": _yolo,
    "columns": _columns,
    "alphapose": _alphapose,
    "openpose": _openpose,
    "jsonl": _jsonl,
}
"""Readers of detection files by the format's name; each is imported when it reads."""

_LINES_LOOKED_AT = 20


def open_detections(
    path: Path,
    *,
    file_format: str | None = None,
    first_frame: int | None = None,
    calibrate_scores: bool = False,
    default_class: str | None = None,
    strict: bool = False,
    source_frames: int | None = None,
) -> DetectionFile:
    """Read a file or folder of detections.

    Args:
        path: The file or folder.
        file_format: A key of `FILE_FORMATS`; None looks at the content.
        first_frame: See `ReadOptions`, as all that follow.
        calibrate_scores: Whether raw scores become probabilities.
        default_class: Name of the class of detections for which the file says none.
        strict: Whether a damaged row is an error and nothing is reinterpreted.
        source_frames: How many frames the source has.

    Raises:
        DetectionError: The file is absent, damaged, or of no known format.
    """
    options = ReadOptions(calibrate_scores, default_class, strict, first_frame, source_frames)
    try:
        return _read(path, file_format or find_format(path), options)
    except UnreadableError as error:
        raise DetectionError(
            f"--detections {error}; expected a file or folder of one of the formats in "
            "docs/formats.md"
        ) from error


def _read(path: Path, name: str, options: ReadOptions) -> DetectionFile:
    if name not in FILE_FORMATS:
        raise DetectionError(f"format {name!r}: expected one of {', '.join(FILE_FORMATS)}")
    return FILE_FORMATS[name](path, options)


def find_format(path: Path) -> str:
    """The format of a detection file or folder, a key of `FILE_FORMATS`; its name counts little.

    JSON begins with a bracket, or is a file `.json`; its keys, or those of its lines, say whose it
    is.  Text has a header with names of columns, KITTI's words in the third column, MOTS' run
    lengths in the sixth, or YOLO's shares between 0 and 1; all other text, and an empty file,
    counts as MOTChallenge.  Of folders, files `.txt` are YOLO's, `.png` MOTS' and
    `_keypoints.json` OpenPose's.

    Raises:
        DetectionError: The file is absent or not text, or a folder holds none of those.
    """
    if is_folder(path):
        return _folder_format(path)
    rows = [line for _, line in islice(read_lines(path), _LINES_LOOKED_AT)]
    if path.suffix.lower() == ".json" or (rows and rows[0][0] in "{["):
        return _lines_format(rows) or _json_format(path)
    return _text_format(rows)


def _text_format(rows: list[str]) -> str:
    # Of all others, none has commas without a header.
    if all(row[0].isdigit() and "," in row for row in rows):
        return "mot"
    from .boxes.columns import has_boxes, split_header
    from .boxes.kitti import is_kitti_row
    from .boxes.yolo import is_yolo_row
    from .mot import is_header

    if rows and is_header(rows[0]):
        if has_boxes(split_header(rows[0])):
            return "columns"
        rows = rows[1:]
    if any(map(is_kitti_row, rows)):
        return "kitti"
    for row in rows:
        fields = row.split()
        if "," not in row and len(fields) == 6 and parse_number(fields[5]) is None:
            return "mots"
    return "yolo" if 2 * sum(map(is_yolo_row, rows)) > len(rows) else "mot"


def _folder_format(path: Path) -> str:
    from .boxes.yolo import label_files
    from .masks.mots_png import png_files
    from .poses.openpose import openpose_files

    if openpose_files(path):
        return "openpose"
    if label_files(path):
        return "yolo"
    if png_files(path):
        return "mots-png"
    folders = sorted(p for p in path.iterdir() if p.is_dir())
    inner = next((p for p in folders if openpose_files(p) or label_files(p) or png_files(p)), None)
    raise DetectionError(
        f"--detections {path} is a folder without detections: expected YOLO's label files (.txt), "
        "MOTS' masks (.png) or OpenPose's files (_keypoints.json)"
        f"{'' if inner is None else f'; {inner} has some'}"
    )


def _lines_format(rows: list[str]) -> str | None:
    """The format of JSON lines; None where the whole file is one list or object."""
    from .boxes.columns import has_boxes
    from .jsonl import is_track_line

    if any(map(is_track_line, rows)):
        return "jsonl"
    if len(rows) < 2 or not all(row.startswith("{") for row in rows):
        return None
    try:
        return "columns" if has_boxes(json.loads(rows[0])) else None
    except (ValueError, RecursionError):
        return None


def _json_format(path: Path) -> str:
    from .boxes.columns import has_boxes
    from .coco import has_named_images, is_coco_file, is_coco_results
    from .keypoints import load_json
    from .poses.alphapose import is_alphapose
    from .poses.openpose import is_openpose

    results = is_coco_results(path)
    try:
        data = load_json(path)
    except DetectionError:
        # The reader says what is wrong with it.
        return "coco-results" if results else "posetrack"
    if not results:
        if is_openpose(data):
            return "openpose"
        if is_coco_file(data):
            return "coco"
        if not isinstance(data, dict) or not {"images", "annotations"} & set(data):
            raise DetectionError(
                f"--detections {path}: JSON of no known format, {_looks_like(data)}; expected a "
                "list of COCO results or of objects with frame, x_min, y_min, x_max and y_max, or "
                "an object with images and annotations (docs/formats.md)"
            )
        return "posetrack"
    if is_alphapose(data):
        return "alphapose"
    if has_named_images(data):
        return "coco"
    names = {str(name) for row in data[:3] if isinstance(row, dict) for name in row}
    return "columns" if has_boxes(names) and not names & {"image_id", "bbox"} else "coco-results"


def _looks_like(data: Any) -> str:
    """What a value of JSON is, for a message."""
    if isinstance(data, dict):
        return f"an object with {', '.join(map(repr, list(data)[:5])) or 'nothing'}"
    if isinstance(data, list):
        return f"a list of {type(data[0]).__name__}" if data else "an empty list"
    return f"a single {type(data).__name__}"
