"""A sequence of a benchmark: its images, how to track it, and its truth.

The readers of the official layouts all return this record, and `registry.FORMATS` lists them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import DetectionError, RequestError
from ...runtime.paths import exists
from ...runtime.sources.images import images_in_folder

ONE_OBJECT = "2016"
"""Variant of DAVIS in which all objects of a mask are one."""

_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True, slots=True)
class Sequence:
    """One video of a data set, or one target of it.

    Attributes:
        name: As the benchmark calls it; names its result file.
        images: One file a frame, in order; empty where there are none, so that only results
            of another program can be scored.
        numbers: What the data set calls each frame: as long as `images`, where there are any.
        truth: File or folder of the ground truth; None where there is none.
        detections: File of detections, for tasks that associate.
        init: What the objects are, as `--init` takes it, for tasks that propagate.
        fps: Frames per second, where the data set says.
        variant: What the format needs to know besides, such as the benchmark's year.
        groups: Of labels of a mask, where their scores are combined apart: label and group.
        cut: Whether frames at the end were left out on request.
        notes: One-line notes for the user.
    """

    name: str
    images: tuple[Path, ...]
    numbers: tuple[int, ...]
    truth: Path | None
    detections: Path | None = None
    init: str | None = None
    fps: float | None = None
    variant: str = ""
    groups: tuple[tuple[int, str], ...] = ()
    cut: bool = False
    notes: tuple[str, ...] = ()


def first_frames(sequence: Sequence, count: int | None) -> Sequence:
    """The sequence without the frames after the first `count`; None: all of it."""
    if count is None or count >= len(sequence.numbers):
        return sequence
    return replace(
        sequence, images=sequence.images[:count], numbers=sequence.numbers[:count], cut=True
    )


def choose(sequences: list[Sequence], names: Iterable[str]) -> list[Sequence]:
    """Those named on the command line, in the data set's order; all where none is named.

    Raises:
        RequestError: A name that the data set does not have.
    """
    wanted = set(names)
    unknown = wanted - {sequence.name for sequence in sequences}
    if unknown:
        known = ", ".join(sequence.name for sequence in sequences)
        raise RequestError(f"--sequence {min(unknown)}: no such sequence, expected one of {known}")
    return [sequence for sequence in sequences if not wanted or sequence.name in wanted]


Reader = Callable[[Path, str | None], list[Sequence]]
"""Root folder and split → sequences."""


def of_existing(read: Reader) -> Reader:
    """A reader that says where a folder is not there, and not that it has another layout."""

    @functools.wraps(read)
    def checked(root: Path, split: str | None) -> list[Sequence]:
        if not exists(root):
            kind = "file" if root.suffix else "folder"
            raise DetectionError(f"--data {root}: there is no such {kind}")
        return read(root, split)

    return checked


def split_folder(root: Path, split: str | None, holds: Callable[[Path], bool]) -> list[Path]:
    """Folders of sequences below `root`, or below its folder `split`.

    Args:
        root: As given by `--data`; may itself be a sequence.
        split: Such as `train`.
        holds: Whether a folder is a sequence.

    Raises:
        DetectionError: There is no such folder, or no sequence in it.
    """
    folder = root / split if split else root
    if not folder.is_dir():
        what = "a file, expected a folder" if folder.exists() else "there is no such folder"
        raise DetectionError(f"--data {folder}: {what}")
    if holds(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and holds(path))
    if not found:
        below = [
            p.name for p in sorted(folder.iterdir()) if p.is_dir() and any(map(holds, dirs(p)))
        ]
        hint = f"; --split {' or '.join(below)} has some" if below else ""
        raise DetectionError(f"--data {folder}: no sequence of this --format in it{hint}")
    return found


def dirs(folder: Path) -> list[Path]:
    """The folders in a folder, by name; none where it is no folder."""
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def images_in(folder: Path) -> tuple[Path, ...]:
    """The images of a folder in natural order; none where there is no such folder.

    Raises:
        SourceError: A folder without an image.
    """
    return tuple(images_in_folder(folder, str(folder))) if folder.is_dir() else ()


def numbers_of(images: Iterable[Path], first: int) -> tuple[int, ...]:
    """The numbers in the names of images; counted from `first` where the names have none."""
    names = [path.stem for path in images]
    found = [_NUMBER.search(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) == len(names) == len(set(numbers)):
        return tuple(numbers)
    return tuple(range(first, first + len(names)))


def frame_notes(sequence: Sequence, truth_frames: Iterable[int]) -> tuple[str, ...]:
    """The note on frames of the truth that have no image, unless that was asked for."""
    lost = set(truth_frames) - set(sequence.numbers)
    if not lost or sequence.cut:
        return ()
    return (
        f"{sequence.name}: {len(lost)} frames of the truth have no image and are not scored "
        f"(the first is {min(lost)})",
    )


def check_result_frames(sequence: Sequence, path: Path, frames: Iterable[int]) -> None:
    """Refuse results for frames that the sequence does not have, as the official tools do.

    Raises:
        DetectionError: They are likely those of another sequence.
    """
    strange = set(frames) - set(sequence.numbers)
    if strange and not sequence.cut:
        raise DetectionError(
            f"{path}: has results for frame {min(strange)}, expected frames "
            f"{sequence.numbers[0]} to {sequence.numbers[-1]} of {sequence.name}: "
            "are these of another sequence?"
        )


def fingerprint(sequence: Sequence) -> dict[str, Any]:
    """What results and scores of a sequence depend on: sha256 of files, names and sizes of
    images (their bytes are not read)."""
    listed = [(path.name, path.stat().st_size) for path in sequence.images]
    init = None if sequence.init is None else Path(sequence.init)
    return {
        "images": hashlib.sha256(repr(listed).encode()).hexdigest(),
        "numbers": [len(sequence.numbers), *sequence.numbers[:1], *sequence.numbers[-1:]],
        "detections": _digest(sequence.detections),
        "init": sequence.init if init is None or not init.exists() else _digest(init),
        "truth": _digest(sequence.truth),
        "fps": sequence.fps,
        "variant": sequence.variant,
        "groups": sequence.groups,
    }


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def why_not_trackable(sequence: Sequence) -> str | None:
    """What a sequence lacks to be tracked, and the fix; None where it lacks nothing."""
    if not sequence.images:
        return (
            f"{sequence.name}: no images to track in; score results that are there with "
            "--results, or choose others with --sequence"
        )
    if sequence.detections is None and sequence.init is None:
        return (
            f"{sequence.name}: no detections (det/det.txt, det.json); give --detections FOLDER "
            f"with {sequence.name}.txt or .json, or choose others with --sequence"
        )
    return None


def check_trackable(sequences: Iterable[Sequence]) -> None:
    """Refuse what cannot be tracked before hours are spent on the rest.

    Raises:
        DetectionError: A sequence without images, or with nothing to start from.
    """
    for sequence in sequences:
        lacking = why_not_trackable(sequence)
        if lacking is not None:
            raise DetectionError(lacking)


def frame_names(sequence: Sequence) -> list[str]:
    """What the masks of a sequence are called, one a frame."""
    if sequence.images:
        return [f"{path.stem}.png" for path in sequence.images]
    folder = sequence.truth
    names = [path.name for path in images_in(folder)] if folder else []
    return names[: len(sequence.numbers)]
