"""Results of an interrupted calibration, from which the next run continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CalibrationError
from .histograms import Histogram

_STATE, _HISTOGRAMS = "state.json", "histograms.npz"


class SavedProgress:
    """A folder beside the output; a run of other frames, method or weights starts it anew.

    Args:
        output: The bundle that will be written; the folder is `.NAME.calibration` beside it.
        key: What the findings depend on.

    Attributes:
        folder: The folder.
        resumed: Whether anything of an earlier run was found.

    Raises:
        CalibrationError: The folder cannot be written.
    """

    def __init__(self, output: Path, key: str) -> None:
        self.folder = output.with_name(f".{output.name}.calibration")
        self._key = key
        self._state: dict[str, Any] = self._load()
        self.resumed = len(self._state) > 1
        if not self.resumed:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._state = {"key": key}
            self._save(lambda: self.folder.mkdir(parents=True))

    def find(self, name: str) -> Any:
        """What was recorded under a name, or None."""
        return self._state.get(name)

    def record(self, name: str, value: Any) -> None:
        """Keep a finding that JSON can hold.

        Raises:
            CalibrationError: The disk is full.
        """
        self._state[name] = value
        self._save(lambda: _replace_text(self.folder / _STATE, json.dumps(self._state)))

    def histograms(self) -> tuple[int, dict[str, Histogram]]:
        """Frames counted so far, and the histograms by activation; (0, {}) where there are none."""
        done = self.find("histogram_frames")
        path = self.folder / _HISTOGRAMS
        if done is None or not path.is_file():
            return 0, {}
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if int(arrays["frames"]) != done:
            return 0, {}
        names = json.loads(str(arrays["names"]))
        return done, {
            name: Histogram.from_arrays(
                {"counts": arrays[f"counts{row}"], "scale": arrays[f"scale{row}"]}
            )
            for row, name in enumerate(names)
        }

    def record_histograms(self, done: int, histograms: Mapping[str, Histogram]) -> None:
        """Keep the histograms of the first `done` frames.

        Raises:
            CalibrationError: The disk is full.
        """
        arrays: dict[str, Any] = {"frames": done, "names": json.dumps(list(histograms))}
        for row, histogram in enumerate(histograms.values()):
            arrays |= {f"{part}{row}": value for part, value in histogram.to_arrays().items()}

        def write() -> None:
            partial = self.folder / f"{_HISTOGRAMS}.partial.npz"
            np.savez(partial, **arrays)
            partial.replace(self.folder / _HISTOGRAMS)

        self._save(write)
        self.record("histogram_frames", done)

    def discard(self) -> None:
        """Remove everything: the calibration is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        known = isinstance(state, dict) and state.get("key") == self._key
        return state if known else {}

    def _save(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            raise CalibrationError(
                f"cannot write {self.folder}: {error.strerror}; choose another --output"
            ) from error


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
