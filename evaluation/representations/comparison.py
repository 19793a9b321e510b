"""Representations compared over tasks: scores, ranks, and how they go with another accuracy.

The paper's Tables 1 and 2, the ranks of its Figure 1 and the correlations of its Figure 6, for
whatever bundles and data the user has.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...runtime.tables import TextTable
from ..datasets.registry import FORMAT_OF_TASK, FORMATS
from ..runner.report import Row, cell, plain_number, row_data


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of representations (rows) in tasks (columns).

    Attributes:
        entries: Names of the representations.
        tasks: The tasks.
        cells: (entry, task) → the combined lines, one a class; absent where there is no score.
    """

    entries: tuple[str, ...]
    tasks: tuple[str, ...]
    cells: Mapping[tuple[str, str], list[Row]]

    def headline(self, entry: str, task: str) -> float:
        """The score a task is ranked by, the mean over classes; NaN where there is none."""
        column = headline_of(task)
        rows = self.cells.get((entry, task), [])
        values = [row.score.values[column] for row in rows if row.score is not None]
        return sum(values) / len(values) if values else math.nan

    def ranks(self, task: str) -> dict[str, float]:
        """Place of every entry in a task, from 1; equal scores share the mean of their places.

        Entries without a score have none.
        """
        from scipy.stats import rankdata  # type: ignore[import-untyped,unused-ignore]

        values = {entry: self.headline(entry, task) for entry in self.entries}
        known = [entry for entry, value in values.items() if not math.isnan(value)]
        places = rankdata([-values[entry] for entry in known])
        return dict(zip(known, (float(place) for place in places), strict=True))

    def mean_ranks(self) -> dict[str, float]:
        """Every entry's mean place over the tasks that it has a score in; NaN without any."""
        by_task = [self.ranks(task) for task in self.tasks]
        means = {}
        for entry in self.entries:
            places = [ranks[entry] for ranks in by_task if entry in ranks]
            means[entry] = sum(places) / len(places) if places else math.nan
        return means

    def in_order(self) -> list[str]:
        """Entries from best to last mean rank."""
        means = self.mean_ranks()
        return sorted(self.entries, key=lambda e: (math.isnan(means[e]), means[e], e))


def headline_of(task: str) -> str:
    """The column that a task is ranked by."""
    return FORMATS[FORMAT_OF_TASK[task]].headline


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a task's scores go with another accuracy of the same representations.

    Attributes:
        task: The task.
        points: Entry → (accuracy, score).
        pearson: Linear correlation; NaN of fewer than three points, or where all are equal.
        spearman: Correlation of ranks, likewise.
    """

    task: str
    points: dict[str, tuple[float, float]]
    pearson: float
    spearman: float


def correlate(comparison: Comparison, accuracy: Mapping[str, float]) -> list[Correlation]:
    """Correlations task by task, over the entries that `accuracy` names."""
    from scipy.stats import (  # type: ignore[import-untyped,unused-ignore]
        pearsonr,
        spearmanr,
    )

    found = []
    for task in comparison.tasks:
        scores = {entry: comparison.headline(entry, task) for entry in comparison.entries}
        points = {
            entry: (accuracy[entry], score)
            for entry, score in scores.items()
            if entry in accuracy and not math.isnan(score)
        }
        x, y = np.array([*points.values()], np.float64).reshape(-1, 2).T
        enough = len(points) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0
        pearson, spearman = (
            (float(pearsonr(x, y).statistic), float(spearmanr(x, y).statistic))
            if enough
            else (math.nan, math.nan)
        )
        found.append(Correlation(task, points, pearson, spearman))
    return found


def read_accuracy(path: Path) -> dict[str, float]:
    """A CSV of `name,accuracy`; a first line without a number is a heading.

    Raises:
        DetectionError: It cannot be read, or a row is something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DetectionError(f"--accuracy {path} cannot be read: {reason}") from None
    accuracy: dict[str, float] = {}
    for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row:
            continue
        try:
            name, value = row[0].strip(), float(row[1])
        except (ValueError, IndexError):
            if line == 1:
                continue
            raise DetectionError(
                f"--accuracy {path}, line {line}: got {','.join(row)[:60]!r}, expected name,number"
            ) from None
        accuracy[name] = value
    return accuracy


