"""What a writer of results is, recordings that outlive a full disk, and files written at once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...errors import OutputError
from ...records import Frame, Tracks

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = ".partial"
_Self = TypeVar("_Self", bound="Writer")


class Writer(ABC):
    """Takes the tracks of one frame after the other; a `with` block closes it."""

    @abstractmethod
    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the results of one frame.

        Raises:
            OutputError: They could not be written; what was written before stays readable.
        """

    def close(self) -> None:
        """Completes the output. May be called again."""
        return

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


MakeWriter = Callable[[Path], Writer]
"""Opens a writer, given the path of what it writes."""


def output_error(path: Path, error: OSError, frames: int | None = None) -> OutputError:
    """The message for an output that the system refused; `frames` were written before."""
    full = error.errno in _FULL
    text = f"disk full while writing {path}" if full else f"cannot write {path}: {error.strerror}"
    if frames is not None:
        text += f", {frames} frames kept"
    return OutputError(text + ("; free some space or choose another --output" if full else ""))


class RowWriter(Writer):
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

    @property
    def frames(self) -> int:
        """How many frames were written."""
        return self._frames

    @abstractmethod
    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """The lines of one frame, each with its line end."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes the rows of one frame.

        Raises:
            OutputError: The disk is full, or the system refuses; complete frames stay.
        """
        rows = "".join(self.rows(frame, tracks)).encode(errors="replace")
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


class EarlierFileError(OutputError):
    """The file before could not be completed; the frame at hand is written, to the next one."""


def _one_file(_frame: Frame) -> int:
    return 0


class Recording(Writer):
    """A writer that may fail without ending the run: it says so, and goes on with the next file.

    Args:
        writer: What records.
        say: Called with one line when recording stops, and when it goes on.
        file_of: The number of the file that a frame goes to; a file that failed gets nothing more.
        name: What is recorded, for the lines.

    Attributes:
        error: Why it stopped last, or None.
        lost: Number of frames that are in no file.
    """

    def __init__(
        self,
        writer: Writer,
        say: Callable[[str], None],
        file_of: Callable[[Frame], int] = _one_file,
        name: str = "recording",
    ) -> None:
        self._name = name
        self._writer = writer
        self._say = say
        self._file_of = file_of
        self._failed_file: int | None = None
        self._lost_here = 0
        self.error: OutputError | None = None
        self.lost = 0

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one frame, unless its file has failed."""
        number = self._file_of(frame)
        if number == self._failed_file:
            self._lose()
            return
        try:
            self._writer.write(frame, tracks)
        except EarlierFileError as error:
            self.error = error
            self.lost += 1  # what it held back: its newest frame
            self._say(str(error))
        except OutputError as error:
            self._stop(error, number)
            self._lose(error.lost)
            with contextlib.suppress(OutputError):
                self._writer.close()
            return
        if self._failed_file is not None:
            lost = f"{self._lost_here} frames lost"
            self._say(f"{self._name} goes on at frame {frame.index}; {lost}")
            self._failed_file, self._lost_here = None, 0

    def close(self) -> None:
        """Complete the output. May be called again."""
        if self._failed_file is None:
            try:
                self._writer.close()
            except OutputError as error:
                self._stop(error, -1)
                self.lost += error.lost

    def _lose(self, frames: int = 1) -> None:
        self.lost += frames
        self._lost_here += frames

    def _stop(self, error: OutputError, number: int) -> None:
        # Said once for a disk that stays full over several files.
        if self._failed_file is None:
            more = "" if self._file_of is _one_file else " until the next segment"
            self._say(f"{error}; tracking continues without this recording{more}")
        self.error, self._failed_file = error, number


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
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise output_error(path, error, frames) from None
        raise


def write_json_atomic(path: Path, data: Any) -> None:
    """Writes `json_text` to a whole file or none.

    Raises:
        OutputError: It cannot be written, or `data` cannot be written as JSON.
    """
    try:
        text = json_text(data)
    except OutputError as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    write_atomic(path, encoded(text))


def encoded(text: str) -> bytes:
    """Text of JSON as UTF-8; bytes of a file name that are no text become JSON's escapes."""
    return text.encode(errors="backslashreplace")


def json_text(data: Any) -> str:
    """JSON, indented, keys in their order, with a line end; NumPy numbers and paths are converted.

    Raises:
        OutputError: `data` holds what JSON cannot (NaN, unknown types).
    """
    try:
        text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise OutputError(str(error)) from None
    return text + "\n"


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def make_folder(folder: Path) -> None:
    """Make a folder with its parents.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from None
