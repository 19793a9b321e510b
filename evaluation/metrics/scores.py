"""The score of one object, class or sequence, and what it takes to combine several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .mot import run_trackeval, trackeval_metrics


@dataclass(frozen=True, slots=True)
class Score:
    """How well something was tracked.

    Attributes:
        values: What a table shows, by column.
        group: Whose scores are combined with one another: a class, or "" where there is only one.
        counts: What the official way of combining needs besides; plain numbers and lists.
        notes: One-line notes, on frames that were not scored for instance.
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


FIELDS = {
    "HOTA": ("HOTA", "HOTA"),
    "DetA": ("HOTA", "DetA"),
    "AssA": ("HOTA", "AssA"),
    "IDF1": ("Identity", "IDF1"),
    "MOTA": ("CLEAR", "MOTA"),
    "MOTSA": ("CLEAR", "MOTA"),
    "sMOTSA": ("CLEAR", "sMOTA"),
    "MOTSP": ("CLEAR", "MOTP"),
    "FP": ("CLEAR", "CLR_FP"),
    "FN": ("CLEAR", "CLR_FN"),
    "IDs": ("CLEAR", "IDSW"),
}
"""Column → TrackEval's metric and field; HOTA's fields are means over its 19 thresholds."""

_METRICS = ("HOTA", "CLEAR", "Identity")


def score_of(
    data: dict[str, Any], columns: tuple[str, ...], group: str = "", notes: tuple[str, ...] = ()
) -> Score:
    """The score of one sequence.

    Args:
        data: As `mot.trackeval_data` or one of TrackEval's data sets gives it.
        columns: Of `FIELDS`.
        group: Class of the objects.
        notes: For the person at the terminal.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    counts = dict(zip(_METRICS, run_trackeval(data), strict=True))
    return Score(_values(counts, columns), group, _plain(counts), notes)


def combine(scores: list[Score]) -> Score:
    """One score for several sequences of a group: their counts are added, not their ratios.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    columns = tuple(scores[0].values)
    counts = {}
    for name, metric in zip(_METRICS, trackeval_metrics(), strict=True):
        every = {str(n): _arrays(score.counts[name]) for n, score in enumerate(scores)}
        counts[name] = metric.combine_sequences(every)
    return Score(_values(counts, columns), scores[0].group, _plain(counts))


def _values(counts: dict[str, dict[str, Any]], columns: tuple[str, ...]) -> dict[str, float]:
    return {
        column: float(np.mean(counts[FIELDS[column][0]][FIELDS[column][1]])) for column in columns
    }


def _plain(counts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {field: np.asarray(value).tolist() for field, value in fields.items()}
        for name, fields in counts.items()
    }


def _arrays(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: np.array(v) if isinstance(v, list) else v for k, v in fields.items()}
