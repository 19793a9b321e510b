"""Tracks as lines of JSON, for programs: `--jsonl`, the server's `/tracks`, and `--detections`.

One object a frame: `source`, `frame` (from 0), `time` (seconds from the source's start), `dropped`
(frames so far), and `tracks`, a list of objects with `task`, `id`, `box` (left, top, right, bottom
in source pixels from 0), `score`, `class` (the detector's number, -1 where it is not known), and
where there are `name` (of the class), `predicted` (true: no detection of this frame stands behind
it, but motion alone, or the track before and after a gap), `keypoints` (x, y, confidence), `mask`
(COCO's compressed RLE with its `size`, height and width). Of `/tracks` also `lost`, where lines
before this one did not reach its reader.

As detections, tracks lose their identities; those that are predicted are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import DetectionError, OutputError, count
from ...records import Detections, FloatArray, Frame, Tracks
from ..events import FrameEvent, SourceEvent
from ..sources.base import LAST_FRAME
from ..writers.base import encoded, output_error
from .keypoints import numbers_of
from .mots import MAX_FRAME_BYTES
from .rle import decode_rle, encode_rle, rle_counts
from .text import DamagedRows, ReadOptions, TableFile, read_lines

STANDARD_OUTPUT = "-"


def track_line(event: FrameEvent) -> str:
    """One frame as a line of JSON, with its line end."""
    line = {
        "source": event.source,
        "frame": event.frame.index,
        "time": round(event.frame.time_s, 4),
        "dropped": event.dropped,
        "tracks": [row for task, tracks in event.tracks.items() for row in _rows(task, tracks)],
    }
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _rows(task: str, tracks: Tracks) -> Iterator[Mapping[str, Any]]:
    seen = tracks.detections
    boxes = seen.boxes_xyxy.astype(np.float64).round(2).tolist()
    scores = seen.scores.astype(np.float64).round(4).tolist()
    for row, identity in enumerate(tracks.ids.tolist()):
        track = {"task": task, "id": identity, "box": boxes[row], "score": scores[row]}
        track["class"] = int(seen.classes[row])
        if name := seen.name_of(track["class"]):
            track["name"] = name
        if tracks.predicted is not None and tracks.predicted[row]:
            track["predicted"] = True
        if seen.keypoints is not None:
            joints = seen.keypoints[row].astype(np.float64).round(3)
            track["keypoints"] = np.where(np.isfinite(joints), joints, 0.0).tolist()
        mask = None if seen.masks is None else seen.masks[row]
        if tracks.label_map is not None:
            mask = tracks.label_map == identity
        if mask is not None:
            track["mask"] = {"size": list(mask.shape), "counts": encode_rle(mask)}
        yield track


class JsonLinesWriter:
    """Watches a run and writes a line for every frame; a context manager.

    Lines are not buffered: each is written when `on_frame` returns. A slow reader of the standard
    output slows the run down, as in any pipe; one that closes it ends the run.

    Args:
        target: The file, or `-` for the standard output.
        on_gone: Called once when the reader of the standard output has gone.
        say: Called with a line when writing stops, and when it goes on.

    Attributes:
        error: Why nothing is written at present, as on a full disk, or None.
        lost: How many lines could not be written.

    Raises:
        OutputError: The file cannot be created.
    """

    def __init__(
        self,
        target: str,
        on_gone: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._path = Path("standard output" if target == STANDARD_OUTPUT else target)
        self._on_gone = on_gone
        self._say = say
        self._lines = self.lost = self._lost_here = 0
        self._gone = False
        self._lock = threading.Lock()
        self.error: OutputError | None = None
        try:
            self._file = _open(target)
        except OSError as error:
            raise output_error(self._path, error) from None

    def on_frame(self, event: FrameEvent) -> None:
        """Write the line of a frame; an error loses the line, and does not end the run."""
        data = encoded(track_line(event))
        # Several sources may be tracked by several threads; a line is never torn.
        with self._lock:
            if not self._gone:
                self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            begin = self._end()
        except OSError:
            begin = None
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except BrokenPipeError:
            self._gone = True
            self.error = OutputError(f"--jsonl: {self._path} has no reader any more")
            self._on_gone()
        except OSError as error:
            self.lost += 1
            self._lost_here += 1
            self._cut(begin)
            if self.error is None:
                self.error = output_error(self._path, error, self._lines)
                self._say(f"{self.error}; tracking continues, lines are lost")
        else:
            self._lines += 1
            if self.error is not None:
                self._say(f"--jsonl goes on; {self._lost_here} lines lost")
                self.error, self._lost_here = None, 0

    def _end(self) -> int | None:
        """Where the next line begins; None where it is no file."""
        facts = os.fstat(self._file.fileno())
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def _cut(self, length: int | None) -> None:
        """Leave whole lines only."""
        if length is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(length)
                self._file.seek(length)

    def on_source(self, event: SourceEvent) -> None:
        """Nothing: lines are frames."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(target: str) -> BinaryIO:
    if target != STANDARD_OUTPUT:
        return Path(target).open("wb", buffering=0)
    # A descriptor of its own: closing it leaves the standard output to others.
    return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)


