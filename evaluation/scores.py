"""The score of one object, class or sequence, and what it takes to combine several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """How well something was tracked.

    Attributes:
        values: What a table shows, by column.
        group: Whose scores are combined with one another: a class, or "" where there is only one.
        counts: What the official way of combining needs besides; plain numbers and lists.
        notes: One-line remarks, on frames that were not scored for instance.
    """

    values: dict[str, float]
    group: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` takes it back.  NaN becomes null, which JSON has."""
        data = asdict(self)
        data["values"] = {k: None if math.isnan(v) else v for k, v in self.values.items()}
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> Score:
        """The score that `to_json` was called of."""
        values = {k: math.nan if v is None else v for k, v in data["values"].items()}
        return Score(values, data["group"], data["counts"], tuple(data["notes"]))


def by_group(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Scores that may be combined, in order of appearance."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.group, []).append(score)
    return groups


def mean_score(scores: list[Score]) -> Score:
    """Every value's mean over the scores that have it; at least one score of one group."""
    values = {}
    for name in scores[0].values:
        known = [s.values[name] for s in scores if not math.isnan(s.values[name])]
        values[name] = sum(known) / len(known) if known else math.nan
    return Score(values, scores[0].group)
