"""From what `cli track` writes, with frames from 0 or 1 and no gaps, to a benchmark's files.

And back for detections: a file whose frames have gaps is rewritten for the frames that are there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ...errors import DetectionError
from ...runtime.formats.text import read_lines
from ...runtime.writers.base import write_atomic, write_json_atomic
from .base import Sequence, frame_names

_SEPARATORS = ", \t"


def move(sequence: Sequence, written: Path, target: Path) -> None:
    """Results whose rows have no frame number are the benchmark's as they stand."""
    del sequence
    written.replace(target)


def rename_masks(sequence: Sequence, written: Path, target: Path) -> None:
    """Masks 00000.png, 00001.png … under the names of the data set's images."""
    if target.is_dir():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for index, name in enumerate(frame_names(sequence)):
        mask = written / f"{index:05d}.png"
        if not mask.is_file():
            raise DetectionError(f"{written}: no mask of frame {index}, {name} was not tracked")
        mask.replace(target / name)


def renumber_rows(sequence: Sequence, written: Path, target: Path) -> None:
    """Rows that begin with a frame number from 1, under the data set's own numbers."""
    lines = []
    for _, line in read_lines(written):
        frame, rest = _first_field(line)
        lines.append(f"{sequence.numbers[int(frame) - 1]}{rest}\n")
    write_atomic(target, "".join(lines).encode())


def renumber_rows_from_zero(sequence: Sequence, written: Path, target: Path) -> None:
    """Rows that begin with a frame number from 0, under the data set's own numbers."""
    lines = []
    for _, line in read_lines(written):
        frame, rest = _first_field(line)
        lines.append(f"{sequence.numbers[int(frame)]}{rest}\n")
    write_atomic(target, "".join(lines).encode())


def renumber_images(sequence: Sequence, written: Path, target: Path) -> None:
    """PoseTrack18 JSON whose images count from 1, under the data set's image ids."""
    data = json.loads(written.read_text(encoding="utf-8"))
    for image in data["images"]:
        image["id"] = sequence.numbers[image["id"] - 1]
    for person in data["annotations"]:
        person["image_id"] = sequence.numbers[person["image_id"] - 1]
    write_json_atomic(target, data)


def counts_from(sequence: Sequence, first: int) -> bool:
    """Whether a sequence's frames are numbered from `first` without gaps."""
    return sequence.numbers == tuple(range(first, first + len(sequence.numbers)))


def renumbered_detections(sequence: Sequence, source: Path, target: Path, first: int = 1) -> None:
    """Text rows of detections with frames counted from `first` by what the sequence has.

    Rows of frames without an image are left out.

    Raises:
        DetectionError: The file cannot be read.
        OutputError: The new one cannot be written.
    """
    position = {str(number): place for place, number in enumerate(sequence.numbers, first)}
    lines = []
    for _, line in read_lines(source):
        frame, rest = _first_field(line)
        place = position.get(frame.split(".")[0])
        if place is not None:
            lines.append(f"{place}{rest}\n")
    write_atomic(target, "".join(lines).encode())


def _first_field(line: str) -> tuple[str, str]:
    """The frame number of a row, and the rest with its separator."""
    end = min((line.find(c) for c in _SEPARATORS if c in line), default=len(line))
    return line[:end], line[end:]
