"""Scores of objects, classes and sequences, how several are combined, and TrackEval's metrics."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError, UnitrackError
from ...records import IntArray


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


def run_trackeval(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """TrackEval's HOTA, CLEAR and Identity of one sequence; see `trackeval_data`.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    hota, clear, identity = trackeval_metrics()
    return hota.eval_sequence(data), clear.eval_sequence(data), identity.eval_sequence(data)


def trackeval_metrics() -> tuple[Any, Any, Any]:
    """TrackEval's HOTA, and CLEAR and Identity at threshold 0.5.

    Raises:
        UnitrackError: TrackEval is not installed.
    """
    metrics = _trackeval("metrics")
    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    return metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet)


def read_by_trackeval(
    dataset: str,
    folder: Path,
    name: str,
    classes: Iterable[str],
    config: Mapping[str, Any],
    shown: str,
) -> dict[str, dict[str, Any]]:
    """What one of TrackEval's data sets makes of a sequence, by class; `score_of` takes each.

    Args:
        dataset: A class of `trackeval.datasets`.
        folder: Of the truth, and of results in a folder `tracker`, in the form that it reads.
        name: Of the sequence there.
        classes: As TrackEval calls them.
        config: Further settings.
        shown: What messages call the sequence.

    Raises:
        DetectionError: TrackEval refuses the files.
        UnitrackError: TrackEval is not installed.
    """
    settings = {"GT_FOLDER": str(folder), "TRACKERS_FOLDER": str(folder), "PRINT_CONFIG": False}
    settings |= {"TRACKERS_TO_EVAL": ["tracker"], **config}
    make, refused = getattr(_trackeval("datasets"), dataset), _trackeval("utils").TrackEvalException
    try:
        # It prints what is wrong before it raises.
        with contextlib.redirect_stdout(io.StringIO()):
            made = make(settings)
            raw = made.get_raw_seq_data("tracker", name)
            return {kind: made.get_preprocessed_seq_data(raw, kind) for kind in classes}
    except refused as error:
        said = " ".join(str(error).split())
        raise DetectionError(f"{shown}: TrackEval refuses it: {said}") from None


def _trackeval(part: str) -> Any:
    """A module of TrackEval, which is an extra."""
    try:
        return import_module(f"trackeval.{part}")
    except ImportError as error:
        raise UnitrackError(
            f"scoring tracks needs TrackEval, which cannot be imported ({error}): "
            "pip install 'unitrack-edge[eval]'"
        ) from error


def trackeval_data(
    truth_ids: list[IntArray],
    result_ids: list[IntArray],
    similarities: list[npt.NDArray[np.float64]],
) -> dict[str, Any]:
    """The dictionary that TrackEval's metrics read, where ids count from 0 without gaps.

    Args:
        truth_ids: (N,) of each frame.
        result_ids: (M,) of each frame.
        similarities: (N, M) of each frame, 0 to 1.
    """
    gt_ids, gt_count = _renumbered(truth_ids)
    tracker_ids, tracker_count = _renumbered(result_ids)
    return {
        "num_timesteps": len(gt_ids),
        "num_gt_ids": gt_count,
        "num_tracker_ids": tracker_count,
        "num_gt_dets": sum(len(ids) for ids in gt_ids),
        "num_tracker_dets": sum(len(ids) for ids in tracker_ids),
        "gt_ids": gt_ids,
        "tracker_ids": tracker_ids,
        "similarity_scores": similarities,
    }


def _renumbered(ids: list[IntArray]) -> tuple[list[IntArray], int]:
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]))
    return [np.searchsorted(known, frame_ids) for frame_ids in ids], len(known)


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
        data: As `trackeval_data` or one of TrackEval's data sets gives it.
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
