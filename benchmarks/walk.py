"""How many files a newcomer passes on the way from a command to its first row of results.

    python -m unitrack_edge.benchmarks.walk --bundle bundles/efficientnet-lite0

Counts, with `sys.setprofile`, the files of this package in which something runs: a module's body
when it is imported, or a function of it. `cli track` of a stand-in for a camera is counted from the
command to its end, and for a typical frame, with how often the path goes on in another file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIZE_HW = 64, 96
FRAMES = 60


@dataclass
class Walk:
    """The path of the main thread through the package.

    Attributes:
        files: Every file in which something ran, in the order of the first visit.
        frame_files: Those of a typical frame: the median by files and switches.
        frame_switches: How often the path went on in another file in that frame.
    """

    files: list[str] = field(default_factory=list)
    frame_files: list[str] = field(default_factory=list)
    frame_switches: int = 0


class Recorder:
    """A profile function that notes where calls go; frames begin where the source is asked."""

    def __init__(self) -> None:
        self.walk = Walk()
        self._frames: list[list[str]] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Take in an event of the interpreter."""
        if event != "call":
            return
        name = _name(frame.f_code.co_filename)
        if name is None:
            return
        if name not in self.walk.files:
            self.walk.files.append(name)
        if name == "runtime/pipeline.py" and frame.f_code.co_name == "take":
            self._frames.append([])
        if self._frames:
            self._frames[-1].append(name)

    def finish(self) -> Walk:
        """The walk, with the frame whose number of files, and then of switches, is the median."""
        if not self._frames:
            return self.walk
        by_length = sorted(self._frames, key=lambda frame: (len(set(frame)), _switches(frame)))
        visits = by_length[len(by_length) // 2]
        self.walk.frame_files = list(dict.fromkeys(visits))
        self.walk.frame_switches = _switches(visits)
        return self.walk


def _switches(visits: list[str]) -> int:
    return sum(a != b for a, b in pairwise(visits))


@cache
def _name(filename: str) -> str | None:
    """A file of the package relative to its root; None for others and for empty ones."""
    path = Path(filename)
    if not path.is_relative_to(ROOT) or not path.stat().st_size:
        return None
    name = path.relative_to(ROOT).as_posix()
    return None if name.startswith((".venv", "tests", "benchmarks")) else name


class StandIn:
    """A camera for `cv2.VideoCapture`: a bright square that moves over grey."""

    def __init__(self, *_arguments: object) -> None:
        self._number = 0

    def isOpened(self) -> bool:  # noqa: N802
        """It is."""
        return True

    def get(self, prop: int) -> float:
        """30 FPS."""
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, Any]:
        """The next image."""
        time.sleep(0.02)
        image = np.full((*SIZE_HW, 3), 96, np.uint8)
        left = 4 + 3 * (self._number % 25)
        image[20:44, left : left + 12] = 220
        self._number += 1
        return True, image

    def release(self) -> None:
        """Nothing to release."""


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Record the main thread's path."""
    recorder = Recorder()
    before = sys.getprofile()
    sys.setprofile(recorder)
    try:
        yield recorder
    finally:
        sys.setprofile(before)


def walk_track(bundle: Path, output: Path) -> Walk:
    """`cli track camera0 --task mot --detector motion`, of a stand-in for the camera.

    All in the main thread: the way is the same where frames overlap.
    """
    return _walk(
        *("track", "camera0", "--task", "mot", "--detector", "motion", "--bundle", str(bundle)),
        *("--output", str(output), "--mot-height", "64", "--mot-width", "96"),
        *("--max-frames", str(FRAMES), "--threads", "1", "--no-overlap"),
    )


def walk_eval(bundle: Path, data: Path, output: Path) -> Walk:
    """`cli eval --task mot` of one sequence."""
    return _walk(
        *("eval", "--task", "mot", "--data", str(data), "--bundle", str(bundle)),
        *("--output", str(output), "--mot-height", "64", "--mot-width", "96"),
    )


def _walk(*arguments: str) -> Walk:
    main: Callable[..., object]
    with mock.patch.object(cv2, "VideoCapture", StandIn), recorded() as recorder:
        from ..cli import main

        try:
            main(list(arguments))
        except SystemExit as ended:
            if ended.code:
                raise
    return recorder.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the walk of `cli track`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        walk = walk_track(options.bundle, Path(name) / "run")
    for file in walk.files:
        print("frame " if file in walk.frame_files else "      ", file)
    print(f"{len(walk.files)} files in all; one frame: {len(walk.frame_files)} files,")
    print(f"{walk.frame_switches} switches between files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
