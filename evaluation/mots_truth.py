"""MOTS files with identities: ground truth, and the results of a tracker.

Masks stay run lengths until a frame is scored, so a long video does not fill the memory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ObservationError
from ..records import BoolArray, IntArray
from ..runtime.mots_file import IGNORE_CLASS, MotsRow, read_mots_rows
from ..runtime.rle import decode_rle


@dataclass(frozen=True, slots=True)
class MaskRows:
    """The masks of one frame.

    Attributes:
        ids: (N,) int64.
        size_hw: Height and width of all of them.
        rles: N masks as compressed run lengths.
        ignored: Masks of the regions to ignore, likewise.
    """

    ids: IntArray
    size_hw: tuple[int, int]
    rles: tuple[bytes, ...]
    ignored: tuple[bytes, ...] = ()

    def masks(self) -> BoolArray:
        """(N, H, W) bool."""
        return _decoded(self.rles, self.size_hw)

    def ignored_region(self) -> BoolArray:
        """(H, W) bool: the union of the regions to ignore."""
        return np.asarray(_decoded(self.ignored, self.size_hw).any(axis=0), np.bool_)


def _decoded(rles: tuple[bytes, ...], size_hw: tuple[int, int]) -> BoolArray:
    masks = np.zeros((len(rles), *size_hw), np.bool_)
    for row, rle in enumerate(rles):
        masks[row] = decode_rle(rle, size_hw)
    return masks


def read_mots(
    path: Path | str, first_frame: int | None = None, classes: Collection[int] | None = None
) -> dict[int, MaskRows]:
    """The rows of a ground truth or of a result file.

    Args:
        path: Rows `frame id class H W RLE`; class 10 are regions to ignore.
        first_frame: Number of the first frame, 0 (KITTI) or 1 (MOTSChallenge); None: 0 where the
            file has a frame 0. Truth and results must be read with the same.
        classes: Only these; None: all.

    Returns:
        Frame number (from 0) to its masks; frames without any row are absent.

    Raises:
        ObservationError: The file cannot be read, is malformed, has an id twice in a frame, or
            masks of different sizes in one.
    """
    path = Path(path)
    if not path.is_file():
        raise ObservationError(f"{path}: there is no such file")
    rows, _ = read_mots_rows(path)
    if first_frame is None:
        first_frame = 0 if any(row.frame == 0 for row in rows) else 1
    frames: dict[int, list[MotsRow]] = {}
    for row in rows:
        if classes is None or row.label in classes or row.label == IGNORE_CLASS:
            frames.setdefault(row.frame - first_frame, []).append(row)
    return {number: _frame(path, frames[number]) for number in sorted(frames)}


def _frame(path: Path, rows: list[MotsRow]) -> MaskRows:
    seen: set[int] = set()
    for row in rows:
        if row.size_hw != rows[0].size_hw:
            raise ObservationError(
                f"{path}, line {row.line}: mask of {row.size_hw}, earlier ones of the frame are of "
                f"{rows[0].size_hw} (height, width)"
            )
        if row.label != IGNORE_CLASS:
            if row.identity in seen:
                raise ObservationError(
                    f"{path}, line {row.line}: id {row.identity} stands twice in frame {row.frame}"
                )
            seen.add(row.identity)
    real = [row for row in rows if row.label != IGNORE_CLASS]
    return MaskRows(
        np.array([row.identity for row in real], np.int64),
        rows[0].size_hw,
        tuple(row.rle for row in real),
        tuple(row.rle for row in rows if row.label == IGNORE_CLASS),
    )