_LARGEST_CLASS = 1 << 16


def is_track_line(text: str) -> bool:
    """Whether a line of text is one of `track_line`'s."""
    if '"tracks"' not in text:
        return False
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and "frame" in line and isinstance(line.get("tracks"), list)


class JsonLinesFile(TableFile):
    """Tracks of `--jsonl` as detections.

    Args:
        path: The file, as the user named it.
        options: How to read it; tracks without a class are of `default_class`.

    Raises:
        DetectionError: The file cannot be read, holds tracks of several sources or tasks, or most
            lines are damaged; names the line.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        options = options or ReadOptions()
        damaged = DamagedRows(path, strict=options.strict)
        tracks = _Tracks(path, damaged)
        boxes = np.array(tracks.boxes, np.float32).reshape(-1, 4)
        good = damaged.add_empty(boxes, tracks.lines)
        damaged.check(int(np.count_nonzero(good)) + tracks.empty_lines)
        classes, names = np.array(tracks.classes, np.int64), tracks.names
        if options.default_class is not None and names is None:
            classes, names = np.maximum(classes, 0), [options.default_class]
        keypoints = tracks.all_keypoints()
        rows = Detections(
            boxes[good],
            np.array(tracks.scores, np.float32)[good],
            classes[good],
            keypoints=None if keypoints is None else keypoints[good],
            class_names=names,
        )
        remarks = []
        if tracks.predicted:
            what = count(tracks.predicted, "track", "tracks")
            remarks = [f"{what} of {path} left out: no detection stands behind them (predicted)"]
        super().__init__(
            path,
            np.array(tracks.frames, np.int64)[good],
            rows,
            np.array(tracks.lines, np.int64)[good],
            first_frame=0,
            remarks=remarks,
            damaged=damaged,
            options=options,
            sizes=False,
        )
        masks = [mask for mask, kept in zip(tracks.masks, good, strict=True) if kept]
        self._masks = [masks[row] for row in self._order]

    def detect(self, frame: Frame) -> Detections:
        """The file's detections in one frame, in source pixels, with masks where all have one.

        Raises:
            DetectionError: More than half of the boxes lie outside the image, or a mask is not of
                the frame's size.
        """
        rows = self._chosen(frame.index, frame.size_hw)
        seen = self._rows[rows]
        masks = [mask for row in rows if (mask := self._masks[row]) is not None]
        if not masks or len(masks) < len(rows):
            return seen
        where = f"{self.path}, line {self._places[rows[0]]}"
        height, width = frame.size_hw
        if other := next((size for size, _ in masks if size != frame.size_hw), None):
            raise DetectionError(
                f"{where}: got a mask of {other[0]}x{other[1]} (height x width), expected the "
                f"source's {height}x{width}"
            )
        if len(masks) * height * width > MAX_FRAME_BYTES:
            most = MAX_FRAME_BYTES // (height * width)
            raise DetectionError(f"{where}: {len(masks)} masks in a frame, expected at most {most}")
        return replace(seen, masks=np.stack([decode_rle(rle, size) for size, rle in masks]))

    def _reinterpret(self, size_hw: tuple[int, int]) -> None:
        # Masks say which image they belong to.
        if not any(self._masks):
            super()._reinterpret(size_hw)


Mask = tuple[tuple[int, int], str]
"""Height and width, and run lengths."""


class _Tracks:
    """The tracks of a file's lines, a row each, and how many lines have none."""

    def __init__(self, path: Path, damaged: DamagedRows) -> None:
        self.lines: list[int] = []
        self.frames: list[int] = []
        self.boxes: list[list[float]] = []
        self.scores: list[float] = []
        self.classes: list[int] = []
        self.masks: list[Mask | None] = []
        self.predicted = self.empty_lines = 0
        self._keypoints: list[FloatArray | None] = []
        self._names: dict[int, str] = {}
        self._one: dict[str, str] = {}
        for number, text in read_lines(path):
            where = f"{path}, line {number}"
            try:
                frame, source, tracks = self._line(where, text)
            except DetectionError as error:
                damaged.add(number, error)
                continue
            self.empty_lines += not tracks
            self._check_one(where, "source", source)
            for track in tracks:
                self._check_one(where, "task", track.get("task"))
                try:
                    self._add(where, number, frame, track)
                except DetectionError as error:
                    damaged.add(number, error)

    @property
    def names(self) -> list[str] | None:
        """Of the classes, by number."""
        return [self._names.get(k, "") for k in range(max(self._names, default=-1) + 1)] or None

    def all_keypoints(self) -> FloatArray | None:
        """(M, K, 3); zeros where a track has none of the joints that others have."""
        known = next((joints for joints in self._keypoints if joints is not None), None)
        if known is None:
            return None
        nothing = np.zeros_like(known)
        return np.stack([nothing if joints is None else joints for joints in self._keypoints])

    def _line(self, where: str, text: str) -> tuple[int, Any, list[dict[str, Any]]]:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DetectionError(f"{where}: not valid JSON ({type(error).__name__})") from None
        line = line if isinstance(line, dict) else {}
        frame, tracks = line.get("frame"), line.get("tracks")
        if type(frame) is not int or not 0 <= frame <= LAST_FRAME:
            raise DetectionError(f"{where}: expected a 'frame' from 0")
        if not isinstance(tracks, list) or not all(isinstance(track, dict) for track in tracks):
            raise DetectionError(f"{where}: expected 'tracks', a list of objects")
        return frame, line.get("source"), tracks

    def _check_one(self, where: str, what: str, name: Any) -> None:
        """Refuse a second source or task: a detection has neither."""
        if isinstance(name, str) and self._one.setdefault(what, name) != name:
            first = self._one[what]
            keep = f"select(.{what} == {json.dumps(first)})"
            program = keep if what == "source" else f".tracks |= map({keep})"
            raise DetectionError(
                f"{where}: {what} {name!r}, and {first!r} before: expected tracks of one {what}; "
                f"jq -c '{program}' keeps those"
            )

    def _add(self, where: str, number: int, frame: int, track: dict[str, Any]) -> None:
        if track.get("predicted") is True:
            self.predicted += 1
            return
        box = numbers_of(where, "box", track.get("box"), 4)
        (score,) = numbers_of(where, "score", [track.get("score", 1)], 1)
        label, name = track.get("class", -1), track.get("name")
        if type(label) is not int or not -1 <= label < _LARGEST_CLASS:
            raise DetectionError(f"{where}: expected a whole number from -1 in 'class'")
        keypoints, mask = self._joints(where, track), _mask_of(where, track)
        if isinstance(name, str) and label >= 0:
            self._names.setdefault(label, name)
        self.lines.append(number)
        self.frames.append(frame)
        self.boxes.append(box)
        self.scores.append(score)
        self.classes.append(label)
        self.masks.append(mask)
        self._keypoints.append(keypoints)

    def _joints(self, where: str, track: dict[str, Any]) -> FloatArray | None:
        given = track.get("keypoints")
        if given is None:
            return None
        if not isinstance(given, list) or not given:
            raise DetectionError(f"{where}: expected a list of joints in 'keypoints'")
        joints = np.array([numbers_of(where, "keypoints", joint, 3) for joint in given], np.float32)
        known = next((joints for joints in self._keypoints if joints is not None), joints)
        if joints.shape != known.shape:
            raise DetectionError(f"{where}: {len(joints)} joints, and {len(known)} before")
        return joints


def _mask_of(where: str, track: dict[str, Any]) -> Mask | None:
    given = track.get("mask")
    if given is None:
        return None
    given = given if isinstance(given, dict) else {}
    height, width = (int(n) for n in numbers_of(where, "mask.size", given.get("size"), 2))
    counts = given.get("counts")
    if not isinstance(counts, str):
        raise DetectionError(f"{where}: expected run lengths as text in 'mask.counts'")
    try:
        rle_counts(counts, (height, width))
    except DetectionError as error:
        raise DetectionError(f"{where}: {error}") from None
    return (height, width), counts
