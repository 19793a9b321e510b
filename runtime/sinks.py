"""Where results go: MOTChallenge rows, label maps, JSON, and the folder that holds them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import OutputError
from ..records import Frame, Tracks
from .palette import davis_palette
from .palette_png import encode_palette_png

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = ".partial"
# With --segment, results bear the number of their segment: tracks-0003.txt.
_WRITTEN = re.compile(
    r"(tracks(-\d{4,})?\.(txt|json|jsonl)|run\.json|video(-\d{4,})?\.mp4)(\.partial)?|"
    r"video\.partial\.mp4|images\.json\.partial"
)
_MASKS = re.compile(r"masks(-\d{4,})?")
_MASK = re.compile(r"\d{5,}\.png(\.partial)?")

_Self = TypeVar("_Self", bound="SinkBase")


class Sink(Protocol):
    """Takes the tracks of one frame after the other; a context manager."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the results of one frame.

        Raises:
            OutputError: They could not be written; what was written before stays readable.
        """
        ...

    def close(self) -> None:
        """Completes the output. May be called again."""
        ...

    def __enter__(self) -> Sink: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SinkBase:
    """The context manager of every sink: it closes, whatever happened."""

    def close(self) -> None:
        """Completes the output."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def output_error(path: Path, error: OSError, frames: int | None = None) -> OutputError:
    """The message for an output that the system refused; `frames` were written before."""
    full = error.errno in _FULL
    text = f"disk full while writing {path}" if full else f"cannot write {path}: {error.strerror}"
    if frames is not None:
        text += f", {frames} frames kept"
    return OutputError(text + ("; free some space or choose another --output" if full else ""))


class RowFile(SinkBase, ABC):
    """A text file of rows; what a frame's rows are, a subclass says in `rows`.

    Every frame is on the disk before `write` returns, whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        """Creates the file, or empties it.

        Raises:
            OutputError: It cannot be created.
        """
        self._path = path
        self._frames = 0
        self._length = 0
        try:
            # Unbuffered: nothing is left to be written at close, when it could fail once more.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise output_error(path, error) from None

    @abstractmethod
    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """The lines of one frame, each with its line end."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the rows of one frame.

        Raises:
            OutputError: The disk is full, or the system refuses; complete frames stay.
        """
        rows = "".join(self.rows(frame, tracks)).encode()
        try:
            left = memoryview(rows)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._length)
            raise output_error(self._path, error, self._frames) from None
        self._length += len(rows)
        self._frames += 1

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class MotFile(RowFile):
    """MOTChallenge rows `frame,id,x,y,w,h,score,class,-1`, one for each track.

    Frames count from 1, and so do pixels: MOTChallenge calls the corner of the picture (1, 1)
    (its ground truth begins there, with right edges at width + 1), so x = left + 1 and y = top + 1;
    w and h are lengths. Whoever reads such a file takes 1 off again. TrackEval compares boxes of
    two files as they stand, which needs both of them in this convention.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """None for a frame without tracks."""
        return _rows(frame.index + 1, tracks)


def _rows(frame_number: int, tracks: Tracks) -> list[str]:
    seen = tracks.observations
    boxes = seen.boxes_xyxy.astype(np.float64)
    geometry = np.column_stack((boxes[:, :2] + 1.0, boxes[:, 2:] - boxes[:, :2]))
    geometry = np.round(geometry, 2) + 0.0  # no "-0.00"
    return [
        f"{frame_number},{track_id},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},{class_id},-1\n"
        for track_id, (x, y, w, h), score, class_id in zip(
            tracks.ids.tolist(),
            geometry.tolist(),
            (seen.scores.astype(np.float64).round(4) + 0.0).tolist(),
            seen.classes.tolist(),
            strict=True,
        )
    ]


class MaskFolder(SinkBase):
    """Label maps as palette PNGs named by frame index: 00000.png, 00001.png …"""

    def __init__(self, path: Path) -> None:
        """Creates the folder.

        Raises:
            OutputError: It cannot be created.
        """
        self._path = path
        self._frames = 0
        self._palette_rgb = davis_palette()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the label map of one frame.

        Raises:
            OutputError: There is none, it is not of the frame's size, or it cannot be written.
        """
        labels = tracks.label_map
        if labels is None or labels.shape != frame.size_hw:
            got = "no label map" if labels is None else f"a label map of {labels.shape}"
            raise OutputError(
                f"frame {frame.index}: {got}, expected one of {frame.size_hw} (height, width)"
            )
        path = self._path / f"{frame.index:05d}.png"
        write_atomic(path, encode_palette_png(labels, self._palette_rgb), self._frames)
        self._frames += 1


def write_atomic(path: Path, data: bytes, frames: int | None = None) -> None:
    """Writes a whole file or none: under another name first.

    Args:
        path: The file; an old one is replaced.
        data: Its content.
        frames: Number of frames written before, for the message.

    Raises:
        OutputError: It cannot be written.
    """
    partial = path.with_name(path.name + _PARTIAL)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise output_error(path, error, frames) from None


def write_json_atomic(path: Path, data: Any) -> None:
    """Writes JSON, indented, keys in their order; NumPy numbers and paths are converted.

    Raises:
        OutputError: It cannot be written, or holds what JSON cannot (NaN, unknown types).
    """
    try:
        text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    write_atomic(path, (text + "\n").encode())


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


class OutputFolder:
    """The folder of one run's results.

    Attributes:
        path: The folder, existing and without results of an earlier run.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Creates the folder, or clears it of an earlier run's results.

        Args:
            path: The folder.
            overwrite: Take a folder that is not empty; only files that this tool writes are
                removed from it.

        Raises:
            OutputError: It is not empty, not a folder, or cannot be created.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                if not overwrite:
                    raise OutputError(
                        f"output folder {path} is not empty; choose another --output, or replace "
                        "its results with --overwrite"
                    )
                _remove_results(path)
        except (FileExistsError, NotADirectoryError):
            raise OutputError(f"output {path}: a file is in the way, expected a folder") from None
        except OSError as error:
            raise output_error(path, error) from None

    def discard(self) -> None:
        """Remove what was written, and the folder if it is then empty: the run gave no result."""
        _remove_results(self.path)
        for folder in (*_mask_folders(self.path), self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _remove_results(folder: Path) -> None:
    for entry in folder.iterdir():
        if _WRITTEN.fullmatch(entry.name) and not entry.is_dir():
            entry.unlink()
    for masks in _mask_folders(folder):
        for entry in masks.iterdir():
            if _MASK.fullmatch(entry.name) and not entry.is_dir():
                entry.unlink()


def _mask_folders(folder: Path) -> list[Path]:
    return [
        entry
        for entry in folder.iterdir()
        if _MASKS.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink()
    ]