def to_csv(comparison: Comparison) -> str:
    """One row a representation, best first: mean rank, then every column of every task."""
    columns = [
        (task, name, group)
        for task in comparison.tasks
        for name, group in _columns(comparison, task)
    ]
    means = comparison.mean_ranks()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings = [f"{task} {name}{f' ({group})' if group else ''}" for task, name, group in columns]
    writer.writerow(["name", "mean rank", *headings])
    for entry in comparison.in_order():
        values = [_value(comparison, entry, *column) for column in columns]
        numbers = [means[entry], *values]
        writer.writerow([entry, *("" if math.isnan(v) else f"{v:.6g}" for v in numbers)])
    return text.getvalue()


def _columns(comparison: Comparison, task: str) -> list[tuple[str, str]]:
    """Column and class of all that any entry has in a task."""
    found: dict[tuple[str, str], None] = {}
    for entry in comparison.entries:
        for row in comparison.cells.get((entry, task), []):
            for name in row.score.values if row.score else ():
                found[(name, row.group)] = None
    return list(found)


def _value(comparison: Comparison, entry: str, task: str, column: str, group: str) -> float:
    for row in comparison.cells.get((entry, task), []):
        if row.group == group and row.score is not None:
            return row.score.values.get(column, math.nan)
    return math.nan


def comparison_data(
    comparison: Comparison, correlations: list[Correlation], notes: list[str]
) -> dict[str, Any]:
    """Everything as plain data, best mean rank first; NaN as null."""
    means = comparison.mean_ranks()
    ranks = {task: comparison.ranks(task) for task in comparison.tasks}
    return {
        "entries": [
            {
                "name": entry,
                "mean_rank": plain_number(means[entry]),
                "ranks": {task: found[entry] for task, found in ranks.items() if entry in found},
                "scores": {
                    task: [row_data(row) for row in comparison.cells.get((entry, task), [])]
                    for task in comparison.tasks
                },
            }
            for entry in comparison.in_order()
        ],
        "correlations": [
            {
                "task": one.task,
                "points": {name: list(point) for name, point in one.points.items()},
                "pearson": plain_number(one.pearson),
                "spearman": plain_number(one.spearman),
            }
            for one in correlations
        ],
        "notes": notes,
    }


def rank_table(comparison: Comparison) -> TextTable:
    """The headline scores of all tasks with places in brackets, best mean rank first."""
    ranks = {task: comparison.ranks(task) for task in comparison.tasks}
    means = comparison.mean_ranks()
    rows = []
    for entry in comparison.in_order():
        cells = []
        for task in comparison.tasks:
            value = comparison.headline(entry, task)
            place = ranks[task].get(entry)
            cells.append(f"{value:.3f} ({place:g})" if place is not None else "–")
        mean = "–" if math.isnan(means[entry]) else f"{means[entry]:.2f}"
        rows.append([entry, *cells, mean])
    heads = [f"{task} {headline_of(task)}" for task in comparison.tasks]
    return TextTable(["", *heads, "mean rank"], rows)


def task_table(comparison: Comparison, task: str) -> TextTable:
    """All scores of one task, best first."""
    columns = _columns(comparison, task)
    order = sorted(
        comparison.entries,
        key=lambda e: (math.isnan(v := comparison.headline(e, task)), -v, e),
    )
    rows = [
        [entry, *(cell(name, _value(comparison, entry, task, name, g)) for name, g in columns)]
        for entry in order
        if (entry, task) in comparison.cells
    ]
    return TextTable(["", *(f"{name} {group}".strip() for name, group in columns)], rows)


def correlation_table(correlations: list[Correlation]) -> TextTable:
    """Correlations of all tasks."""
    rows = [
        [c.task, str(len(c.points)), cell("", c.pearson), cell("", c.spearman)]
        for c in correlations
    ]
    return TextTable(["task", "points", "Pearson", "Spearman"], rows)
