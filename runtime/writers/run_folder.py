"""The folder of one run's results."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from ...errors import OutputError
from ..paths import is_same, lock_folder, unlock_folder
from .base import output_error

REPORT = "run.json"
_RESERVED_BYTES = 16 << 10

# With --segment, results bear the number of their segment: tracks-0003.txt.
_WRITTEN = re.compile(
    r"(tracks(-\d{4,})?\.(txt|json|jsonl|csv)|run\.json|video(-\d{4,})?\.mp4)(\.partial)?|"
    r"video\.partial\.mp4|images\.json\.partial"
)

# A folder of results, and what a run writes into it.
_FOLDERS = (
    (re.compile(r"masks(-\d{4,})?"), re.compile(r"\d{5,}\.png(\.partial)?")),
    (re.compile(r"labels(-\d{4,})?"), re.compile(r".+\.txt(\.partial)?")),
)


class OutputFolder:
    """The folder of one run's results, which no other run may write to until it is closed.

    Attributes:
        path: The folder, existing and without results of an earlier run.
    """

    def __init__(
        self, path: Path, *, overwrite: bool = False, inputs: Collection[Path] = ()
    ) -> None:
        """Creates the folder, or clears it of an earlier run's results.

        Args:
            path: The folder.
            overwrite: Take a folder that is not empty; only files that this tool writes are
                removed from it.
            inputs: What the run reads; the folder is not cleared of these.

        Raises:
            OutputError: It is not empty, not a folder, in use by another run, cannot be created,
                or clearing it would remove an input.
        """
        self._lock: int | None = None
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(path)
            if self._lock is None:
                raise OutputError(
                    f"output folder {path} is in use by another run; choose another --output, or "
                    "end that run first"
                )
            if any(path.iterdir()):
                if not overwrite:
                    raise OutputError(
                        f"output folder {path} is not empty; choose another --output, or replace "
                        "its results with --overwrite"
                    )
                _check_inputs(path, inputs)
                _remove_results(path)
        except (FileExistsError, NotADirectoryError):
            raise OutputError(f"output {path}: a file is in the way, expected a folder") from None
        except OSError as error:
            self.close()
            raise output_error(path, error) from None
        except OutputError:
            self.close()
            raise

    def reserve(self) -> None:
        """Take the place of `run.json` now: a disk that is full at the end has it still.

        Raises:
            OutputError: There is not as much.
        """
        try:
            self._reserved.write_bytes(bytes(_RESERVED_BYTES))
        except OSError as error:
            self.release()
            raise output_error(self.path / REPORT, error) from None

    def release(self) -> None:
        """Give that place back, before the last files are written. May be called again."""
        with contextlib.suppress(OSError):
            self._reserved.unlink()

    @property
    def _reserved(self) -> Path:
        # Under the name that it is first written under: a killed run leaves nothing new.
        return self.path / f"{REPORT}.partial"

    def discard(self) -> None:
        """Remove what was written, and the folder if it is then empty: the run gave no result."""
        if not self.path.is_dir():
            return
        _remove_results(self.path)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def close(self) -> None:
        """Let other runs have the folder. May be called again."""
        lock, self._lock = self._lock, None
        if lock is not None:
            unlock_folder(lock)

    def __del__(self) -> None:
        self.close()


def _check_inputs(folder: Path, inputs: Collection[Path]) -> None:
    cleared = [*_results(folder), *_result_folders(folder)]
    for path in inputs:
        if any(is_same(entry, path) for entry in cleared):
            raise OutputError(
                f"output folder {folder}: --overwrite would remove {path}, which this run reads; "
                "choose another --output"
            )


def _remove_results(folder: Path) -> None:
    """Remove what a run wrote into a folder, and its folders of results that are then empty."""
    folders = _result_folders(folder)
    for entry in _results(folder):
        entry.unlink()
    for results in reversed(folders):
        if not any(results.iterdir()):
            results.rmdir()


def _results(folder: Path) -> list[Path]:
    """The files that a run wrote into a folder and into those of its sources and tasks in it."""
    found = []
    for path, written in {folder: _WRITTEN, **_result_folders(folder)}.items():
        found += [entry for entry in path.iterdir() if written.fullmatch(entry.name)]
    return [entry for entry in found if not entry.is_dir()]


def _result_folders(folder: Path) -> dict[Path, re.Pattern[str]]:
    """The folders of results in a folder, outer ones first, and the names of what a run writes."""
    parts = _parts(folder)
    found: dict[Path, re.Pattern[str]] = {}
    for entry in folder.iterdir():
        if not entry.is_dir() or entry.is_symlink():
            continue
        if entry.name in parts:
            found |= {entry: _WRITTEN, **_result_folders(entry)}
        for name, written in _FOLDERS:
            if name.fullmatch(entry.name):
                found[entry] = written
    return found


def _parts(folder: Path) -> set[str]:
    """The folders of sources and of tasks that a run made in a folder, as its `run.json` says."""
    try:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    tables = [data.get(key) for key in ("sources", "tasks")] if isinstance(data, dict) else []
    return {name for table in tables if isinstance(table, dict) for name in table}
