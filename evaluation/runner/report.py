"""Rows of scores, a sequence each and all together, which tables, JSON and Markdown show alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..datasets.registry import DatasetFormat
from ..metrics.scores import Score, by_group, mean_score
from .jobs import SequenceRecord


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: The sequence's, or `COMBINED`.
        group: A class, or "".
        score: None where there is no truth.
        frames: How many.
    """

    name: str
    group: str
    score: Score | None
    frames: int


COMBINED = "combined"
OVERALL = "overall"
"""The group that is the mean over all groups."""


def sequence_rows(row: DatasetFormat, record: SequenceRecord) -> list[Row]:
    """The lines of one sequence: one a class, or one without scores where there is no truth."""
    groups = by_group(record.scores)
    if not groups:
        return [Row(record.name, "", None, record.frames)]
    # A score that stands alone is the official tool's own; combining would add nothing, but
    # TrackEval computes ratios anew there, otherwise than for a sequence without truth.
    return [
        Row(record.name, group, row.combine(scores) if scores[1:] else scores[0], record.frames)
        for group, scores in groups.items()
    ]


def combined_rows(row: DatasetFormat, records: Iterable[SequenceRecord]) -> list[Row]:
    """The lines of all sequences together: one a class, and their mean where that is what the
    benchmark goes by; none where nothing was scored."""
    records = [record for record in records if record.scores]
    frames = sum(record.frames for record in records)
    groups = by_group(score for record in records for score in record.scores)
    total = {group: row.combine(scores) for group, scores in groups.items()}
    if row.overall and len(total) > 1:
        total[OVERALL] = mean_score(list(total.values()))
    return [Row(COMBINED, group, score, frames) for group, score in total.items()]


def row_data(row: Row) -> dict[str, Any]:
    """A line as plain data, NaN as null."""
    values = {} if row.score is None else row.score.values
    return {
        "name": row.name,
        **({"class": row.group} if row.group else {}),
        "frames": row.frames,
        "scores": {name: plain_number(value) for name, value in values.items()},
    }


def plain_number(value: float) -> float | int | None:
    """A number as JSON has it: whole ones whole, NaN as null."""
    if math.isnan(value):
        return None
    return int(value) if value == int(value) and abs(value) > 1 else value


def cell(column: str, value: float) -> str:
    """A number as a table shows it: counts whole, all others with three digits."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if column in ("FP", "FN", "IDs") else f"{value:.3f}"


def notes_of(records: Iterable[SequenceRecord]) -> list[str]:
    """All notes, each once."""
    return list(dict.fromkeys(note for record in records for note in record.notes))


def summary_of(row: DatasetFormat, records: Sequence[SequenceRecord]) -> dict[str, Any]:
    """Scores of all sequences and of all together as plain data."""
    return {
        "sequences": [row_data(line) for r in records for line in sequence_rows(row, r)],
        "combined": [row_data(line) for line in combined_rows(row, records)],
        "recorded_before": [record.name for record in records if not record.fresh],
        "notes": notes_of(records),
    }
