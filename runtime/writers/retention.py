"""Recording for months: the oldest segments are removed (`--keep`)."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import RequestError

# As `segment_path` names them, of every result format; nothing else is ever removed.
_SEGMENT = re.compile(r"(tracks|video|masks|labels)-\d{4,}(\.(txt|json|jsonl|csv|mp4))?")

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(d|days?|gb)", re.IGNORECASE)
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class KeepLimit:
    """What may stay.

    Attributes:
        age_s: Segments written to within so many seconds; None: of any age.
        size: So many bytes together; None: any number.
    """

    age_s: float | None = None
    size: int | None = None


def parse_limit(text: str) -> KeepLimit:
    """The limit that `7d`, `7days` or `50GB` stands for.

    Raises:
        RequestError: The text is none of them, or 0.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise RequestError(f"--keep {text}: expected days or a size, such as 7d or 50GB")
    amount = float(match[1])
    if match[2].lower() == "gb":
        return KeepLimit(size=round(amount * 1e9))
    return KeepLimit(age_s=amount * _DAY_S)


class Retention:
    """Removes old segments each time one is begun.

    The newest segment of an output is never removed: it is being written.

    Args:
        limit: What may stay.
        folders: Where segments are, in these or in folders below.
        clock: Seconds as files' times count them.

    Attributes:
        removed: How many segments were removed.
    """

    def __init__(
        self, limit: KeepLimit, folders: Sequence[Path], clock: Callable[[], float] = time.time
    ) -> None:
        self._limit = limit
        self._folders = folders
        self._clock = clock
        self.removed = 0

    def begin(self, path: Path) -> None:  # noqa: ARG002
        """A segment is begun: remove what is beyond the limit.

        What cannot be removed is tried again with the next segment.
        """
        outputs = [sorted(rows) for rows in self._outputs()]
        total = sum(size for rows in outputs for _, size, _ in rows)
        found = sorted(row for rows in outputs for row in rows[:-1])
        oldest_s = -float("inf")
        if self._limit.age_s is not None:
            oldest_s = self._clock() - self._limit.age_s
        most = float("inf") if self._limit.size is None else self._limit.size
        for changed_s, size, segment in found:
            if total <= most and changed_s >= oldest_s:
                break
            with contextlib.suppress(OSError):
                if segment.is_dir():
                    shutil.rmtree(segment)
                else:
                    segment.unlink()
                total -= size
                self.removed += 1

    def _outputs(self) -> Iterable[list[tuple[float, int, Path]]]:
        """Of each output its segments: when each was written to last, its bytes, its path."""
        outputs: dict[Path, list[tuple[float, int, Path]]] = {}
        for folder in self._folders:
            for path in folder.rglob("*-[0-9]*"):
                if _SEGMENT.fullmatch(path.name) and not path.is_symlink():
                    # Another run may remove it at the same time.
                    with contextlib.suppress(OSError):
                        row = (*_facts(path), path)
                        output = path.with_name(path.name.partition("-")[0])
                        outputs.setdefault(output, []).append(row)
        return outputs.values()


def _facts(path: Path) -> tuple[float, int]:
    facts = path.stat()
    if not path.is_dir():
        return facts.st_mtime, facts.st_size
    inside = [file.stat() for file in path.iterdir()]
    changed_s = max((row.st_mtime for row in inside), default=facts.st_mtime)
    return changed_s, sum(row.st_size for row in inside)
