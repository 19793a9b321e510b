"""Scores of associated tracks by TrackEval: one sequence, and several combined as it does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .metrics import run_trackeval, trackeval_metrics
from .scores import Score

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
        data: As `metrics.trackeval_data` or one of TrackEval's data sets gives it.
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
